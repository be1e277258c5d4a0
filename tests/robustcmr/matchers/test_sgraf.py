"""SGR and SAF: held against a loop over pairs, padding, symmetries, tiles, precision, training."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import leaky_relu, pad

from robustcmr.errors import DataError
from robustcmr.evaluation.scoring import score_matrix
from robustcmr.matchers import sgraf
from robustcmr.matchers.sgraf import Saf, Sgr
from robustcmr.matchers.similarity import tiles
from robustcmr.matchers.similarity.heads import AttentionHead, GraphHead
from robustcmr.matchers.similarity.tiles import tiled_scores
from robustcmr.types import DataSpec, Fragments, ImageBatch, TextBatch

SPEC = DataSpec(feature_width=10, n_regions=5, vocabulary_size=50, longest_caption=8)
BOTH = pytest.mark.parametrize("kind", [Sgr, Saf])
MODES = pytest.mark.parametrize("training", [True, False])


def matcher(kind, seed=0, **options):
    """A model whose biases and batch statistics are not the ones it starts from."""
    torch.manual_seed(seed)
    sizes = {"dim": 12, "word_dim": 7, "sim_dim": 6, "attention_dropout": 0.0}
    model = kind(kind.Config(**{**sizes, **options}), SPEC)
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        if values.ndim == 1 and not name.startswith("words"):
            values.data += 0.2 * torch.rand_like(values)
    return model


def batch(n_images=7, n_captions=6, seed=1, dtype=torch.float32):
    """Images of 2..5 regions and captions of 1..8 words, one of a single word, padded with zeros."""
    generator = torch.Generator().manual_seed(seed)
    n_regions = torch.randint(2, 6, (n_images, 1), generator=generator)
    n_words = torch.randint(1, 9, (n_captions, 1), generator=generator)
    n_regions[0], n_words[0], n_words[1] = 5, 1, 8
    region_mask, word_mask = torch.arange(5) < n_regions, torch.arange(8) < n_words
    features = torch.randn(n_images, 5, 10, generator=generator).to(dtype) * region_mask.unsqueeze(-1)
    tokens = torch.randint(1, 50, (n_captions, 8), generator=generator) * word_mask
    return ImageBatch(features, region_mask), TextBatch(tokens, word_mask)


def unit(x, dim=-1):
    return x / x.pow(2).sum(dim, keepdim=True).sqrt()


def normalised(norm, x, training):
    """Batch norm of x (N, C), or over positions (N, C, D)."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    dims = [d for d in range(x.ndim) if d != 1]
    mean = x.mean(dims) if training else norm.running_mean
    variance = x.var(dims, unbiased=False) if training else norm.running_var
    x = (x - mean.view(shape)) / torch.sqrt(variance.view(shape) + norm.eps)
    return x * norm.weight.view(shape) + norm.bias.view(shape)


def wholes(attention, sets, training):
    """One vector for every set of unpadded fragments, by the formula."""
    locals_ = [attention.local(x) for x in sets]
    means = torch.stack([attention.whole(x.mean(0)) for x in sets])
    if attention.whole_norm is not None:
        means = normalised(attention.whole_norm, means, training)
        if attention.n_positions is None:
            joined = normalised(attention.local_norm, torch.cat(locals_), training)
            locals_ = joined.split([len(x) for x in sets])
        else:
            locals_ = normalised(attention.local_norm, torch.stack(locals_), training)
    vectors = []
    for x, local, mean in zip(sets, locals_, means, strict=True):
        weights = torch.softmax((torch.tanh(local) * torch.tanh(mean)) @ attention.common.weight[0], 0)
        vectors.append(unit(weights @ x))
    return vectors


def nodes_of(model, v, w, image, caption):
    """(1 + W, K) similarity vectors of one image (R, D) with one caption (W, D)."""
    parts = model.similarity
    attention = unit(leaky_relu(v @ w.T, 0.1), 1)  # (R, W), length 1 along the words
    attention = torch.softmax(model.config.smooth * attention, 0)
    local = unit(parts.local((unit(attention.T @ v) - w) ** 2))
    return torch.cat([unit(parts.whole((image - caption) ** 2)).unsqueeze(0), local])


