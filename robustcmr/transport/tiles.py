"""The transport of one tile of pairs: scores forward, and the gradient worked out by hand.

A tile holds B pairs. Z is the similarity divided by the smoothing and K = exp(Z) the kernel, both (B, R, W).
The kernel never changes: T times u = a / (K v) and v = b / (K'u), so the plan is diag(u) K diag(v) and an
iteration costs two matrix-vector products that only read. Going back, every iteration adds two outer products
of vectors to the gradient by K, so that gradient is one product of thin matrices, (B, R, 2T + 1) by
(B, 2T + 1, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

# exp(+-20), and what four such factors multiply to, stay inside the range of float32.
_LARGEST_PLAIN_EXPONENT = 20.0


@dataclass(frozen=True)
class Problem:
    """What all tiles of one call share.

    Attributes:
        smoothing: lambda, the entropic smoothing, > 0, in units of similarity.
        iterations: T, at least 1.
        corner: similarity of the last row with the last column, which are then bins that the score leaves
            out; None where there are no bins.
        fused: write products as multiply and sum, for a compiler to fuse, not as batched matrix products.
    """

    smoothing: float
    iterations: int
    corner: float | None = None
    fused: bool = False

    @property
    def shifted(self) -> bool:
        """Whether kernels must be shifted to stay in range; the shift changes no result."""
        return 1.0 / self.smoothing > _LARGEST_PLAIN_EXPONENT * (1.0 + 1e-6)


def _row_sums(problem: Problem, K: Tensor, v: Tensor) -> Tensor:
    """K v: (B, R, W), (B, W) -> (B, R)."""
    if problem.fused:
        return (K * v.unsqueeze(-2)).sum(-1)
    return torch.bmm(v.unsqueeze(-2), K.transpose(1, 2)).squeeze(-2)  # faster than K by a column


def _column_sums(problem: Problem, K: Tensor, u: Tensor) -> Tensor:
    """K'u: (B, R, W), (B, R) -> (B, W)."""
    if problem.fused:
        return (K * u.unsqueeze(-1)).sum(-2)
    return torch.bmm(u.unsqueeze(-2), K).squeeze(-2)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Quotient part / whole, and 0 where the whole is 0."""
    return torch.where(whole > 0, part / whole, torch.zeros_like(part))


def _without_bin(problem: Problem, vector: Tensor) -> Tensor:
    """The vector with its bin, the last entry, set to zero."""
    return vector if problem.corner is None else pad(vector[..., :-1], (0, 1))


def _kernel(problem: Problem, Z: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The kernel, (B, R, W), and the first column scaling, (B, W).

    With little smoothing exp(Z) leaves the range of float32. Then every row and column is divided by its
    largest valid entry: the row factor vanishes in the first scaling of rows, and the column factor is given
    back in the first column scaling, so nothing changes. Each valid row and column keeps an entry of 1, so no
    sum vanishes, and no floor under the exponent is needed.
    """
    present = (b > 0).to(Z.dtype)
    if not problem.shifted:
        return torch.exp(Z), present
    rows, columns = (a > 0).unsqueeze(-1), (b > 0).unsqueeze(-2)
    lowest = torch.finfo(Z.dtype).min
    shifted = Z - torch.where(columns, Z, lowest).amax(-1, keepdim=True)
    column = torch.where(rows, shifted, lowest).amax(-2, keepdim=True)
    # Padded cells could overflow, or vanish all along a row, and then spoil their zero weight.
    K = torch.exp(torch.where(rows & columns, shifted - column, 0.0))
    return K, present * torch.exp(column.squeeze(-2).clamp(max=0.0))


@dataclass(frozen=True)
class Trace:
    """What the way back needs of the way forth.

    Attributes:
        rows: T scalings of rows, each (B, R).
        columns: T scalings of columns, each (B, W).
        row_pull: (B, R) sums of Z K v over the columns, at the last scalings.
        column_pull: (B, W) sums of Z K u over the rows, at the last scalings.
    """

    rows: list[Tensor]
    columns: list[Tensor]
    row_pull: Tensor
    column_pull: Tensor

    def tensors(self) -> list[Tensor]:
        """All in one list, 2 T + 2 long, to be saved."""
        return [*self.rows, *self.columns, self.row_pull, self.column_pull]

    @staticmethod
    def of(saved: Sequence[Tensor]) -> Trace:
        """The trace that ``tensors`` listed."""
        T = len(saved) // 2 - 1
        return Trace(list(saved[:T]), list(saved[T : 2 * T]), saved[2 * T], saved[2 * T + 1])


