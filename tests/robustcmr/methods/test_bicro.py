"""BiCro: anchors, beliefs and every step's loss by slow loops."""

import math

import numpy as np
import pytest
import torch

from robustcmr.methods.bicro import BiCro, BiCroOptions
from robustcmr.methods.peers import steady_encoding
from robustcmr.selection.divide import divide_by_mixture
from robustcmr.selection.released import beta_as_released
from robustcmr.testing import check_method
from robustcmr.testing.samples import SamplePairs

PAIRS = SamplePairs()
N, B, MARGIN = len(PAIRS), 12, 0.6
CLEAN, NOISY = list(range(0, 96, 8)), list(range(3, 60, 5))


def build(epoch=9, **options):
    torch.manual_seed(0)
    options = {"margin": MARGIN, "least_belief": 0.3, "switch_epoch": 0, **options}
    method = BiCro(BiCroOptions(**options), [PAIRS.matcher().eval() for _ in range(2)], N, B)  # no dropout
    method.load_state_dict({**method.state_dict(), "epoch": epoch})
    return method


def batch(ids):
    return PAIRS.batch(np.asarray(ids, dtype=np.int64))


def hinges(S, same, i, margin):
    others = [j for j in range(len(S)) if j != i and not same[i][j]]
    captions = [max(0.0, margin - S[i][i] + S[i][j]) for j in others]
    return captions, [max(0.0, margin - S[i][i] + S[j][i]) for j in others]


def masked(some, released):
    return [[False] * len(some)] * len(some) if released else some.same_image.tolist()


def mean_hinges(S, same):
    return [sum(map(sum, hinges(S, same, i, MARGIN))) / len(S) for i in range(len(S))]


def ratio(v, t, anchors):
    """The mean of both ratios to the nearest anchors; the same anchor for both modalities."""
    pairs = [(max(0.0, float(v @ a)), max(0.0, float(t @ b))) for a, b in anchors]
    k = max(range(len(pairs)), key=lambda i: pairs[i][0])
    j = max(range(len(pairs)), key=lambda i: pairs[i][1])
    return sum(min(pairs[i]) / max(*pairs[i], 0.05) for i in (k, j)) / 2


