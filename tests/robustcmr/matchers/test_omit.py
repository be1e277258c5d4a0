"""The OMIT matcher: its variants, padding, symmetries, training and storing."""

import math

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize, pad

from robustcmr.matchers.omit import Omit
from robustcmr.types import DataSpec, Fragments, ImageBatch, TextBatch

SPEC = DataSpec(feature_width=10, n_regions=5, vocabulary_size=50, longest_caption=8)
VARIANTS = [(p, w) for p in ("none", "bins", "mass") for w in ("uniform", "norm")]


def matcher(seed=0, **options):
    torch.manual_seed(seed)
    return Omit(Omit.Config(**{"dim": 12, "word_dim": 7, "region_hidden": 9, **options}), SPEC)


def batch(n=6, seed=1, dtype=torch.float32):
    """n images of 2..5 regions and n captions of 1..8 words, padded with zeros."""
    generator = torch.Generator().manual_seed(seed)
    n_regions = torch.randint(2, 6, (n, 1), generator=generator)
    n_words = torch.randint(1, 9, (n, 1), generator=generator)
    region_mask, word_mask = torch.arange(5) < n_regions, torch.arange(8) < n_words
    features = torch.randn(n, 5, 10, generator=generator).to(dtype) * region_mask.unsqueeze(-1)
    tokens = torch.randint(1, 50, (n, 8), generator=generator) * word_mask
    return ImageBatch(features, region_mask), TextBatch(tokens, word_mask)


def unpadded(model, images, texts, i, j):
    """Similarities and plan of one pair, its padding cut away, in float64 by the formula; bins left out."""
    x = images.features[i, images.mask[i]].double()
    y = texts.features[j, texts.mask[j]].double()
    config = model.config
    a = x.norm(dim=-1) if config.marginals == "norm" else torch.ones(len(x), dtype=torch.float64)
    b = y.norm(dim=-1) if config.marginals == "norm" else torch.ones(len(y), dtype=torch.float64)
    a, b = a / a.sum(), b / b.sum()
    S = normalize(x, dim=-1) @ normalize(y, dim=-1).T
    if config.partial == "bins":
        d = config.bin_mass
        to_caption = normalize(x, dim=-1) @ normalize(y.mean(0), dim=-1)
        to_image = normalize(y, dim=-1) @ normalize(x.mean(0), dim=-1)
        corner = torch.tensor([[config.bin_similarity]], dtype=torch.float64)
        S = torch.cat([torch.cat([S, to_caption[:, None]], 1), torch.cat([to_image[None], corner], 1)])
        a, b = torch.cat([(1 - d) * a, a.new_tensor([d])]), torch.cat([(1 - d) * b, b.new_tensor([d])])
    elif config.partial == "mass":
        S = pad(S, (0, 1, 0, 1))
        S[-1, -1] = config.bin_similarity
        rest = a.new_tensor([1 - config.mass])
        a, b = torch.cat([a, rest]), torch.cat([b, rest])
    P = torch.exp((S - 1) / config.smoothing)
    P = P / P.sum()
    for _ in range(config.iterations):
        P = P * (a / P.sum(1))[:, None]
        P = P * (b / P.sum(0))
    if config.partial != "none":
        S, P = S[:-1, :-1], P[:-1, :-1]
    return S, P


@pytest.mark.parametrize(("partial", "marginals"), VARIANTS)
@pytest.mark.parametrize("smoothing", [0.05, 0.02])
def test_scores_and_plans_follow_the_formula_on_real_fragments(partial, marginals, smoothing):
    model = matcher(partial=partial, marginals=marginals, smoothing=smoothing).eval()
    images, texts = batch()
    with torch.no_grad():
        x, y = model.encode_images(images), model.encode_texts(texts)
        scores, plans = model.score(x, y), model.plan(x, y)
    assert scores.shape == (6, 6)
    assert plans.shape == (6, 5, 8)
    for i in range(6):
        for j in range(6):
            S, P = unpadded(model, x, y, i, j)
            mass = 1.0 if partial == "none" else P.sum()
            assert scores[i, j].item() == pytest.approx(((S * P).sum() / mass).item(), abs=1e-5)
        S, P = unpadded(model, x, y, i, i)
        assert (plans[i][x.mask[i]][:, y.mask[i]] - P).abs().max() < 1e-5
        assert plans[i].sum().item() == pytest.approx(P.sum().item(), abs=1e-5)


@pytest.mark.parametrize(("partial", "marginals"), VARIANTS)
def test_padding_changes_neither_scores_nor_gradients_in_training(partial, marginals):
    images, texts = batch()
    garbage = images.features + torch.randn(6, 5, 10) * ~images.mask.unsqueeze(-1)
    wider = (
        ImageBatch(pad(garbage, (0, 0, 0, 3)), pad(images.mask, (0, 3))),
        TextBatch(pad(texts.tokens, (0, 4)), pad(texts.mask, (0, 4))),
    )
    results = []
    for pair in ((images, texts), wider):
        model = matcher(partial=partial, marginals=marginals).train()
        scores = model(*pair)
        scores.diagonal().sum().backward()
        state = model.regions.network[1]
        results.append([scores, state.running_mean, state.running_var, *(p.grad for p in model.parameters())])
    for narrow, wide in zip(*results, strict=True):
        assert torch.allclose(narrow, wide, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("partial", "marginals"), VARIANTS)
