"""The OMIT matcher: its variants, padding, symmetries, training and storing."""

import math

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch.func import functional_call
from torch.nn.functional import normalize, pad

from robustcmr.matchers.omit import Omit
from robustcmr.types import DataSpec, Fragments, ImageBatch, TextBatch

SPEC = DataSpec(feature_width=10, n_regions=5, vocabulary_size=50, longest_caption=8)
GLOBAL = ("global_full", "global_local")
PARTIAL = ("none", *GLOBAL, "prompt", "dummy", "bins", "mass")
VARIANTS = [(p, w) for p in PARTIAL for w in ("uniform", "norm")]


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
    """Similarities and plan of one pair, its padding cut away, in float64 by the formula; bins included."""
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
    elif config.partial != "none":
        if config.partial == "dummy":
            S = pad(S, (0, 1, 0, 1), value=model.dummy.item())
        else:
            image, caption = x.mean(0), y[-1]  # the state at the last word, not the mean
            if config.partial == "prompt":
                image, caption = model.prompt.detach().double()
            S = (
                normalize(torch.cat([x, image[None]]), dim=-1)
                @ normalize(torch.cat([y, caption[None]]), dim=-1).T
            )
        a, b = (torch.cat([len(w) * w, w.new_ones(1)]) / (len(w) + 1) for w in (a, b))
    P = torch.exp(-(1 - S) / config.smoothing)
    P = P / P.sum()
    for _ in range(config.iterations):
        P = P * (a / P.sum(1))[:, None]
        P = P * (b / P.sum(0))
    return S, P


def between_fragments(model, S, P):
    """Both without bins."""
    return (S, P) if model.config.partial == "none" else (S[:-1, :-1], P[:-1, :-1])


def slow_score(model, S, P):
    """The score of a pair, cell by cell."""
    partial = model.config.partial
    if partial != "global_full":
        S, P = between_fragments(model, S, P)
    cells = [(S[r, w].item(), P[r, w].item()) for r in range(S.shape[0]) for w in range(S.shape[1])]
    mass = math.fsum(p for _, p in cells) if partial in ("bins", "mass") else 1.0
    return math.fsum(s * p for s, p in cells) / mass


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
            assert scores[i, j].item() == pytest.approx(
                slow_score(model, *unpadded(model, x, y, i, j)), abs=1e-5
            )
        _, P = between_fragments(model, *unpadded(model, x, y, i, i))
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
    model = matcher(partial=partial, marginals=marginals, smoothing=0.2, dim=4)
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
    r, w = torch.randperm(5, generator=generator), torch.randperm(8, generator=generator).expand(6, -1)
    if partial in GLOBAL:  # the last word stays the last
        w = torch.tensor([[*range(n - 2, -1, -1), *range(n - 1, 8)] for n in y.mask.sum(1).tolist()])
    mixed = model.score(
        Fragments(x.features[:, r], x.mask[:, r], x.pooled),
        Fragments(y.features.gather(1, w.unsqueeze(-1).expand(-1, -1, 12)), y.mask.gather(1, w), y.pooled),
    )
    assert torch.allclose(mixed, base, atol=1e-6)


@pytest.mark.parametrize("partial", GLOBAL)
def test_the_last_word_stands_for_the_caption(partial):
    model = matcher(partial=partial).eval()
    images, texts = batch()
    x, y = model.encode_images(images), model.encode_texts(texts)
    backwards = Fragments(y.features.flip(1), y.mask.flip(1), y.pooled)
    assert (model.score(x, backwards) - model.score(x, y)).abs().max() > 1e-3


@pytest.mark.parametrize("smoothing", [0.05, 0.02])
@pytest.mark.parametrize("backend", ["tensors", "numba"])
def test_gradients_by_what_the_bins_learn(smoothing, backend):
    images, texts = batch()
    for partial, name in (("dummy", "dummy"), ("prompt", "prompt")):
        exact, model = (
            matcher(partial=partial, smoothing=smoothing, backend=b).eval() for b in ("tensors", backend)
        )
        exact.double()
        wide = ImageBatch(images.features.double(), images.mask)
        learned = getattr(exact, name)
        values = torch.randn(6, 6, dtype=torch.float64)

        def total(value):
            return (functional_call(exact, {name: value}, (wide, texts)) * values).sum()  # noqa: B023

        assert torch.autograd.gradcheck(total, (learned.detach().clone().requires_grad_(),), atol=1e-6)
        by_double = torch.autograd.grad(total(learned), learned)[0]
        by_single = torch.autograd.grad((model(images, texts) * values).sum(), getattr(model, name))[0]
        assert torch.allclose(by_single.double(), by_double, atol=1e-5 + 1e-4 * float(by_double.abs().max()))