def by_loop(model, images, texts):
    """Scores pair by pair, from encoders' fragments without padding; independent of the matcher's own way."""
    training = model.training
    x, y = model.regions(images), model.words(texts)
    v = [unit(f[m]) for f, m in zip(x.features, x.mask, strict=True)]
    w = [unit(f[m]) for f, m in zip(y.features, y.mask, strict=True)]
    a = wholes(model.similarity.image_attention, v, training)
    b = wholes(model.similarity.text_attention, w, training)
    nodes = [[nodes_of(model, v[i], w[j], a[i], b[j]) for j in range(len(w))] for i in range(len(v))]
    if isinstance(model, Saf):
        gates = torch.cat([z @ model.gate.weight[0] for row in nodes for z in row]).unsqueeze(1)
        norm = model.gate_norm
        mean = gates.mean() if training else norm.running_mean
        spread = torch.sqrt((gates.var(unbiased=False) if training else norm.running_var) + norm.eps)

    def score(z):
        if isinstance(model, Sgr):
            for step in model.steps:
                edges = torch.softmax(step.query(z) @ step.key(z).T, -1)
                z = torch.relu(step.graph(edges @ z))
            whole = z[0]
        else:
            gate = (z @ model.gate.weight[0] - mean) / spread * norm.weight + norm.bias
            gate = torch.sigmoid(gate)
            whole = unit((gate / gate.sum()) @ z)
        return torch.sigmoid(model.similarity.evaluate(whole))[0]

    return torch.stack([torch.stack([score(z) for z in row]) for row in nodes])


def gradients(model, scores, seed=5):
    generator = torch.Generator().manual_seed(seed)
    upstream = torch.randn(scores.shape, generator=generator, dtype=torch.float64).to(scores.dtype)
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(scores, parameters, upstream)
    return dict(zip(names, found, strict=True))


def tiles_of(monkeypatch, n_bytes):
    monkeypatch.setattr(tiles, "_CPU_TILE_BYTES", n_bytes)


@BOTH
@MODES
@pytest.mark.parametrize("tile_bytes", [1, 2000, 1 << 20])
def test_scores_and_gradients_are_those_of_a_loop_over_pairs(kind, training, tile_bytes, monkeypatch):
    tiles_of(monkeypatch, tile_bytes)
    model = matcher(kind).double().train(training)
    images, texts = batch(dtype=torch.float64)
    expected = by_loop(model, images, texts)
    slow = gradients(model, expected)
    scores = model(images, texts)
    assert scores.shape == (7, 6)
    assert torch.allclose(scores, expected, atol=1e-13, rtol=0)
    fast = gradients(model, scores)
    for name, gradient in slow.items():
        assert torch.allclose(fast[name], gradient, atol=1e-13, rtol=1e-8), name


@BOTH
def test_scores_vary(kind):
    scores = matcher(kind).eval()(*batch())
    assert scores.std(0).min() > 1e-4
    assert scores.std(1).min() > 1e-4
    assert ((scores > 0) & (scores < 1)).all()


@pytest.mark.parametrize("steps", [1, 2])
def test_number_of_steps(steps):
    model = matcher(Sgr, steps=steps).double().eval()
    images, texts = batch(dtype=torch.float64)
    assert torch.allclose(model(images, texts), by_loop(model, images, texts), atol=1e-13)


