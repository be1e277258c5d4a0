"""Heads on frozen vectors: NumPy as the truth, what captions are read from, training."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from sklearn.metrics.pairwise import cosine_similarity
from torch.nn.functional import pad

from robustcmr.errors import ConfigError, DataError
from robustcmr.evaluation.scoring import score_matrix
from robustcmr.matchers.embeddings import Embeddings
from robustcmr.types import DataSpec, ImageBatch, TextBatch

WORDS = ("<pad>", "<start>", "<end>", "<unk>", *(f"w{k}" for k in range(4, 30)))
WITHOUT = DataSpec(feature_width=10, n_regions=5, vocabulary_size=30, longest_caption=8, words=WORDS)
WITH = DataSpec(
    feature_width=10, n_regions=5, vocabulary_size=30, longest_caption=8, words=WORDS, text_width=6
)
VARIANTS = [(head, spec) for head in ("linear", "mlp") for spec in (WITHOUT, WITH)]


def matcher(spec=WITHOUT, seed=0, **options):
    torch.manual_seed(seed)
    return Embeddings(Embeddings.Config(**{"dim": 12, "word_dim": 7, "hidden": 9, **options}), spec)


def batch(n=6, seed=1, regions=5):
    """n images of 1..regions regions and n captions of 1..8 words, padded with zeros, each with a vector."""
    generator = torch.Generator().manual_seed(seed)
    region_mask = torch.arange(regions) < torch.randint(1, regions + 1, (n, 1), generator=generator)
    word_mask = torch.arange(8) < torch.randint(1, 9, (n, 1), generator=generator)
    features = torch.randn(n, regions, 10, generator=generator) * region_mask.unsqueeze(-1)
    tokens = torch.randint(1, 30, (n, 8), generator=generator) * word_mask
    vectors = 3 * torch.randn(n, 6, generator=generator)
    return ImageBatch(features, region_mask), TextBatch(tokens, word_mask, vectors)


def rows(x):
    """Rows of unit length."""
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def applied(head, x):
    """A head in NumPy."""
    layers = [head] if isinstance(head, torch.nn.Linear) else [head[0], head[3]]
    for k, layer in enumerate(layers):
        x = np.maximum(x, 0) if k else x
        x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    return x


@pytest.mark.parametrize(("head", "spec"), VARIANTS)
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("regions", [1, 5])
def test_scores_are_cosines_of_the_heads_outputs(head, spec, normalise, regions):
    model = matcher(spec, head=head, normalise_inputs=normalise).eval()
    images, texts = batch(regions=regions)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.normal_()
        x, y = model.encode_images(images), model.encode_texts(texts)
        scores = model.score(x, y)
    left = np.stack([f[m].mean(0) for f, m in zip(images.features.numpy(), images.mask.numpy(), strict=True)])
    right = texts.vectors.numpy()
    if spec is WITHOUT:
        table = model.words.embedding.weight.detach().numpy()
        right = np.stack(
            [table[t[m]].mean(0) for t, m in zip(texts.tokens.numpy(), texts.mask.numpy(), strict=True)]
        )
    if normalise:
        left, right = rows(left), rows(right) if spec is WITH else right
    left, right = applied(model.image_head, left), applied(model.text_head, right)
    assert np.allclose(x.pooled, rows(left), atol=1e-5)
    assert np.allclose(y.pooled, rows(right), atol=1e-5)
    assert np.allclose(scores, cosine_similarity(left, right), atol=1e-5)
    for side in (x, y):
        assert side.features.shape == (6, 1, 12)
        assert torch.equal(side.features[:, 0], side.pooled)
        assert side.mask.shape == (6, 1)
        assert side.mask.all()


def test_what_a_caption_is_read_from():
    images, texts = batch()
    assert matcher(WITH).words is None
    assert matcher(WITH, texts="vectors").words is None
    assert matcher(WITH, texts="words").words is not None
    assert matcher(WITHOUT).words is not None
    by_words = matcher(WITH, texts="words")
    other = TextBatch(texts.tokens, texts.mask, texts.vectors + 1)
    assert torch.equal(by_words(images, other), by_words(images, texts))
    by_vectors = matcher(WITH)
    other = TextBatch(texts.tokens.roll(1, 0), texts.mask.roll(1, 0), texts.vectors)
    assert torch.equal(by_vectors(images, other), by_vectors(images, texts))


def test_vectors_that_are_missing_are_named():
    with pytest.raises(
        ConfigError, match=r"matcher.texts is vectors.*put \{split\}_txts.npy, one row a caption"
    ):
        matcher(WITHOUT, texts="vectors")
    _, texts = batch()
    with pytest.raises(DataError, match=r"put \{split\}_txts.npy"):
        matcher(WITH).encode_texts(TextBatch(texts.tokens, texts.mask))


def test_word_vectors_that_nothing_reads_are_refused():
    with pytest.raises(ValidationError, match="word_vectors is given but texts=vectors reads no words"):
        Embeddings.Config(texts="vectors", word_vectors=Path("x"))
    with pytest.raises(ConfigError, match=r"set matcher\.texts=words or leave matcher\.word_vectors out"):
        matcher(WITH, word_vectors=Path("x"))


def test_words_start_from_a_file(tmp_path, caplog):
    path = tmp_path / "glove.txt"
    path.write_text("<pad> 9 9\nw5 1 2\nw7 3 4\nother 5 6\n")
    model = matcher(WITHOUT, word_dim=2, word_vectors=path)
    assert model.words.embedding.weight[5].tolist() != [1, 2]
    with caplog.at_level(logging.INFO, logger="robustcmr"):
        model.load_pretrained()
    assert "2 of 29 words" in caplog.text
    assert model.words.embedding.weight[[0, 5, 7]].tolist() == [[0, 0], [1, 2], [3, 4]]
    plain = matcher(WITHOUT)
    before = plain.words.embedding.weight.detach().clone()
    plain.load_pretrained()
    assert torch.equal(plain.words.embedding.weight, before)


@pytest.mark.parametrize(("head", "spec"), VARIANTS)
def test_padding_changes_neither_scores_nor_gradients(head, spec):
    images, texts = batch()
    garbage = images.features + torch.randn(6, 5, 10) * ~images.mask.unsqueeze(-1)
    tokens = texts.tokens.masked_fill(~texts.mask, 11)  # padded places may hold anything
    wider = (
        ImageBatch(pad(garbage, (0, 0, 0, 3)), pad(images.mask, (0, 3))),
        TextBatch(pad(tokens, (0, 4)), pad(texts.mask, (0, 4)), texts.vectors),
    )
    results = []
    for pair in ((images, texts), wider):
        model = matcher(spec, head=head).train()
        scores = model(*pair)
        scores.diagonal().sum().backward()
        results.append([scores, *(p.grad for p in model.parameters())])
        if spec is WITHOUT:
            assert (model.words.embedding.weight.grad[0] == 0).all()
    for narrow, wide in zip(*results, strict=True):
        assert torch.allclose(narrow, wide, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("head", "spec"), VARIANTS)
def test_every_parameter_learns(head, spec):
    model = matcher(spec, head=head).train()
    (model(*batch()) * torch.randn(6, 6)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_padding_stays_zero_and_heads_start_without_a_bias():
    model = matcher(WITHOUT, head="mlp")
    assert (model.words.embedding.weight[0] == 0).all()
    assert (model.words.embedding.weight[1:] != 0).any(1).all()
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    assert len(biases) == 4
    assert all((bias == 0).all() for bias in biases)


def test_dropout_is_of_training_alone():
    images, texts = batch()
    model = matcher(WITH, head="mlp", dropout=0.5).train()
    assert not torch.equal(model(images, texts), model(images, texts))
    model.eval()
    assert torch.equal(model(images, texts), model(images, texts))


@pytest.mark.parametrize("spec", [WITHOUT, WITH])
def test_blocks_join_and_orders_follow(spec):
    model = matcher(spec).eval()
    images, texts = batch()
    with torch.no_grad():
        x, y = model.encode_images(images), model.encode_texts(texts)
        whole = model.score(x, y)
    assert torch.allclose(score_matrix(model, x, y, block_bytes=64), whole, atol=1e-6)
    i, j = torch.tensor([3, 0, 5]), torch.tensor([2, 1])
    assert torch.allclose(model.score(x[i], y[j]), whole[i][:, j], atol=1e-6)


@pytest.mark.parametrize("spec", [WITHOUT, WITH])
def test_autocast_stays_close_and_double_works(spec):
    model = matcher(spec, dim=64, head="mlp").eval()
    images, texts = batch()
    with torch.no_grad():
        exact = model(images, texts)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(images, texts)
        double = model.double()(
            ImageBatch(images.features.double(), images.mask),
            TextBatch(texts.tokens, texts.mask, texts.vectors.double()),
        )
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.03
    assert double.dtype == torch.float64
    assert torch.allclose(double.float(), exact, atol=1e-5)


def test_state_survives_safetensors(tmp_path):
    images, texts = batch()
    model, other = matcher(seed=0).eval(), matcher(seed=1).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert not torch.equal(other(images, texts), model(images, texts))
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(other(images, texts), model(images, texts))


@pytest.mark.parametrize(("head", "spec"), VARIANTS)
def test_it_learns_to_match(head, spec):
    model = matcher(spec, head=head, hidden=32).train()
    images, texts = batch(12)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    target = torch.arange(12)
    for _ in range(80):
        logits = model(images, texts) / 0.05
        loss = torch.nn.functional.cross_entropy(logits, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (logits.argmax(1) == target).float().mean() >= 0.9


@pytest.mark.parametrize(
    "options",
    [{"dim": 0}, {"head": "deep"}, {"hidden": 0}, {"dropout": 1.0}, {"texts": "both"}, {"typo": 1}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        Embeddings.Config(**options)
