"""Soft targets against a loop written from the formula."""

import pytest
import torch

from robustcmr.correction.spreading import spread_targets


def example(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, n, generator=generator, dtype=torch.float64) * 0.4
    return scores, torch.rand(n, generator=generator, dtype=torch.float64)


def mask(n, *groups):
    same = torch.eye(n, dtype=torch.bool)
    for group in groups:
        for i in group:
            for j in group:
                same[i, j] = True
    return same


def slow_row(S, y, i, others, least=0.0):
    """Targets of row i of the scores."""
    n = len(S)
    positive = {j: max(0.0, S[i][j]) for j in others}
    total = sum(positive.values())
    target = [0.0] * n
    target[i] = y[i]
    for j in others:
        part = positive[j] / total if total > 0 else 1 / len(others)
        part *= 1 - y[i]
        target[j] = part if part >= least else 0.0
    return target


@pytest.mark.parametrize("least", [0.0, 0.2])
@pytest.mark.parametrize(
    ("n", "groups"), [(1, []), (2, []), (3, [(0, 1, 2)]), (6, []), (6, [(0, 3), (1, 2, 5)])]
)
def test_equals_the_loop(n, groups, least):
    scores, y = example(n)
    same = mask(n, *groups)
    rows, columns = spread_targets(scores, y, same if groups else None, least)
    for i in range(n):
        others = [j for j in range(n) if not same[i, j]]
        for found, S in ((rows, scores), (columns, scores.T)):
            expected = slow_row(S.tolist(), y.tolist(), i, others, least)
            assert found[i].tolist() == pytest.approx(expected, abs=1e-12)


def test_targets_sum_to_one_and_ignore_negative_scores():
    scores, y = example(8)
    for found, S in zip(spread_targets(scores, y), (scores, scores.T), strict=True):
        torch.testing.assert_close(found.sum(1), torch.ones(8).double())
        off = ~torch.eye(8, dtype=torch.bool)
        assert (found[off & (S <= 0)] == 0).all()
        assert (found[off & (S > 0)] > 0).all()


def test_without_a_positive_score_the_rest_is_even():
    rows, columns = spread_targets(-torch.ones(4, 4), torch.full((4,), 0.4))
    expected = torch.full((4, 4), 0.2).fill_diagonal_(0.4)
    torch.testing.assert_close(rows, expected)
    torch.testing.assert_close(columns, expected)


def test_columns_are_the_rows_of_the_transposed():
    scores, y = example(5)
    rows, columns = spread_targets(scores, y)
    back = spread_targets(scores.T, y)
    torch.testing.assert_close(back, (columns, rows))


def test_is_detached_and_at_least_float32():
    scores, y = example(3)
    for found in spread_targets(scores.half().requires_grad_(), y.requires_grad_()):
        assert found.dtype == torch.float32
        assert not found.requires_grad
    torch.testing.assert_close(
        spread_targets(scores.detach().numpy(), y.detach().numpy())[0].sum(), torch.tensor(3.0).double()
    )


def test_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r"confidence must be \(3,\), one a pair, got \(2,\)"):
        spread_targets(torch.eye(3), torch.ones(2))
    with pytest.raises(ValueError, match=r"same_image must be \(3, 3\)"):
        spread_targets(torch.eye(3), torch.ones(3), torch.ones(2, 2, dtype=torch.bool))
