from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from robustcmr.evaluation.rematch_quality import RematchQuality, evaluate_rematch
from robustcmr.types import Rematch

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def rematch(plan, scores, allowed):
    n, m = plan.shape
    return Rematch(torch.arange(n), torch.arange(m), plan, scores, allowed)


def problem(seed, n=9, m=7, mass=0.4, levels=None):
    """A random plan, with scores that tie where ``levels`` is given."""
    rng = np.random.default_rng(seed)
    allowed = rng.random((n, m)) < 0.8
    plan = rng.random((n, m)) * allowed
    plan *= mass / plan.sum()
    scores = rng.random((n, m)) if levels is None else rng.integers(0, levels, (n, m)) / levels
    scores -= 1  # so that 0 is higher than all of them
    fits = rng.random((n, m)) < 0.3
    return plan, scores, allowed, fits


def best_cells(scores, allowed):
    """For each row its best allowed cells; an empty list where none is allowed."""
    found = []
    for row, may in zip(scores, allowed, strict=True):
        best = max((s for s, a in zip(row, may, strict=True) if a), default=None)
        found.append([j for j in range(len(row)) if may[j] and row[j] == best])
    return found


def slow(plan, scores, allowed, fits):
    """The shares cell by cell; ties count in part."""
    n, m = plan.shape
    hits = [
        sum(fits[i, j] for j in cells) / len(cells) if cells else None
        for i, cells in enumerate(best_cells(scores, allowed))
    ]
    down = [
        sum(fits[i, j] for i in cells) / len(cells) if cells else None
        for j, cells in enumerate(best_cells(scores.T, allowed.T))
    ]
    usable = [i for i in range(n) if hits[i] is not None]
    k = min(max(1, round(float(plan.sum()) * n)), len(usable))
    levels = sorted((scores[i][allowed[i]].max() for i in usable), reverse=True)
    above = [i for i in usable if scores[i][allowed[i]].max() > levels[k - 1]]
    tied = [i for i in usable if scores[i][allowed[i]].max() == levels[k - 1]]
    chosen = sum(hits[i] for i in above) + (k - len(above)) * sum(hits[i] for i in tied) / len(tied)
    return {
        "plan": sum(plan[i, j] for i in range(n) for j in range(m) if fits[i, j]) / plan.sum(),
        "chance": sum(fits[i, j] for i in range(n) for j in range(m) if allowed[i, j]) / allowed.sum(),
        "row_max": sum(hits[i] for i in usable) / len(usable),
        "column_max": sum(h for h in down if h is not None) / sum(h is not None for h in down),
        "row_max_same_mass": chosen / k,
        "reachable": sum(any(allowed[i, j] and fits[i, j] for i in range(n)) for j in range(m)) / m,
        "mass": plan.sum(),
    }


def judge(plan, scores, allowed, fits, dtype=torch.float64, device="cpu"):
    tensors = (
        torch.tensor(plan, dtype=dtype, device=device),
        torch.tensor(scores, dtype=dtype, device=device),
        torch.tensor(allowed, device=device),
    )
    return evaluate_rematch(rematch(*tensors), torch.tensor(fits))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("levels", [None, 4, 1])
@pytest.mark.parametrize("mass", [0.03, 0.4, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_against_slow_loops(seed, mass, levels, device):
    given = problem(seed, mass=mass, levels=levels)
    given[2][0] = False  # an image that may go nowhere
    given[2][:, 3] = False  # a caption that may get nothing
    given[0][~given[2]] = 0
    given[0][:] *= mass / given[0].sum()
    assert judge(*given, device=device).to_dict() == pytest.approx(slow(*given), rel=1e-5)


def test_a_batch_worked_out_by_hand():
    plan = np.array([[0.2, 0.0], [0.05, 0.05], [0.0, 0.1]])
    scores = np.array([[0.9, 0.1], [0.3, 0.4], [0.5, 0.8]])
    allowed = np.array([[True, True], [True, True], [False, True]])
    fits = np.array([[True, False], [True, False], [True, False]])
    assert judge(plan, scores, allowed, fits).to_dict() == pytest.approx(
        {
            "plan": 0.25 / 0.4,
            "chance": 2 / 5,
            "row_max": 1 / 3,  # captions 0, 1, 1
            "column_max": 1 / 2,  # images 0, 2
            "row_max_same_mass": 1.0,  # 0.4 of 3 images is one, the first
            "reachable": 1 / 2,
            "mass": 0.4,
        },
        rel=1e-6,
    )


def test_sums_of_batches_add_up():
    batches = [
        problem(seed, n, m, mass)
        for seed, (n, m, mass) in enumerate([(9, 7, 0.4), (4, 12, 0.1), (1, 3, 0.9)])
    ]
    judged = [judge(*batch) for batch in batches]
    total = sum(judged, RematchQuality())
    found = total.to_dict()
    masses = [batch[0].sum() for batch in batches]
    assert found["plan"] == pytest.approx(sum((b[0] * b[3]).sum() for b in batches) / sum(masses), rel=1e-5)
    assert found["mass"] == pytest.approx(np.mean(masses), rel=1e-5)
    assert found["reachable"] == pytest.approx(sum((b[2] & b[3]).any(0).sum() for b in batches) / 22)
    assert found["chance"] == pytest.approx(
        sum((b[2] & b[3]).sum() for b in batches) / sum(b[2].sum() for b in batches)
    )
    assert total.batches == 3
    assert json.loads(json.dumps(found)) == found


def test_nothing_judged_is_nothing_said():
    assert RematchQuality().to_dict() == {}
    empty = rematch(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.bool))
    assert evaluate_rematch(empty, torch.zeros(0, 4, dtype=torch.bool)) == RematchQuality()


def test_no_allowed_cell_and_no_mass():
    zeros = np.zeros((2, 3))
    found = judge(zeros, zeros, zeros.astype(bool), zeros.astype(bool)).to_dict()
    assert found == {"mass": 0, "reachable": 0}
    found = judge(zeros, zeros, ~zeros.astype(bool), ~zeros.astype(bool)).to_dict()
    assert found == {"chance": 1, "row_max": 1, "column_max": 1, "mass": 0, "reachable": 1}


def test_half_precision_and_gradients_are_taken():
    plan, scores, allowed, fits = problem(5, levels=8)
    record = rematch(
        torch.tensor(plan, dtype=torch.float16),
        torch.tensor(scores, dtype=torch.float16, requires_grad=True),
        torch.tensor(allowed),
    )
    found = evaluate_rematch(record, torch.tensor(fits)).to_dict()
    assert found == pytest.approx(slow(plan, scores, allowed, fits), rel=2e-3)


@pytest.mark.parametrize("fits", [torch.zeros(2, 3), torch.zeros(3, 2, dtype=torch.bool)])
def test_fits_of_another_shape_or_type_is_refused(fits):
    zeros = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"fits must be bool of the plan's shape \(2, 3\)"):
        evaluate_rematch(rematch(zeros, zeros, zeros == 0), fits)
