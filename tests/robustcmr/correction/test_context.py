"""Statistics of the other cells, against loops over Python lists."""

import math

import pytest
import torch

from robustcmr.correction.context import cell_context


def of_others(values, temperature):
    if not values:
        return None
    log_mean_exp = temperature * math.log(sum(math.exp(v / temperature) for v in values) / len(values))
    return [log_mean_exp, max(values), sum(values) / len(values)]


def by_loops(scores, allowed, temperature):
    n, m = scores.shape
    result = torch.zeros(6, n, m, dtype=torch.float64)
    for i in range(n):
        for j in range(m):
            row = of_others([float(scores[i, k]) for k in range(m) if k != j and allowed[i, k]], temperature)
            column = of_others(
                [float(scores[k, j]) for k in range(n) if k != i and allowed[k, j]], temperature
            )
            found = row or column or [0.0] * 3
            result[:, i, j] = torch.tensor([*(row or found), *(column or found)])
    return result


def random_problem(n, m, seed=0, share=0.7):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(n, m, generator=generator, dtype=torch.float64) * 2 - 1
    return scores, torch.rand(n, m, generator=generator) < share


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1), (2, 2), (7, 4), (5, 9)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.1])
def test_equals_the_loops(shape, share):
    for seed in range(3):
        scores, allowed = random_problem(*shape, seed=seed, share=share)
        torch.testing.assert_close(cell_context(scores, allowed, 0.1), by_loops(scores, allowed, 0.1))


def test_ties_for_the_largest():
    scores = torch.tensor([[0.5, 0.5, 0.1], [0.5, 0.5, 0.5]], dtype=torch.float64)
    allowed = torch.ones(2, 3, dtype=torch.bool)
    torch.testing.assert_close(cell_context(scores, allowed, 0.1), by_loops(scores, allowed, 0.1))


def is_largest(scores, allowed, i, j):
    """Whether a cell is the largest of its row, and of its column; None where another is as large."""
    visible = scores.masked_fill(~allowed, -torch.inf)
    own, others = visible[i, j], visible.clone()
    others[i, j] = -torch.inf
    tops = [others[i].max(), others[:, j].max()]
    return [None if own == top else bool(own > top) for top in tops]


def test_the_own_score_takes_no_part_bit_for_bit():
    """In single precision, where taking it away from a sum would show, and across the largest of the row.

    Across the largest, another row of a product holds the sum of a log-mean-exp; some processors add it up
    in another order there.
    """
    scores, allowed = random_problem(9, 12, share=0.8)
    scores = scores.float()
    before = cell_context(scores, allowed, 0.1)
    for i in range(9):
        for j in range(12):
            for value in (-5.0, float(scores[i].max()), 0.3333, 7.0):
                changed = scores.clone()
                changed[i, j] = value
                found = cell_context(changed, allowed, 0.1)[:, i, j]
                across = is_largest(changed, allowed, i, j) != is_largest(scores, allowed, i, j)
                exact = [1, 2, 4, 5] if across else slice(None)
                assert torch.equal(found[exact], before[exact, i, j])
                rounding = 12 * torch.finfo(torch.float32).eps  # of a sum of 12 terms, in its logarithm
                torch.testing.assert_close(found, before[:, i, j], rtol=0, atol=rounding)


def test_an_own_score_that_towers_costs_no_digits():
    scores = torch.tensor([[100.0, 0.1, 0.2]])
    result = cell_context(scores, torch.ones(1, 3, dtype=torch.bool), 0.1)[:3, 0, 0]
    torch.testing.assert_close(result, torch.tensor(of_others([0.1, 0.2], 0.1)))


def test_scores_of_any_scale_stay_finite():
    for scale in (1e-3, 1e3):
        scores, allowed = random_problem(6, 5)
        scores = (scores * scale).float().requires_grad_()
        context = cell_context(scores, allowed, 0.1)
        context.sum().backward()
        assert context.isfinite().all()
        assert scores.grad.isfinite().all()


def test_gradient():
    scores, allowed = random_problem(4, 5)
    assert torch.autograd.gradcheck(lambda s: cell_context(s, allowed, 0.3), scores.requires_grad_())
