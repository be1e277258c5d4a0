"""Losses against soft targets: loops over Python numbers, closed forms, and gradients everywhere."""

import math

import pytest
import torch
from torch.nn import functional as F

from robustcmr.losses.cross_entropy import robust_cross_entropy_loss
from robustcmr.losses.matching import (
    soft_cross_entropy_loss,
    symmetric_cross_entropy_loss,
    symmetric_kl_loss,
)

LOSSES = [symmetric_kl_loss, soft_cross_entropy_loss, symmetric_cross_entropy_loss]


def example(n=4, m=5, seed=0, sparse=True):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, m, generator=generator, dtype=torch.float64) * 0.3
    rows, columns = (torch.rand(s, generator=generator, dtype=torch.float64) for s in ((n, m), (m, n)))
    if sparse:
        rows, columns = rows * (rows > 0.4), columns * (columns > 0.4)
        rows[:, 0] += 0.1
        columns[:, 0] += 0.1
    return scores, rows / rows.sum(1, keepdim=True), columns / columns.sum(1, keepdim=True)


def some_mask(n=4, m=5):
    """One row and one column without any allowed cell."""
    allowed = torch.rand(n, m, generator=torch.Generator().manual_seed(9)) < 0.7
    allowed[2] = False
    allowed[:, 3] = False
    return allowed


def softmax(values):
    top = max(values)
    exps = [math.exp(v - top) for v in values]
    return [e / sum(exps) for e in exps]


def one_row(kind, scores, target, temperature, cells, floor):
    kept = [j for j in range(len(scores)) if cells[j]]
    if not kept:
        return 0.0
    p = softmax([float(scores[j]) / temperature for j in kept])
    t = [float(target[j]) for j in kept]
    if kind is soft_cross_entropy_loss:
        return -sum(x * math.log(y) for x, y in zip(t, p, strict=True))
    if kind is symmetric_cross_entropy_loss:
        return -sum(x * math.log(y) + y * math.log(x + floor) for x, y in zip(t, p, strict=True))
    t = [x + floor for x in t]
    t = [x / sum(t) for x in t]
    forward = sum(x * math.log(x / y) for x, y in zip(t, p, strict=True))
    return forward + sum(y * math.log(y / x) for x, y in zip(t, p, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_equals_the_loops(loss, masked, temperature):
    scores, rows, columns = example()
    allowed = some_mask() if masked else None
    per_row, per_column = loss(scores, rows, columns, temperature, allowed)
    cells = torch.ones(4, 5, dtype=torch.bool) if allowed is None else allowed
    for i in range(4):
        expected = one_row(loss, scores[i], rows[i], temperature, cells[i], 1e-7)
        assert float(per_row[i]) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    for j in range(5):
        expected = one_row(loss, scores[:, j], columns[j], temperature, cells[:, j], 1e-7)
        assert float(per_column[j]) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    if masked:
        assert per_row[2] == per_column[3] == 0


def test_soft_cross_entropy_is_that_of_torch():
    scores, rows, columns = example()
    per_row, per_column = soft_cross_entropy_loss(scores, rows, columns, 0.2)
    torch.testing.assert_close(per_row, F.cross_entropy(scores / 0.2, rows, reduction="none"))
    torch.testing.assert_close(per_column, F.cross_entropy(scores.T / 0.2, columns, reduction="none"))


def test_symmetric_cross_entropy_of_one_hot_targets_is_the_robust_one():
    scores, given = example(n=5)[0], torch.eye(5, dtype=torch.float64)
    rows, columns = symmetric_cross_entropy_loss(scores, given, given, 0.2, floor=1e-3)
    torch.testing.assert_close((rows + columns) / 2, robust_cross_entropy_loss(scores, 0.2, floor=1e-3))


def test_symmetric_kl_is_both_divergences_of_torch():
    scores, rows, columns = example(sparse=False)
    log_p = (scores / 0.2).log_softmax(1)
    both = F.kl_div(log_p, rows, reduction="none") + F.kl_div(rows.log(), log_p.exp(), reduction="none")
    per_row, _ = symmetric_kl_loss(scores, rows, columns, 0.2, floor=1e-15)
    torch.testing.assert_close(per_row, both.sum(1))


def test_symmetric_kl_vanishes_where_the_target_is_met_and_only_there():
    scores, _, _ = example()
    p, q = (scores / 0.3).softmax(1), (scores.T / 0.3).softmax(1)
    met = symmetric_kl_loss(scores, p, q, 0.3)
    missed = symmetric_kl_loss(scores, *example(seed=1)[1:], 0.3)
    for zero, positive in zip(met, missed, strict=True):
        assert (zero.abs() < 1e-9).all()
        assert (positive > 0.01).all()


def test_the_floor_bounds_what_a_zero_target_costs():
    """A certain prediction of what the target rules out: KL(p | target) is -log of the floor."""
    scores = torch.tensor([[50.0, 0.0]], dtype=torch.float64)
    target = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    for floor in (1e-7, 1e-3):
        value = symmetric_kl_loss(scores, target, torch.ones(2, 1).double(), 1.0, floor=floor)[0]
        assert float(value) == pytest.approx(-math.log(floor) + 50, rel=1e-2)


def test_a_row_of_zeros_is_even_for_the_one_and_nothing_for_the_other():
    scores, rows, columns = example()
    rows[1] = 0.0
    even = rows.clone()
    even[1] = 0.2
    value = symmetric_kl_loss(scores, rows, columns, 0.2)[0][1]
    torch.testing.assert_close(value, symmetric_kl_loss(scores, even, columns, 0.2)[0][1])
    assert soft_cross_entropy_loss(scores, rows, columns, 0.2)[0][1] == 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("masked", [False, True])
def test_gradient(loss, masked):
    scores, rows, columns = example()
    allowed = some_mask() if masked else None
    assert torch.autograd.gradcheck(lambda s: loss(s, rows, columns, 0.2, allowed), scores.requires_grad_())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("allowed", [None, some_mask(), torch.zeros(4, 5, dtype=torch.bool)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_finite_everywhere_however_sharp(loss, allowed, dtype):
    scores, rows, columns = example()
    scores = (scores.to(dtype) * 5).requires_grad_()
    with torch.autograd.set_detect_anomaly(True):  # no NaN on the way either
        values = loss(scores, rows.float(), columns.float(), 1e-3, allowed)
        sum(v.sum() for v in values).backward()
    assert all(v.dtype == torch.float32 and v.isfinite().all() for v in values)
    assert scores.grad.isfinite().all()
    if allowed is not None:
        assert (scores.grad[~allowed] == 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_refuses_wrong_shapes(loss):
    scores, rows, columns = example()
    with pytest.raises(ValueError, match=r"expected a matrix \(n, m\), got \(4,\)"):
        loss(scores[:, 0], rows, columns, 0.1)
    with pytest.raises(ValueError, match=r"need targets \(4, 5\) and \(5, 4\), got \(4, 5\) and \(4, 5\)"):
        loss(scores, rows, rows, 0.1)
    with pytest.raises(
        ValueError, match=r"bool of shape \(4, 5\) like the scores, got torch.bool of shape \(5, 4"
    ):
        loss(scores, rows, columns, 0.1, some_mask().T)
