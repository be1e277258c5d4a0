"""NCR: beliefs and every step's loss by slow loops."""

import numpy as np
import pytest
import torch

from robustcmr.methods.ncr import NCR, NCROptions
from robustcmr.selection.evidence import batch_hinge
from robustcmr.testing import check_method
from robustcmr.testing.samples import SamplePairs

PAIRS = SamplePairs()
N, B, MARGIN = len(PAIRS), 12, 0.6


def build(epoch=9, **options):
    """A method in the midst of training whose matchers disagree on who is clean."""
    torch.manual_seed(0)
    options = {"margin": MARGIN, "switch_epoch": 0, **options}
    method = NCR(NCROptions(**options), [PAIRS.matcher().eval() for _ in range(2)], N, B)  # no dropout
    rng = np.random.default_rng(0)
    method.load_state_dict({**method.state_dict(), "epoch": epoch})
    for k in (0, 1):
        method.state[f"clean_{k}"] = rng.random(N).astype(np.float32)
    return method


def batch(ids):
    return PAIRS.batch(np.asarray(ids, dtype=np.int64))


def hinges(S, same, i, margin):
    """Hinges of pair i against other captions, and against other images."""
    others = [j for j in range(len(S)) if j != i and not same[i][j]]
    captions = [max(0.0, margin - S[i][i] + S[i][j]) for j in others]
    return captions, [max(0.0, margin - S[i][i] + S[j][i]) for j in others]


def scored(matcher, some):
    return matcher(some.images, some.texts).detach().double().tolist()


def masked(some, released):
    return [[False] * len(some)] * len(some) if released else some.same_image.tolist()


def slow_prediction(S, same):
    n = len(S)
    mean = [sum(map(sum, hinges(S, same, i, MARGIN))) / n for i in range(n)]
    r = [min(max(MARGIN - h / 2, 0.0), MARGIN) for h in mean]
    best = sum(sorted(r, reverse=True)[: n // 10 + 1]) / (n // 10 + 1)
    return [min(each / best, 1.0) if best > 0 else 0.0 for each in r]


def slow_loss(S, same, beliefs, hardest):
    total = 0.0
    for i, belief in enumerate(beliefs):
        captions, images = hinges(S, same, i, MARGIN * (10**belief - 1) / 9)
        if hardest:
            total += max(captions, default=0.0) + max(images, default=0.0)
        else:
            total += (sum(captions) + sum(images)) / len(S)
    return total


def approximately(value):
    return pytest.approx(value, rel=2e-4, abs=2e-5)


@pytest.mark.parametrize("hardest", [False, True])
@pytest.mark.parametrize("released", [False, True])
def test_a_step_by_hand(released, hardest):
    method = build(released=released, switch_epoch=9 if hardest else 10)
    batches = {
        name: batch(np.arange(k, k + 12 * 4, 4) + 2 * (k == 1) if k else range(12))
        for k, name in enumerate(("clean_0", "clean_1", "noisy_0", "noisy_1"))
    }
    result, expected = method.training_step(batches), 0.0
    for name, some in batches.items():
        own, same = int(name[-1]), masked(some, released)
        S, peers = scored(method.matchers[own], some), scored(method.matchers[1 - own], some)
        predicted = slow_prediction(S, same)
        if name.startswith("clean"):
            p = method.state[f"clean_{1 - own}"][some.pair_ids].tolist()
            beliefs = [a + (1 - a) * b for a, b in zip(p, predicted, strict=True)]
        else:
            beliefs = [(a + b) / 2 for a, b in zip(predicted, slow_prediction(peers, same), strict=True)]
        assert max(beliefs) - min(beliefs) > 0.2
        found = method.belief(own, name[:-2], some)
        torch.testing.assert_close(
            found.double(), torch.tensor(beliefs, dtype=torch.float64), atol=1e-4, rtol=0
        )
        expected += slow_loss(S, same, beliefs, hardest)
    assert result.loss.item() == approximately(expected)
    assert set(result.metrics) == {"clean_loss", "noisy_loss"}


@pytest.mark.parametrize("fault", ["rows", "columns", "matrix"])
def test_the_margins_of_the_released_code_give_another_loss(fault):
    method, some = build(released=True), batch(range(12))
    scores = method.matchers[0](some.images, some.texts).detach()
    m = MARGIN * (torch.pow(10, method.belief(0, "clean", some)) - 1) / 9
    laid = {"rows": m[:, None], "columns": m[None, :], "matrix": (m[:, None] + m[None, :]) / 2}[fault]
    off, pair = ~torch.eye(12, dtype=torch.bool), scores.diagonal()
    rows = ((laid - pair[:, None] + scores).clamp(min=0) * off).amax(1)
    columns = ((laid - pair[None, :] + scores).clamp(min=0) * off).amax(0)
    faulty = float((rows + columns).sum())
    assert abs(faulty - method.training_step({"clean_0": some}).loss.item()) > 1e-3


def test_the_clean_belief_is_that_of_the_peer():
    method, some = build(), batch(range(12))
    before = method.belief(0, "clean", some)
    method.state["clean_0"] = torch.zeros(N)
    assert torch.equal(method.belief(0, "clean", some), before)
    method.state["clean_1"] = torch.ones(N)
    assert torch.equal(method.belief(0, "clean", some), torch.ones(12))
    method.state["clean_1"] = torch.zeros(N)
    assert torch.equal(method.belief(0, "clean", some), method.prediction(0, some))


def test_beliefs_have_no_gradient_and_predictions_no_dropout():
    method, some = build(), batch(range(12))
    for group in ("clean", "noisy"):
        steady = method.belief(0, group, some)
        for matcher in method.matchers:
            matcher.train()
        assert torch.equal(method.belief(0, group, some), steady)
        assert not steady.requires_grad
    assert all(matcher.training for matcher in method.matchers)


@pytest.mark.parametrize("released", [False, True])
def test_warm_up_is_the_mean_hinge_of_both(released):
    method, some = build(epoch=0, warmup_epochs=1, released=released), batch(range(12))
    expected = 0.0
    for matcher in method.matchers:
        S, same = scored(matcher, some), masked(some, released)
        expected += sum(sum(map(sum, hinges(S, same, i, MARGIN))) / 12 for i in range(12))
    assert method.training_step({"all": some}).loss.item() == approximately(expected)


@pytest.mark.parametrize("released", [False, True])
def test_the_evidence_is_the_mean_hinge(released):
    method, some = build(released=released), batch(range(12))
    scores = torch.randn(12, 12, generator=torch.Generator().manual_seed(0))
    expected = batch_hinge(scores, MARGIN, None if released else some.same_image)
    torch.testing.assert_close(method.evidence(scores, some), expected)


def test_suspected_pairs_join_at_noisy_epoch():
    method = build(noisy_epoch=4)
    assert (method.first_epoch("noisy"), method.first_epoch("clean")) == (4, 0)
    assert NCROptions().noisy_epoch == 6


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
    report = check_method("ncr", options, epochs=4)
    assert {"learning", "resuming", "repeatability", "estimates", "same_image"} <= set(report.passed)
