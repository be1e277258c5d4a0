"""VSE infinity: an embedding model whose pooling is generalised pooling."""

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch.nn.functional import pad

from robustcmr.evaluation.scoring import score_matrix
from robustcmr.matchers.vse_infty import VseInfty
from robustcmr.types import DataSpec, Fragments, ImageBatch, TextBatch

SPEC = DataSpec(feature_width=10, n_regions=5, vocabulary_size=50, longest_caption=8)


def matcher(seed=0, **options):
    torch.manual_seed(seed)
    return VseInfty(VseInfty.Config(**{"dim": 12, "word_dim": 7, "region_hidden": 9, **options}), SPEC)


def batch(n=6, seed=1):
    """n images of 2..5 regions and n captions of 1..8 words, padded with zeros."""
    generator = torch.Generator().manual_seed(seed)
    region_mask = torch.arange(5) < torch.randint(2, 6, (n, 1), generator=generator)
    word_mask = torch.arange(8) < torch.randint(1, 9, (n, 1), generator=generator)
    features = torch.randn(n, 5, 10, generator=generator) * region_mask.unsqueeze(-1)
    tokens = torch.randint(1, 50, (n, 8), generator=generator) * word_mask
    return ImageBatch(features, region_mask), TextBatch(tokens, word_mask)


def slow_vector(pooling, fragments):
    """One set (L, D) pooled channel by channel, as a unit vector."""
    weights = pooling.coefficients(torch.tensor([len(fragments)]), len(fragments))[0]
    channels = [sum(w * v for w, v in zip(weights, channel.msort().flip(0))) for channel in fragments.T]  # noqa: B905
    vector = torch.stack(channels)
    return vector / vector.norm()


def test_scores_are_cosines_of_what_is_pooled_item_by_item():
    model = matcher().eval()
    images, texts = batch()
    with torch.no_grad():
        x, y = model.encode_images(images), model.encode_texts(texts)
        scores = model.score(x, y)
        for side, pooling, fragments in (
            (x, model.region_pooling, model.regions(images)),
            (y, model.word_pooling, model.words(texts)),
        ):
            assert side.features.shape == (6, 1, 12)
            assert side.mask.shape == (6, 1)
            assert side.mask.all()
            assert torch.equal(side.pooled, side.features[:, 0])
            for i in range(6):
                expected = slow_vector(pooling, fragments.features[i, fragments.mask[i]])
                assert torch.allclose(side.pooled[i], expected, atol=1e-5)
    for i in range(6):
        for j in range(6):
            expected = torch.cosine_similarity(x.pooled[i], y.pooled[j], 0)
            assert scores[i, j].item() == pytest.approx(expected.item(), abs=1e-6)


def test_each_side_has_its_own_pooling():
    model = matcher()
    assert not torch.equal(model.region_pooling.linear.weight, model.word_pooling.linear.weight)


def test_padding_changes_neither_scores_nor_gradients_in_training():
    images, texts = batch()
    garbage = images.features + torch.randn(6, 5, 10) * ~images.mask.unsqueeze(-1)
    wider = (
        ImageBatch(pad(garbage, (0, 0, 0, 3)), pad(images.mask, (0, 3))),
        TextBatch(pad(texts.tokens, (0, 4)), pad(texts.mask, (0, 4))),
    )
    results = []
    for pair in ((images, texts), wider):
        model = matcher().train()
        scores = model(*pair)
        scores.diagonal().sum().backward()
        results.append([scores, *(p.grad for p in model.parameters())])
    for narrow, wide in zip(*results, strict=True):
        assert torch.allclose(narrow, wide, atol=1e-5, rtol=1e-4)


def test_every_parameter_learns():
    model = matcher().train()
    (model(*batch()) * torch.randn(6, 6)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_regions_have_no_order_and_words_have_one():
    model = matcher().eval()
    images, texts = batch()
    whole = model(images, texts)
    order = torch.tensor([4, 2, 0, 1, 3])
    mixed = ImageBatch(images.features[:, order], images.mask[:, order])
    assert torch.allclose(model(mixed, texts), whole, atol=1e-6)
    reverse = TextBatch(texts.tokens.flip(1), texts.mask.flip(1))
    assert not torch.allclose(model(images, reverse), whole, atol=1e-3)


def test_evaluation_is_deterministic_and_blocks_join():
    model = matcher().eval()
    images, texts = batch()
    with torch.no_grad():
        x, y = model.encode_images(images), model.encode_texts(texts)
        whole = model.score(x, y)
    assert torch.equal(whole, model(images, texts))
    assert torch.allclose(score_matrix(model, x, y, block_bytes=64), whole, atol=1e-6)
    i, j = torch.tensor([3, 0, 5]), torch.tensor([2, 1])
    assert torch.allclose(model.score(x[i], y[j]), whole[i][:, j], atol=1e-6)
    bare = [Fragments(side.features, side.mask) for side in (x, y)]
    assert torch.equal(model.score(*bare), whole)


def test_state_survives_safetensors(tmp_path):
    images, texts = batch()
    model, other = matcher(seed=0).eval(), matcher(seed=1).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert not torch.equal(other(images, texts), model(images, texts))
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(other(images, texts), model(images, texts))


def test_autocast_stays_close_and_scores_stay_float32():
    model = matcher(dim=64).eval()
    images, texts = batch()
    with torch.no_grad():
        exact = model(images, texts)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(images, texts)
            x, y = model.encode_images(images), model.encode_texts(texts)
            scores = model.score(x, y)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.03
    assert torch.equal(scores, x.pooled @ y.pooled.T)


def test_double_precision():
    images, texts = batch()
    exact = matcher().double().eval()(ImageBatch(images.features.double(), images.mask), texts)
    assert exact.dtype == torch.float64
    assert torch.allclose(exact.float(), matcher().eval()(images, texts), atol=1e-5)


def test_it_learns_to_match():
    model = matcher().train()
    images, texts = batch(12)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    target = torch.arange(12)
    for _ in range(20):
        logits = model(images, texts) / 0.05
        loss = torch.nn.functional.cross_entropy(logits, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (logits.argmax(1) == target).float().mean() >= 0.9


def test_unknown_options_are_refused():
    with pytest.raises(ValidationError, match="typo"):
        VseInfty.Config(typo=1)