@pytest.mark.parametrize("z", [-3.0, 1.2, 5.0])
@pytest.mark.parametrize("backend", ["tensors", "numba"])
def test_any_learned_similarity_stays_in_range(z, backend):
    model = matcher(partial="dummy", backend=backend).eval()
    with torch.no_grad():
        model.dummy.fill_(z)
    images, texts = batch()
    x, y = model.encode_images(images), model.encode_texts(texts)
    scores = model.score(x, y)
    scores.sum().backward()
    assert model.dummy.grad.isfinite()
    for i in range(6):
        expected = slow_score(model, *unpadded(model, x, y, i, 2))
        assert scores[i, 2].item() == pytest.approx(expected, abs=1e-5)


def test_a_bin_takes_up_to_one_fragments_share():
    """36 regions, half of them background, and 12 words: mass leaves the regions, and hardly the words."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randn(1, 12, 64, generator=generator)
    words[0, -1] = words.sum(1)  # the last state has read them all
    shown = words[:, torch.arange(18) % 11] + 0.8 * torch.randn(1, 18, 64, generator=generator)
    background = 0.3 * words[:, -1:] + torch.randn(1, 18, 64, generator=generator)
    x, y = (Fragments(f, torch.ones(f.shape[:2]).bool()) for f in (torch.cat([shown, background], 1), words))
    for partial in GLOBAL:
        model = matcher(dim=64, partial=partial, smoothing=0.02)
        S, P = unpadded(model, x, y, 0, 0)
        plan = model.plan(x, y)[0]
        assert plan.shape == (36, 12)
        assert (plan - P[:-1, :-1]).abs().max() < 1e-6
        assert P[:, -1].sum().item() == pytest.approx(1 / 13)
        assert 0.03 < P[:-1, -1].sum() < 1 / 13  # regions to the caption's bin
        assert P[18:-1, -1].sum() > 0.8 * P[:-1, -1].sum()  # from the background
        assert P[-1, :-1].sum() < 0.005  # words to the image's bin
        assert plan.sum().item() == pytest.approx(1 - 1 / 13, abs=0.005)
        local = (S * P)[:-1, :-1].sum().item()  # not divided by the mass
        assert model.score(x, y).item() == pytest.approx(
            local if partial == "global_local" else (S * P).sum().item(), abs=1e-5
        )


def test_a_learned_similarity_needs_iterations_until_fragments_meet():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(3, k, 64, generator=generator) for k in (36, 12))
    x, y = (Fragments(f, torch.ones(f.shape[:2]).bool()) for f in (x, y))
    for iterations, least, most in ((3, 0.0, 0.1), (10, 0.85, 1 - 1 / 13)):
        kept = matcher(dim=64, partial="dummy", iterations=iterations).plan(x, y).sum((1, 2))
        assert ((least <= kept) & (kept <= most)).all()


def test_variants_without_learned_bins_keep_their_weights():
    plain = matcher().state_dict()
    for partial in PARTIAL:
        state = matcher(partial=partial).state_dict()
        assert state.keys() - plain.keys() == ({partial} if partial in ("prompt", "dummy") else set())
        assert all(torch.equal(state[name], value) for name, value in plain.items())


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
    model = matcher(partial="none").eval()
    images, texts = batch()
    plan = model.plan(model.encode_images(images), model.encode_texts(texts))
    assert torch.allclose(plan.sum(1), texts.mask / texts.mask.sum(1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize("partial", ["bins", *GLOBAL])
def test_a_missing_whole_is_the_mean_of_the_fragments(partial):
    model = matcher(partial=partial).eval()
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


@pytest.mark.parametrize("partial", PARTIAL)
def test_one_image_and_one_caption(partial):
    images, texts = batch(1)
    assert matcher(partial=partial).train()(images, texts).shape == (1, 1)


@pytest.mark.parametrize("partial", PARTIAL)
def test_a_caption_without_words_scores_finitely(partial):
    model = matcher(partial=partial).eval()
    x = model.encode_images(batch(2)[0])
    y = Fragments(torch.zeros(2, 8, 12), torch.arange(8) < torch.tensor([[3], [0]]))
    y.features[0, :3] = 1.0
    inputs = [x.features.detach().requires_grad_(), y.features.requires_grad_()]
    scores = model.score(Fragments(inputs[0], x.mask), Fragments(inputs[1], y.mask))
    scores.sum().backward()
    assert (scores[:, 1] == 0).all()
    assert scores.isfinite().all()
    assert all(value.grad.isfinite().all() for value in inputs)


def test_state_survives_safetensors(tmp_path):
    images, texts = batch()
    model = matcher(seed=0).train()
    model(images, texts).sum().backward()  # moves the batch statistics
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other = matcher(seed=1)
    assert not torch.equal(other.eval()(images, texts), model.eval()(images, texts))
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(other.eval()(images, texts), model.eval()(images, texts))


@pytest.mark.parametrize("partial", PARTIAL)
def test_autocast_stays_close(partial):
    model = matcher(dim=64, partial=partial).eval()
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
