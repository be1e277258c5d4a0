"""SPS: its three groups, and every loss by a loop over Python numbers."""

import math

import numpy as np
import pytest
import torch

from robustcmr.losses.cross_entropy import infonce_loss
from robustcmr.methods import sps
from robustcmr.methods.sps import Sps, SpsOptions
from robustcmr.selection.released import gaussian_as_released
from robustcmr.testing import METHOD_CHECKS, check_method
from tests.robustcmr.methods.small_peers import (
    B,
    HalfTowers,
    N,
    PeerScorer,
    Towers,
    batch_of,
    evidence_of,
    unasked,
)

GROUPS = ("strict", "clean", "noisy")
IMAGES = [0, 0, 2, 3, 4, 5]  # two captions of one image
NO_MASK = torch.eye(B).bool().tolist()


def build(epoch=9, towers=Towers, **options):
    """A method in the midst of training, whose matchers hold different probabilities of each pair."""
    method = Sps(SpsOptions(**options), [towers(0), towers(1)], N, B)
    chance = torch.Generator().manual_seed(2)
    for own in (0, 1):
        method.state[f"clean_{own}"] = torch.rand(N, generator=chance)
    method.epoch = epoch
    return method


def probability(values, i, kept, tau):
    top = max(values[j] for j in kept)
    return math.exp((values[i] - top) / tau) / sum(math.exp((values[j] - top) / tau) for j in kept)


def slow_pairs(S, same, tau):
    """Probabilities p_ii and q_ii of the pairs of a batch."""
    found = []
    for i in range(len(S)):
        kept = [j for j in range(len(S)) if j == i or not same[i][j]]
        found.append((probability(S[i], i, kept, tau), probability([row[i] for row in S], i, kept, tau)))
    return found


def entropies(pairs):
    return [-math.log(p) - math.log(q) for p, q in pairs]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def vectors(matcher, batch):
    """Unit vectors of images and texts as lists."""
    sides = matcher.encode_images(batch.images), matcher.encode_texts(batch.texts)
    return [side.features[:, 0].double().tolist() for side in sides]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def approximately(value):
    return pytest.approx(value, rel=3e-4)


def test_the_defaults():
    found = SpsOptions()
    assert (found.warmup_epochs, found.clean_epoch, found.noisy_epoch) == (2, 3, 5)
    assert (found.temperature, found.threshold, found.strict_threshold) == (0.07, 0.5, 0.6)
    assert (found.symmetry_weight, found.structure_weight, found.least_confidence) == (25, 25, 0.5)
    assert not found.released


def test_warm_up():
    method, batch = build(epoch=1), batch_of(range(B), IMAGES)
    result = method.training_step({"all": batch})
    scored = [m(batch.images, batch.texts) for m in method.matchers]
    expected = sum(2 * infonce_loss(scores, 0.07, batch.same_image).mean() for scores in scored)
    torch.testing.assert_close(result.loss, expected)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("own", [0, 1])
def test_strictly_clean_pairs_by_hand(own, released):
    method, batch = build(released=released), batch_of(range(B), IMAGES)
    found = method.training_step({f"strict_{own}": batch}).metrics
    V, T = vectors(method.matchers[own], batch)
    S = [[dot(v, t) for t in T] for v in V]
    same = NO_MASK if released else batch.same_image.tolist()
    cells = [(i, j) for i in range(B) for j in range(B)]
    symmetry = mean((S[i][j] - S[j][i]) ** 2 for i, j in cells)
    structure = mean((dot(V[i], V[j]) - dot(T[i], T[j])) ** 2 for i, j in cells)
    assert float(found["strict_loss"]) == approximately(mean(entropies(slow_pairs(S, same, 0.07))))
    assert float(found["symmetry_loss"]) == approximately(25 * symmetry)
    assert float(found["structure_loss"]) == approximately(25 * structure)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("own", [0, 1])
def test_clean_pairs_by_hand(own, released):
    method, batch = build(released=released), batch_of(range(B), IMAGES)
    found = method.training_step({f"clean_{own}": batch})
    V, T = vectors(method.matchers[own], batch)
    S = [[dot(v, t) for t in T] for v in V]
    pairs = slow_pairs(S, NO_MASK if released else batch.same_image.tolist(), 0.07)
    peer = method.state[f"clean_{1 - own}"].tolist()
    y = [peer[i] + (1 - peer[i]) * (p + q) / 2 for i, (p, q) in enumerate(pairs)]
    expected = mean(weight * loss for weight, loss in zip(y, entropies(pairs), strict=True))
    assert found.loss.item() == approximately(expected)


def slow_replaced(method, own, noisy, strict, least, released):
    """Loss of noisy images with the captions of their nearest strictly clean images, and these."""
    (V, _), (R, T) = vectors(method.matchers[own], noisy), vectors(method.matchers[own], strict)
    # two strict pairs have the same image, whose vectors may differ by rounding: the first is taken
    nearest = [max(range(B), key=lambda k, v=v: round(dot(v, R[k]), 5)) for v in V]
    S = [[dot(v, T[k]) for k in nearest] for v in V]
    alike, images = noisy.same_image.tolist(), strict.same_image.tolist()
    same = [
        [i == j if released else alike[i][j] or images[nearest[i]][nearest[j]] for j in range(B)]
        for i in range(B)
    ]
    pairs = slow_pairs(S, same, 0.07)
    y = [(p + q) / 2 * dot(V[i], R[nearest[i]]) for i, (p, q) in enumerate(pairs)]
    return mean(w * (w >= least) * loss for w, loss in zip(y, entropies(pairs), strict=True)), nearest, y


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("least", [0.0, 0.1])
@pytest.mark.parametrize("own", [0, 1])
def test_noisy_pairs_by_hand(own, least, released):
    method = build(released=released, least_confidence=least)
    strict, noisy = batch_of(range(B), IMAGES), batch_of(range(12, 12 + B), [9, 9, 10, 11, 12, 13])
    found = method.training_step({f"strict_{own}": strict, f"noisy_{own}": noisy}).metrics["noisy_loss"]
    expected, nearest, y = slow_replaced(method, own, noisy, strict, least, released)
    assert len(set(nearest)) < B - 1  # not only the two captions of one image get the same caption
    if least:
        assert min(y) < least < max(y)
    assert float(found) == approximately(expected)