@BOTH
@MODES
def test_positions_as_released(kind, training):
    model = matcher(kind, region_norm="position").double().train(training)
    images, texts = batch(dtype=torch.float64)
    features = torch.randn(7, 5, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    full = ImageBatch(features, torch.ones(7, 5, dtype=torch.bool))
    expected = by_loop(model, full, texts)
    assert torch.allclose(model(full, texts), expected, atol=1e-13)
    with pytest.raises(DataError, match=r"expects 5 regions in every set, got 2..5"):
        model(images, texts)


@BOTH
@MODES
def test_padding_changes_nothing(kind, training):
    images, texts = batch(dtype=torch.float64)
    garbage = images.features + torch.randn(7, 5, 10) * ~images.mask.unsqueeze(-1)
    wider = (
        ImageBatch(pad(garbage, (0, 0, 0, 3)), pad(images.mask, (0, 3))),
        TextBatch(pad(texts.tokens, (0, 4)), pad(texts.mask, (0, 4))),
    )
    results = []
    for pair in ((images, texts), wider):
        model = matcher(kind).train(training).double()
        scores = model(*pair)
        results.append([scores, *gradients(model, scores).values(), *model.buffers()])
    for narrow, wide in zip(*results, strict=True):
        assert torch.allclose(narrow, wide, atol=1e-13, rtol=1e-8)


@BOTH
@MODES
def test_orders_of_images_captions_regions(kind, training):
    model = matcher(kind).double().train(training)
    generator = torch.Generator().manual_seed(0)
    images, texts = batch(dtype=torch.float64)
    x, y = model.encode_images(images), model.encode_texts(texts)
    base = model.score(x, y)
    i, j = torch.randperm(7, generator=generator), torch.randperm(6, generator=generator)
    assert torch.allclose(model.score(x[i], y[j]), base[i][:, j], atol=1e-13)
    r, w = torch.randperm(5, generator=generator), torch.randperm(8, generator=generator)
    mixed = model.score(
        Fragments(x.features[:, r], x.mask[:, r], x.pooled),
        Fragments(y.features[:, w], y.mask[:, w], y.pooled),
    )
    assert torch.allclose(mixed, base, atol=1e-13)
    shuffled = model.encode_images(ImageBatch(images.features[:, r], images.mask[:, r]))
    assert torch.allclose(shuffled.pooled, x.pooled, atol=1e-13)


@BOTH
def test_blocks_equal_the_whole_and_evaluation_repeats_itself(kind):
    model = matcher(kind, attention_dropout=0.5).train()
    images, texts = batch()
    model.eval()
    with torch.no_grad():
        x, y = model.encode_images(images), model.encode_texts(texts)
        whole = model.score(x, y)
        assert torch.equal(whole, model.score(x, y))
    assert torch.allclose(score_matrix(model, x, y, block_bytes=1), whole, atol=1e-6)
    assert torch.allclose(score_matrix(model, x, y), whole, atol=1e-6)


@BOTH
@MODES
@pytest.mark.parametrize("tile_bytes", [1, 1 << 20])
def test_gradcheck(kind, training, tile_bytes, monkeypatch):
    tiles_of(monkeypatch, tile_bytes)
    model = matcher(kind, dim=4, sim_dim=3).double().train(training)
    generator = torch.Generator().manual_seed(3)
    shapes = (2, 3, 4), (2, 4), (3, 2, 4), (3, 4)
    inputs = [torch.randn(s, dtype=torch.float64, generator=generator).requires_grad_() for s in shapes]
    regions = torch.tensor([[True, True, True], [True, False, True]])
    words = torch.tensor([[True, True], [True, False], [True, True]])

    def scores(v, a, w, b):
        # lengths other than 1 are allowed: everything is normalised again where the formula says so
        return model.score(Fragments(v * regions.unsqueeze(-1), regions, a), Fragments(w, words, b))

    assert torch.autograd.gradcheck(scores, inputs)


@BOTH
@MODES
def test_every_parameter_learns(kind, training):
    model = matcher(kind).double().train(training)
    for name, gradient in gradients(model, model(*batch(dtype=torch.float64))).items():
        assert gradient.isfinite().all(), name
        assert gradient.abs().max() > 1e-12, name  # rounding gives 1e-17 where the truth is zero


@BOTH
def test_bfloat16_is_close(kind):
    model = matcher(kind, dim=32, sim_dim=16).eval()
    images, texts = batch()
    exact = model(images, texts)
    slow = gradients(model, exact)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(images, texts)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.02
    fast = gradients(model, rough)
    for name in ("similarity.local.weight", "similarity.evaluate.weight", "regions.linear.weight"):
        angle = torch.cosine_similarity(fast[name].flatten(), slow[name].flatten(), dim=0)
        assert angle > 0.95, name


@BOTH
def test_products_run_in_the_type_of_autocast(kind, monkeypatch):
    seen = []

    def spy(regions, *rest, **options):
        seen.append(regions.dtype)
        return tiled_scores(regions, *rest, **options)

    monkeypatch.setattr(sgraf, "tiled_scores", spy)
    model = matcher(kind).eval()
    images, texts = batch()
    x, y = model.encode_images(images), model.encode_texts(texts)
    with torch.autocast("cpu", torch.bfloat16):
        model.score(x, y)
    model.score(x, y)
    model.double().score(*(Fragments(s.features.double(), s.mask, s.pooled.double()) for s in (x, y)))
    assert seen == [torch.bfloat16, torch.float32, torch.float64]


def test_whatever_an_encoder_leaves_in_padding_is_cleared():
    model = matcher(Sgr).eval()
    images, _ = batch()
    x = model.regions(images)
    dirty = Fragments(x.features + 3.0 * ~x.mask.unsqueeze(-1), x.mask)
    clean, cleared = (
        model.similarity.fragments(side, model.similarity.image_attention) for side in (x, dirty)
    )
    assert torch.equal(clean.features, cleared.features)
    assert torch.equal(clean.pooled, cleared.pooled)


@BOTH
def test_inference_mode_keeps_nothing_and_agrees(kind):
    model = matcher(kind).eval()
    images, texts = batch()
    with torch.inference_mode():
        scores = model(images, texts)
    assert not scores.requires_grad
    assert torch.allclose(scores, model(images, texts), atol=1e-7)


def test_gates_remember_the_statistics_of_all_real_nodes():
    model = matcher(Saf).double().train()
    images, texts = batch(dtype=torch.float64)
    norm = model.gate_norm
    before = norm.running_mean.clone(), norm.running_var.clone(), int(norm.num_batches_tracked)
    x, y = model.encode_images(images), model.encode_texts(texts)
    model.score(x, y)
    v = [f[m] for f, m in zip(x.features, x.mask, strict=True)]
    w = [f[m] for f, m in zip(y.features, y.mask, strict=True)]
    nodes = [nodes_of(model, v[i], w[j], x.pooled[i], y.pooled[j]) for i in range(7) for j in range(6)]
    gates = torch.cat(nodes) @ model.gate.weight[0]
    assert norm.running_mean.item() == pytest.approx(0.9 * before[0].item() + 0.1 * gates.mean().item())
    assert norm.running_var.item() == pytest.approx(0.9 * before[1].item() + 0.1 * gates.var().item())
    assert int(norm.num_batches_tracked) == before[2] + 1
    model.eval()
    kept = norm.running_mean.clone()
    model.score(x, y)
    assert torch.equal(norm.running_mean, kept)


@BOTH
def test_zero_fragments_do_no_harm(kind):
    model = matcher(kind).train()
    images, texts = batch()
    features = images.features.clone()
    features[3] = 0.0  # a black picture: all its regions are zero, since the linear map's bias is
    torch.nn.init.zeros_(model.regions.linear.bias)
    found = gradients(model, model(ImageBatch(features, images.mask), texts))
    assert all(gradient.isfinite().all() and gradient.abs().max() < 1e3 for gradient in found.values())


@BOTH
def test_one_pair_alone(kind):
    model = matcher(kind).train()
    images, texts = batch()
    one = model(ImageBatch(images.features[:1], images.mask[:1]), TextBatch(texts.tokens[:1], texts.mask[:1]))
    assert one.shape == (1, 1)
    assert one.isfinite().all()


@BOTH
def test_trains(kind):
    model = matcher(kind, seed=2, dim=16, sim_dim=16).train()
    images, _ = batch(8, 8)
    tokens = torch.arange(1, 25).view(8, 3)
    texts = TextBatch(tokens, torch.ones(8, 3, dtype=torch.bool))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images, texts) / 0.05, torch.arange(8))
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.5


@BOTH
def test_fragments_without_pooled_vectors_are_refused(kind):
    model = matcher(kind)
    images, texts = batch()
    x, y = model.encode_images(images), model.encode_texts(texts)
    with pytest.raises(ValueError, match="pooled"):
        model.score(replace(x, pooled=None), y)


@pytest.mark.parametrize(
    "options", [{"sim_dim": 0}, {"smooth": 0.0}, {"smooth": 17.0}, {"steps": 0}, {"attention_dropout": 1.0}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValidationError):
        Sgr.Config(**options)


def test_largest_smooth_stays_finite():
    model = matcher(Sgr, smooth=16.0).train()
    scores = model(*batch())
    assert scores.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(model, scores).values())
    exact = matcher(Sgr, smooth=16.0).double().train()(*batch(dtype=torch.float64))
    assert torch.allclose(scores.double(), exact, atol=1e-5)


def test_filtration_asks_for_moments():
    with pytest.raises(ValueError, match="moments"):
        AttentionHead(1e-5).scores(torch.zeros(1, 2, 3), None, None, [])


def test_reasoning_needs_no_moments():
    assert not GraphHead.needs_moments
    assert GraphHead().moments(torch.zeros(1, 2, 3), None, []).shape == (0,)
