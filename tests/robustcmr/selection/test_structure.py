"""Agreement of two structures, and divisions at a threshold."""

import math

import numpy as np
import pytest
import torch

from robustcmr.selection import divide_at, row_agreement


def test_row_agreement_is_a_cosine_of_rows():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(5, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    found = row_agreement(a, b)
    for i in range(5):
        dot = sum(float(a[i, k]) * float(b[i, k]) for k in range(5))
        norms = [math.sqrt(sum(float(m[i, k]) ** 2 for k in range(5))) for m in (a, b)]
        assert float(found[i]) == pytest.approx(dot / norms[0] / norms[1])
    assert torch.autograd.gradcheck(row_agreement, (a.requires_grad_(), b.requires_grad_()))


def test_a_wrong_pair_agrees_less():
    """Items in two groups; the last caption is given to an image of the other group."""
    groups = torch.tensor([0, 0, 0, 1, 1, 1])
    among = (groups[:, None] == groups[None, :]).float() + torch.eye(6)
    given = torch.tensor([0, 0, 0, 1, 1, 0])
    wrong = (given[:, None] == given[None, :]).float() + torch.eye(6)
    assert int(row_agreement(among, wrong).argmin()) == 5


def test_rows_of_zeros_and_half_precision():
    assert row_agreement(torch.zeros(2, 2), torch.eye(2)).tolist() == [0.0, 0.0]
    assert row_agreement(torch.eye(2).half(), torch.eye(2).half()).dtype == torch.float32
    with pytest.raises(ValueError, match="must be"):
        row_agreement(torch.eye(2), torch.eye(3))


def test_divide_at():
    found = divide_at([0.9, 0.5, 0.1], 0.5, "why")
    assert found.is_clean.tolist() == [True, False, False]
    np.testing.assert_allclose(found.evidence, [0.1, 0.5, 0.9])
    assert (found.reason, found.noise_rate, found.noise_interval, found.bimodal) == ("why", None, None, True)
    for wrong in ([1.2], [float("nan")]):
        with pytest.raises(ValueError, match=r"expected 0\.\.1"):
            divide_at(wrong, 0.5, "why")