def forward(problem: Problem, Z: Tensor, a: Tensor, b: Tensor, trace: bool) -> tuple[Tensor, list[Tensor]]:
    """Scores of one tile.

    Args:
        problem: what all tiles share.
        Z: (B, R, W) similarity over smoothing.
        a: (B, R) row weights >= 0, some of them > 0.
        b: (B, W) column weights >= 0, some of them > 0.
        trace: whether the way back will follow.

    Returns:
        Scores (B,), and the tensors of the trace, none if it is not wanted.
    """
    K, v = _kernel(problem, Z, a, b)
    rows, columns = [], []
    for _ in range(problem.iterations):
        u = a / _row_sums(problem, K, v)
        v = b / _column_sums(problem, K, u)
        rows.append(u)
        columns.append(v)
    u, v = _without_bin(problem, u), _without_bin(problem, v)
    pulled = Z * K
    row_pull = _row_sums(problem, pulled, v)
    scores = problem.smoothing * (u * row_pull).sum(-1)
    if problem.corner is not None:
        scores = _share(scores, (u * _row_sums(problem, K, v)).sum(-1))
    if not trace:
        return scores, []
    return scores, Trace(rows, columns, row_pull, _column_sums(problem, pulled, u)).tensors()


def backward(
    problem: Problem,
    Z: Tensor,
    a: Tensor,
    b: Tensor,
    saved: Sequence[Tensor],
    scores: Tensor,
    gradient: Tensor,
    n_left: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of one tile.

    Args:
        problem: what all tiles share.
        Z: (B, R, W) similarity over smoothing.
        a: (B, R) row weights.
        b: (B, W) column weights.
        saved: the tensors of the trace, from ``forward``.
        scores: (B,) from ``forward``.
        gradient: (B,) of the loss by the scores.
        n_left: t, such that pair ``j * t + i`` is left set i with right set j, of s = B / t.

    Returns:
        The gradients by Z, as (t, R, s, W) so that the products with the fragments are one matrix product
        each, and by a (B, R) and b (B, W); zero where a weight is zero.
    """
    K, v_start = _kernel(problem, Z, a, b)
    trace = Trace.of(saved)
    u, v = _without_bin(problem, trace.rows[-1]), _without_bin(problem, trace.columns[-1])
    g = (gradient * problem.smoothing).unsqueeze(-1)  # (B, 1), by sum of Z P
    if problem.corner is None:
        u_bar, v_bar = g * trace.row_pull, g * trace.column_pull
        left, right = [g * u], [v]
    else:
        row_mass = _row_sums(problem, K, v)
        mass = (u * row_mass).sum(-1, keepdim=True)
        lost = _share((gradient * scores).unsqueeze(-1), mass)  # (B, 1), minus the gradient by the local mass
        g = _share(g, mass)
        u_bar = _without_bin(problem, g * trace.row_pull - lost * row_mass)
        v_bar = _without_bin(problem, g * trace.column_pull - lost * _column_sums(problem, K, u))
        left, right = [(g - lost) * u], [v]
    # 1 / (K v) = u / a and 1 / (K'u) = v / b, both 0 where the weight is 0.
    a_inverse, b_inverse = _share(torch.ones_like(a), a), _share(torch.ones_like(b), b)
    a_bar, b_bar = torch.zeros_like(a), torch.zeros_like(b)
    for t in range(problem.iterations - 1, -1, -1):
        u_t, v_t = trace.rows[t], trace.columns[t]
        step = v_bar * v_t * b_inverse
        b_bar = b_bar + step
        q_bar = step * v_t  # minus the gradient by K'u; p_bar below is minus that by K v
        u_bar = u_bar - _row_sums(problem, K, q_bar)
        step = u_bar * u_t * a_inverse
        a_bar = a_bar + step
        p_bar = step * u_t
        left += [-u_t, -p_bar]
        right += [q_bar, trace.columns[t - 1] if t else v_start]
        if t:
            v_bar, u_bar = -_column_sums(problem, K, p_bar), torch.zeros_like(u_bar)
    Z_bar = _outer_products(problem, Z, g * u, v, left, right)
    if problem.corner is not None:
        Z_bar[:, -1, -1] = 0.0
    factors = [x.view(-1, n_left, *x.shape[1:]).permute(1, 2, 0, 3) for x in (K, Z_bar)]
    if problem.fused:
        return (factors[0] * factors[1]).contiguous(), a_bar, b_bar
    return torch.mul(*factors, out=Z.new_empty(factors[0].shape)), a_bar, b_bar


def _outer_products(
    problem: Problem, Z: Tensor, u: Tensor, v: Tensor, left: list[Tensor], right: list[Tensor]
) -> Tensor:
    """Z * (u v') plus the sum of all left right': (B, R, W), in few passes over it."""
    if problem.fused:
        total = Z * u.unsqueeze(-1) * v.unsqueeze(-2)
        for x, y in zip(left, right, strict=True):
            total = total + x.unsqueeze(-1) * y.unsqueeze(-2)
        return total
    total = torch.bmm(u.unsqueeze(-1), v.unsqueeze(-2)).mul_(Z)
    return total.baddbmm_(torch.stack(left, 1).transpose(1, 2), torch.stack(right, 1))


def add_product(total: Tensor, gradient: Tensor, other: Tensor, problem: Problem) -> None:
    """Add gradient @ other over the smoothing: (x, L, D), or (x L, D) flat, += (x L, y) by (y, D)."""
    flat, other = total.view(-1, total.shape[-1]), other.reshape(-1, other.shape[-1])
    if flat.dtype == other.dtype:
        flat.addmm_(gradient, other, alpha=1.0 / problem.smoothing)
    else:
        flat.add_(gradient @ other, alpha=1.0 / problem.smoothing)