def test_a_caption_that_replaces_several_is_no_negative():
    """All images get the same caption: with it as negative, each would have lost half of its probability."""
    strict, noisy = batch_of([3]), batch_of([5, 6], [2, 2])
    losses = {}
    for released in (False, True):
        method = build(released=released, least_confidence=0.0)
        method.matchers[0].region.weight.data.zero_()  # all images are alike
        found = method.training_step({"strict_0": strict, "noisy_0": noisy})
        losses[released] = float(found.metrics["noisy_loss"])
    assert losses[False] == pytest.approx(0.0, abs=1e-6)
    assert losses[True] == pytest.approx(0.5 * 2 * math.log(2))  # weight m = 1/2, entropies log 2 and log 2


def test_without_strict_pairs_noisy_ones_teach_nothing():
    method = build()
    result = method.training_step({"noisy_0": batch_of(range(B)), "strict_1": batch_of(range(B))})
    assert float(result.metrics["noisy_loss"]) == 0
    result.loss.backward()
    assert not method.matchers[0].word.weight.grad.any()
    assert method.matchers[1].word.weight.grad.any()


def test_replacement_uses_evaluation_mode_without_gradient(monkeypatch):
    method = build(towers=lambda seed: Towers(seed, dropout=0.9), least_confidence=0.0)
    for matcher in method.matchers:
        matcher.train()
    strict, noisy, seen, own = batch_of(range(B)), batch_of(range(12, 12 + B)), [], sps.match_probability
    monkeypatch.setattr(
        sps, "match_probability", lambda scores, *rest: seen.append(scores) or own(scores, *rest)
    )
    for _ in range(2):
        method.training_step({"strict_0": strict, "noisy_0": noisy, "clean_0": noisy})
    assert len(seen) == 4
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])
    assert not any(scores.requires_grad for scores in seen)
    assert all(module.training for matcher in method.matchers for module in matcher.modules())


def test_groups_and_when_they_join():
    n = 200
    method = Sps(SpsOptions(), [Towers(0), Towers(1)], n, 16)
    scorer = PeerScorer(method, evidence_of(n, range(60)), evidence_of(n, range(30)))
    assert list(method.plan_epoch(1, unasked).groups) == ["all"]
    for epoch, joined in ((2, ["strict"]), (3, ["strict", "clean"]), (5, ["strict", "clean", "noisy"])):
        groups = method.plan_epoch(epoch, scorer).groups
        assert sorted(groups) == sorted(f"{name}_{own}" for name in joined for own in (0, 1))
    assert groups["noisy_0"].tolist() == list(range(30))  # found by matcher 1
    assert groups["noisy_1"].tolist() == list(range(60))
    batch, scores = batch_of(range(B), IMAGES), torch.randn(B, B, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        scorer.asked[0](scores, batch), 2 * infonce_loss(scores, 0.07, batch.same_image)
    )


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_groups_by_probability(threshold):
    values = np.random.default_rng(0).normal([0.0, 1.5], 0.6, (200, 2)).ravel()  # doubtful pairs between
    division = gaussian_as_released(values, threshold)
    groups = build(threshold=threshold).groups(division)
    p = division.clean_probability
    strict = max(0.6, threshold)
    expected = {"strict": p > strict, "clean": (p > threshold) & (p <= strict), "noisy": p <= threshold}
    for name, members in expected.items():
        assert (groups[name] == members).all()
    assert groups["clean"].any() == (threshold < 0.6)


@pytest.mark.parametrize("towers", [Towers, HalfTowers])
@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize(("n", "one_image"), [(1, False), (2, False), (3, False), (3, True)])
def test_finite_for_small_batches(n, one_image, released, towers):
    method, batch = (
        build(towers=towers, released=released),
        batch_of(range(n), [0] * n if one_image else None),
    )
    result = method.training_step({f"{group}_{own}": batch for group in GROUPS for own in (0, 1)})
    result.loss.backward()
    assert result.loss.isfinite()
    assert result.loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for matcher in method.matchers for p in matcher.parameters())


def test_the_state_survives():
    method = build()
    batches = {f"{group}_{own}": batch_of(range(B)) for group in GROUPS for own in (0, 1)}
    again = Sps(method.config, method.matchers, N, B)
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.training_step(batches).loss, method.training_step(batches).loss)


@pytest.mark.parametrize("released", [False, True])
def test_conforms_after_the_warm_up(released):
    options = {"warmup_epochs": 1, "clean_epoch": 1, "noisy_epoch": 2, "released": released}
    passed = check_method("sps", options, epochs=3).passed
    assert set(METHOD_CHECKS) - set(passed) <= {"auxiliary", "rematches"}