def test_every_parameter_learns(partial, marginals):
    model = matcher(partial=partial, marginals=marginals).train()
    images, texts = batch()
    (model(images, texts) * torch.randn(6, 6)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


@pytest.mark.parametrize(("partial", "marginals"), VARIANTS)
def test_gradients_by_fragments(partial, marginals):
    model = matcher(partial=partial, marginals=marginals, smoothing=0.2)
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(2, k, 4, dtype=torch.float64, generator=generator) for k in (3, 2))
    mask = torch.tensor([[True, True, True], [True, True, False]])

    def scores(x, y):
        return model.score(Fragments(x * mask.unsqueeze(-1), mask), Fragments(y, torch.ones(2, 2).bool()))

    assert torch.autograd.gradcheck(scores, (x.requires_grad_(), y.requires_grad_()))


@pytest.mark.parametrize(("partial", "marginals"), VARIANTS)
def test_equivariant_to_orders(partial, marginals):
    model = matcher(partial=partial, marginals=marginals).eval()
    images, texts = batch()
    generator = torch.Generator().manual_seed(0)
    x, y = model.encode_images(images), model.encode_texts(texts)
    base = model.score(x, y)
    i, j = torch.randperm(6, generator=generator), torch.randperm(6, generator=generator)
    assert torch.allclose(model.score(x[i], y[j]), base[i][:, j], atol=1e-6)
    r, w = torch.randperm(5, generator=generator), torch.randperm(8, generator=generator)
    mixed = model.score(
        Fragments(x.features[:, r], x.mask[:, r], x.pooled),
        Fragments(y.features[:, w], y.mask[:, w], y.pooled),
    )
    assert torch.allclose(mixed, base, atol=1e-6)


def test_bins_keep_their_mass_identity():
    images, texts = batch()
    for bin_similarity in (-10.0, 0.5):
        model = matcher(partial="bins", bin_mass=0.3, iterations=300, bin_similarity=bin_similarity).eval()
        x, y = model.encode_images(images), model.encode_texts(texts)
        kept = model.plan(x, y).sum((1, 2))
        if bin_similarity == -10.0:
            assert torch.allclose(kept, torch.tensor(0.4), atol=1e-3)  # 1 - 2 * 0.3, nothing between the bins
        else:
            assert (kept > 0.45).all()  # mass between the bins frees as much between the fragments


def test_the_share_that_is_transported_is_reached():
    model = matcher(partial="mass", mass=0.6, iterations=300).eval()
    images, texts = batch()
    plan = model.plan(model.encode_images(images), model.encode_texts(texts))
    assert torch.allclose(plan.sum((1, 2)), torch.tensor(0.6), atol=1e-3)
    a = images.mask / images.mask.sum(1, keepdim=True)
    assert (plan.sum(2) <= a + 1e-3).all()


def test_columns_are_met_exactly_without_bins():
    model = matcher().eval()
    images, texts = batch()
    plan = model.plan(model.encode_images(images), model.encode_texts(texts))
    assert torch.allclose(plan.sum(1), texts.mask / texts.mask.sum(1, keepdim=True), atol=1e-6)


def test_a_missing_whole_is_the_mean_of_the_fragments():
    model = matcher(partial="bins").eval()
    images, texts = batch()
    x, y = model.encode_images(images), model.encode_texts(texts)
    bare = model.score(Fragments(x.features, x.mask), Fragments(y.features, y.mask))
    assert torch.allclose(bare, model.score(x, y), atol=1e-6)


def test_evaluation_is_deterministic_and_blocks_join():
    model = matcher().eval()
    images, texts = batch()
    with torch.no_grad():
        whole = model(images, texts)
        assert torch.equal(whole, model(images, texts))
        x, y = model.encode_images(images), model.encode_texts(texts)
        blocks = torch.cat([model.score(x[:2], y), model.score(x[2:3], y), model.score(x[3:], y)])
    assert torch.allclose(blocks, whole, atol=1e-6)


def test_one_image_and_one_caption():
    images, texts = batch(1)
    assert matcher().train()(images, texts).shape == (1, 1)


def test_state_survives_safetensors(tmp_path):
    images, texts = batch()
    model = matcher(seed=0).train()
    model(images, texts).sum().backward()  # moves the batch statistics
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other = matcher(seed=1)
    assert not torch.equal(other.eval()(images, texts), model.eval()(images, texts))
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(other.eval()(images, texts), model.eval()(images, texts))


def test_autocast_stays_close():
    model = matcher(dim=64).eval()
    images, texts = batch()
    with torch.no_grad():
        exact = model(images, texts)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(images, texts)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.03
    assert (rough - exact).abs().max() > 0


@pytest.mark.parametrize(
    ("wanted", "given"), [("tensors", "tensors"), ("lanes", "numba")]
)  # lanes: until 0.1
def test_the_backend_is_passed_on(wanted, given, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "robustcmr.matchers.omit.pair_scores", lambda *x, **options: seen.update(options) or torch.zeros(1)
    )
    matcher(backend=wanted)(*batch())
    assert seen["backend"] == given


@pytest.mark.parametrize(
    "options",
    [
        {"smoothing": 0.0},
        {"iterations": 0},
        {"partial": "some"},
        {"bin_mass": 1.0},
        {"mass": 0.0},
        {"bin_similarity": 2.0},
        {"dim": 0},
        {"smoothing": math.nan},
        {"typo": 1},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        Omit.Config(**options)