def slow_beliefs(peer, clean, noisy, released, least):
    """Beliefs of the clean and of the noisy batch of a matcher, by its peer."""
    scores, images, texts = steady_encoding(peer, clean)
    mean = mean_hinges(scores.double().tolist(), masked(clean, released))
    order = sorted(range(len(mean)), key=mean.__getitem__)[: len(mean) // 10 + 1]
    anchors = [(images[i], texts[i]) for i in order]
    of_clean = [
        1.0 if i in order else 0.5 + ratio(images[i], texts[i], anchors) / 2 for i in range(len(mean))
    ]
    _, images, texts = steady_encoding(peer, noisy)
    of_noisy = [ratio(v, t, anchors) for v, t in zip(images, texts, strict=True)]
    return [[y if y >= least else 0.0 for y in found] for found in (of_clean, of_noisy)]


def slow_loss(matcher, some, released, beliefs):
    S, total = matcher(some.images, some.texts).detach().double().tolist(), 0.0
    for i, belief in enumerate(beliefs):
        captions, images = hinges(S, masked(some, released), i, MARGIN * (10**belief - 1) / 9)
        total += max(captions, default=0.0) + max(images, default=0.0)
    return total


def approximately(value):
    return pytest.approx(value, rel=2e-4, abs=2e-5)


@pytest.mark.parametrize("released", [False, True])
def test_a_step_by_hand(released):
    """The anchors of the noisy batch are those of the clean batch, in whatever order these come."""
    method, expected = build(released=released), 0.0
    batches = {
        "noisy_1": batch(NOISY[::-1]),
        "noisy_0": batch(NOISY),
        "clean_1": batch(CLEAN[::-1]),
        "clean_0": batch(CLEAN),
    }
    result = method.training_step(batches)
    for own in (0, 1):
        clean, noisy = batches[f"clean_{own}"], batches[f"noisy_{own}"]
        beliefs = slow_beliefs(method.matchers[1 - own], clean, noisy, released, 0.3)
        for some, found in zip((clean, noisy), beliefs, strict=True):
            assert max(found) - min(found) > 0.1
            expected += slow_loss(method.matchers[own], some, released, found)
    assert result.loss.item() == approximately(expected)
    assert set(result.metrics) == {"clean_loss", "noisy_loss"}


def test_low_beliefs_count_as_0_and_anchors_as_1():
    method = build(least_belief=0.9)
    clean = method.belief(0, "clean", batch(CLEAN))
    assert (clean == 1).sum() >= 2
    assert bool(((clean == 0) | (clean >= 0.9)).all())
    assert bool((method.belief(0, "noisy", batch(NOISY)) == 0).any())
    assert (build().belief(0, "clean", batch(CLEAN)) >= 0.5).all()


@pytest.mark.parametrize("fault", ["rows", "columns"])
def test_the_margins_of_the_released_code_give_another_loss(fault):
    method, some = build(released=True), batch(CLEAN)
    scores = method.matchers[0](some.images, some.texts).detach()
    m = MARGIN * (torch.pow(10, method.belief(0, "clean", some)) - 1) / 9
    laid = {"rows": m[:, None], "columns": m[None, :]}[fault]
    off, pair = ~torch.eye(len(some), dtype=torch.bool), scores.diagonal()
    rows = ((laid - pair[:, None] + scores).clamp(min=0) * off).amax(1)
    columns = ((laid - pair[None, :] + scores).clamp(min=0) * off).amax(0)
    faulty = float((rows + columns).sum())
    assert abs(faulty - method.training_step({"clean_0": some}).loss.item()) > 1e-3


def test_anchors_are_those_of_the_step_alone():
    method = build()
    method.training_step({"clean_0": batch(CLEAN), "noisy_0": batch(NOISY)})
    assert method.belief(0, "noisy", batch(NOISY)).any()
    alone = method.training_step({"noisy_0": batch(NOISY)})
    S = method.matchers[0](batch(NOISY).images, batch(NOISY).texts).detach().double().tolist()
    same, n = batch(NOISY).same_image.tolist(), len(NOISY)
    expected = sum(
        max(a, default=0.0) + max(b, default=0.0) for a, b in (hinges(S, same, i, 0.0) for i in range(n))
    )
    assert alone.loss.item() == approximately(expected)  # no anchor, no margin


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("share", [0.3, 1.0, 0.01])
def test_warm_up_learns_from_the_smallest_hinges(share, released):
    method = build(epoch=0, warmup_epochs=1, warmup_share=share, released=released)
    some, expected = batch(range(12)), 0.0
    for matcher in method.matchers:
        S = matcher(some.images, some.texts).detach().double().tolist()
        expected += sum(sorted(mean_hinges(S, masked(some, released)))[: max(1, math.floor(share * 12))])
    assert method.training_step({"all": some}).loss.item() == approximately(expected)


def test_the_division_is_by_beta_components():
    values = np.random.default_rng(0).normal([0.3, 0.6], 0.12, (N // 2, 2)).ravel()
    for released, expected in (
        (False, divide_by_mixture(values, "beta", 0.4, always=True)),
        (True, beta_as_released(values, 0.4)),
    ):
        found = build(released=released, threshold=0.4).divided(values)
        np.testing.assert_array_equal(found.clean_probability, expected.clean_probability)


def test_suspected_pairs_join_at_noisy_epoch():
    method = build(noisy_epoch=4)
    assert (method.first_epoch("noisy"), method.first_epoch("clean")) == (4, 0)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("ids", [[0], [0, 1], [0, 1, 2, 3], [0, 4, 8]])
def test_small_batches_and_batches_of_one_image(ids, released):
    method = build(released=released)
    result = method.training_step({name: batch(ids) for name in ("clean_0", "noisy_0", "noisy_1")})
    result.loss.backward()
    assert result.loss.isfinite()
    for matcher in method.matchers:
        assert all(p.grad.isfinite().all() for p in matcher.parameters())


@pytest.mark.parametrize("released", [False, True])
def test_it_keeps_the_contract(released):
    options = {"warmup_epochs": 1, "noisy_epoch": 2, "released": released}
    report = check_method("bicro", options, epochs=4)
    assert {"learning", "resuming", "repeatability", "estimates", "same_image"} <= set(report.passed)
