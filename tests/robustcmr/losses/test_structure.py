"""Losses on the structure of a batch against loops over Python numbers."""

import pytest
import torch
from torch.nn import functional as F

from robustcmr.losses.structure import structure_loss, symmetry_loss


def matrix(n, m, seed=0):
    return torch.randn(n, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_symmetry(S, i):
    return sum((S[i][j] - S[j][i]) ** 2 for j in range(len(S))) / len(S)


def slow_structure(V, T, i):
    def cosine(X, j):
        return sum(a * b for a, b in zip(X[i], X[j], strict=True))

    return sum((cosine(V, j) - cosine(T, j)) ** 2 for j in range(len(V))) / len(V)


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_equals_the_loops(n):
    S, V, T = matrix(n, n), F.normalize(matrix(n, 5, 1), dim=1), F.normalize(matrix(n, 3, 2), dim=1)
    symmetry, structure = symmetry_loss(S).tolist(), structure_loss(V, T).tolist()
    assert symmetry == pytest.approx([slow_symmetry(S.tolist(), i) for i in range(n)])
    assert structure == pytest.approx([slow_structure(V.tolist(), T.tolist(), i) for i in range(n)])


def test_nothing_is_lost_where_the_structure_is_met():
    S, V = matrix(4, 4), F.normalize(matrix(4, 5), dim=1)
    assert symmetry_loss(S + S.T).sum() == 0
    turned = torch.linalg.qr(matrix(5, 5, 3)).Q  # a rotation keeps all cosines
    assert structure_loss(V, V @ turned).sum() < 1e-12
    assert symmetry_loss(S).sum() > 0.1
    assert structure_loss(V, F.normalize(matrix(4, 5, 1), dim=1)).sum() > 0.1


def test_gradients():
    assert torch.autograd.gradcheck(symmetry_loss, matrix(4, 4).requires_grad_())
    vectors = (matrix(4, 3).requires_grad_(), matrix(4, 2, 1).requires_grad_())
    assert torch.autograd.gradcheck(structure_loss, vectors)


def test_arrays_and_half_precision():
    S = matrix(3, 3)
    torch.testing.assert_close(symmetry_loss(S.numpy()), symmetry_loss(S))
    assert symmetry_loss(S.half()).dtype == structure_loss(S.half(), S.half()).dtype == torch.float32


def test_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r"scores must be \(B, B\)"):
        symmetry_loss(matrix(2, 3))
    with pytest.raises(ValueError, match=r"one row a pair, got \(2, 3\) and \(4, 3\)"):
        structure_loss(matrix(2, 3), matrix(4, 3))
