"""CRCL: correspondences by hand over steps and epochs, and pieces that start over."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from robustcmr.methods.crcl import CRCL, CRCLOptions
from robustcmr.testing import METHOD_CHECKS, check_method
from tests.robustcmr.methods.one_matcher import B, N, Towers, batch_of, unasked

IMAGES = [0, 0, 2, 3, 4, 5]


def build(**options):
    return CRCL(CRCLOptions(**options), [Towers()], N, B)


def softmaxes(scores, same, temperature):
    """Probabilities p and q as nested lists, 0 where not allowed."""
    n, found = len(scores), []
    for matrix in (scores.tolist(), scores.T.tolist()):
        rows = []
        for i in range(n):
            e = [math.exp(matrix[i][j] / temperature) if j == i or not same[i, j] else 0.0 for j in range(n)]
            rows.append([x / sum(e) for x in e])
        found.append(rows)
    return found


def slow_loss(probabilities, y, weight):
    n, pulled, pushed = len(y), 0.0, 0.0
    for p in probabilities:
        for i in range(n):
            pulled -= y[i] * math.log(p[i][i]) / n
            total = sum(math.tan(x) for x in p[i])
            others = sum(math.tan(p[i][j]) for j in range(n) if j != i)
            pushed += weight * others / total ** (1 - y[i]) / n
    return pulled, pushed


def test_the_defaults_are_the_published_ones_in_one_piece():
    found = CRCLOptions()
    assert (found.temperature, found.complementary_weight, found.keep, found.least) == (0.05, 5.0, 0.8, 0.1)
    assert (found.warmup_epochs, found.pieces) == (2, ())
    assert not build().restarts


@pytest.mark.parametrize("released", [False, True])
def test_steps_by_hand(released):
    """Two epochs of warm-up, of which the last sets y to m; then y is updated before it is used."""
    method = build(temperature=0.5, least=0.2, released=released)
    ids = [5, 9, 2, 17, 11, 3]  # kept by pair id, not by place in the batch
    batch = batch_of(ids, IMAGES)
    same = torch.eye(B, dtype=torch.bool) if released else batch.same_image
    y, chance = [1.0] * B, torch.Generator().manual_seed(3)
    for epoch in range(5):
        with torch.no_grad():  # so that probabilities differ from epoch to epoch
            method.matchers[0].region.weight.copy_(torch.randn(4, 5, generator=chance))
        scores = method.matchers[0](batch.images, batch.texts).detach().double()
        p, q = softmaxes(scores, same, 0.5)
        m = [(p[i][i] + q[i][i]) / 2 for i in range(B)]
        plan = method.plan_epoch(epoch, unasked)
        assert not plan.restart
        assert (plan.estimate is None) == (epoch < 2)
        result = method.training_step({"all": batch})
        if epoch >= 2:
            y = [0.8 * old + 0.2 * new for old, new in zip(y, m, strict=True)]
            y = [0.0 if value < 0.2 else value for value in y]
        pulled, pushed = slow_loss((p, q), y, 5.0)
        assert float(result.metrics["pair_loss"]) == pytest.approx(pulled, rel=1e-4, abs=1e-6)
        assert float(result.metrics["complementary_loss"]) == pytest.approx(pushed, rel=1e-4)
        assert float(result.loss.detach()) == pytest.approx(pulled + pushed, rel=1e-4)
        if epoch == 1:
            y = m
        kept = method.state["correspondence"]
        assert kept[ids].tolist() == pytest.approx(y, rel=1e-4)
        others = torch.ones(N, dtype=torch.bool)
        others[ids] = False
        assert (kept[others] == 1).all()


def test_no_gradient_goes_through_the_correspondence():
    method = build(warmup_epochs=0)
    method.plan_epoch(0, unasked)
    method.training_step({"all": batch_of(range(B))}).loss.backward()
    assert not method.state["correspondence"].requires_grad


def test_the_estimate_is_the_correspondence():
    method = build(warmup_epochs=0, threshold=0.7)
    assert method.estimate(unasked) is None
    method.state["correspondence"] = torch.linspace(0, 1, N)
    found = method.estimate(unasked)
    np.testing.assert_allclose(found.clean_probability, np.linspace(0, 1, N), rtol=1e-6)
    assert found.is_clean.sum() == (np.linspace(0, 1, N) > 0.7).sum()
    assert found.noise_rate is None


def test_pieces():
    """Pieces of 1 + 2 and 3 + 2 epochs, then the last; y goes on, and is replaced by m in the first alone."""
    method = build(pieces=(1, 3), temperature=0.5, least=0.0)
    assert method.restarts
    batch, kept = batch_of(range(B)), []
    chance = torch.Generator().manual_seed(0)
    for epoch in range(12):
        plan = method.plan_epoch(epoch, unasked)
        assert plan.restart == (epoch in (3, 8))
        method.training_step({"all": batch})
        kept.append(method.state["correspondence"][:B].clone())
        with torch.no_grad():  # so that probabilities differ from epoch to epoch
            method.matchers[0].region.weight.copy_(torch.randn(4, 5, generator=chance))
    changed = [not torch.equal(one, two) for one, two in pairwise(kept)]
    # between epochs 0-1 (set to m), 1-2, then frozen in 3 and 4, 8 and 9
    assert changed[:2] == [True, True]
    assert [changed[i] for i in (2, 3, 7, 8)] == [False] * 4
    assert [changed[i] for i in (4, 5, 6)] == [True] * 3


def test_state_survives():
    method = build(warmup_epochs=0)
    method.plan_epoch(3, unasked)
    method.training_step({"all": batch_of(range(B))})
    other = build(warmup_epochs=0)
    other.load_state_dict(method.state_dict())
    assert other.epoch == 3
    assert torch.equal(other.state["correspondence"], method.state["correspondence"])


def test_conformance_over_pieces():
    report = check_method("crcl", {"warmup_epochs": 1, "pieces": (1,)}, epochs=4)
    assert set(METHOD_CHECKS) - set(report.passed) <= {"auxiliary", "rematches"}
