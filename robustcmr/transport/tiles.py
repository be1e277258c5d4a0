"""Transport scores of one tile of pairs in tensor operations, and their gradients in closed form.

A tile holds B pairs. Z is the similarity over the smoothing lambda, K = exp(Z), both (B, R, W):

    v_0 = 1,  u_t = a / (K v_{t-1}),  v_t = b / (K' u_t)  for t = 1..T,  plan P = diag(u_T) K diag(v_T)
    score = lambda sum(Z * P)

K never changes, so an iteration costs two products of K with a vector. Backwards, every iteration adds two
outer products to the gradient by K, so that this gradient is one product of thin matrices, (B, R, 2T + 1) by
(B, 2T + 1, W).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

# exp(+-20), and what four such factors multiply to, stay inside the range of float32.
_LARGEST_PLAIN_EXPONENT = 20.0

Bins: TypeAlias = Literal["mean", "sum"]


@dataclass(frozen=True)
class ScoreProblem:
    """The options of ``pair_scores`` that all tiles share."""

    smoothing: float  # lambda > 0, in units of similarity
    iterations: int  # T >= 1
    corner: float | None = None  # similarity of the last row with the last column, if given
    bins: Bins | None = None  # whether these two are bins, and how the score of the rest is collected
    reach: float = 1.0  # largest similarity, in absolute value
    fused: bool = False  # write products as multiply and sum, which a compiler fuses, not as bmm

    @property
    def shifted(self) -> bool:
        """Return whether kernels must be shifted to stay in range; the shift changes no result."""
        return self.reach / self.smoothing > _LARGEST_PLAIN_EXPONENT * (1.0 + 1e-6)


class Pairs(NamedTuple):
    """All pairs of left and right sets, and how to score them, by at most so many cells at once."""

    left: Tensor  # (N, R, D)
    right: Tensor  # (M, W, D)
    a: Tensor  # (N, R), at least float32
    b: Tensor  # (M, W)
    problem: ScoreProblem
    cells: int


def _row_sums(problem: ScoreProblem, K: Tensor, v: Tensor) -> Tensor:
    """Return K v: (B, R, W), (B, W) -> (B, R)."""
    if problem.fused:
        return (K * v.unsqueeze(-2)).sum(-1)
    return torch.bmm(v.unsqueeze(-2), K.transpose(1, 2)).squeeze(-2)  # faster than K by a column


def _column_sums(problem: ScoreProblem, K: Tensor, u: Tensor) -> Tensor:
    """Return K' u: (B, R, W), (B, R) -> (B, W)."""
    if problem.fused:
        return (K * u.unsqueeze(-1)).sum(-2)
    return torch.bmm(u.unsqueeze(-2), K).squeeze(-2)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Return part / whole, and 0 where the whole is 0."""
    return torch.where(whole > 0, part / whole, torch.zeros_like(part))


def _without_bin(problem: ScoreProblem, vector: Tensor) -> Tensor:
    """Return the vector with its bin, the last entry, set to 0."""
    return vector if problem.bins is None else pad(vector[..., :-1], (0, 1))


def _kernel(problem: ScoreProblem, Z: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the kernel (B, R, W) and v_0 (B, W).

    If exp(Z) would leave the range of float32, every row and column is divided by its largest entry among
    fragments with weight. The row factor cancels in u_1 and v_0 gives the column factor back, so no result
    changes. Each row and column keeps an entry of 1, so no sum vanishes.
    """
    present = (b > 0).to(Z.dtype)
    if not problem.shifted:
        return torch.exp(Z), present
    rows, columns = (a > 0).unsqueeze(-1), (b > 0).unsqueeze(-2)
    lowest = torch.finfo(Z.dtype).min
    shifted = Z - torch.where(columns, Z, lowest).amax(-1, keepdim=True)
    column = torch.where(rows, shifted, lowest).amax(-2, keepdim=True)
    # Padded cells could overflow or vanish along a whole row; then their weight of 0 would turn into NaN.
    lowest = math.log(torch.finfo(Z.dtype).tiny)  # divisions by less overflow
    K = torch.exp(torch.where(rows & columns, (shifted - column).clamp(min=lowest), 0.0))
    return K, present * torch.exp(column.squeeze(-2).clamp(max=0.0))


def forward(
    problem: ScoreProblem, Z: Tensor, a: Tensor, b: Tensor, trace: bool
) -> tuple[Tensor, list[Tensor]]:
    """Return the scores (B,) of one tile and, with ``trace``, 2 T + 2 tensors for ``backward``.

    These are u_1..u_T (B, R), v_1..v_T (B, W), the sums of Z K v_T over columns (B, R), and those of Z K u_T
    over rows (B, W). Each pair has some weight > 0 in a (B, R) and in b (B, W).
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
    if problem.bins == "mean":
        scores = _share(scores, (u * _row_sums(problem, K, v)).sum(-1))
    if not trace:
        return scores, []
    return scores, [*rows, *columns, row_pull, _column_sums(problem, pulled, u)]


def backward(
    problem: ScoreProblem,
    Z: Tensor,
    a: Tensor,
    b: Tensor,
    saved: Sequence[Tensor],
    scores: Tensor,
    gradient: Tensor,
    n_left: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of one tile by Z, a (B, R) and b (B, W), given those by the scores (B,).

    Pair ``j * t + i`` is left set i with right set j, with t = ``n_left`` and s = B / t. The gradient by Z is
    (t, R, s, W), so that each product with fragments is one matrix product. It is 0 where a weight is 0.
    """
    K, v_start = _kernel(problem, Z, a, b)
    *scalings, row_pull, column_pull = saved
    rows, columns = scalings[: problem.iterations], scalings[problem.iterations :]
    u, v = _without_bin(problem, rows[-1]), _without_bin(problem, columns[-1])
    g = (gradient * problem.smoothing).unsqueeze(-1)  # (B, 1), by sum of Z P
    if problem.bins != "mean":
        u_bar, v_bar = _without_bin(problem, g * row_pull), _without_bin(problem, g * column_pull)
        left, right = [g * u], [v]
    else:
        row_mass = _row_sums(problem, K, v)
        mass = (u * row_mass).sum(-1, keepdim=True)
        lost = _share((gradient * scores).unsqueeze(-1), mass)  # (B, 1), minus the gradient by the mass
        g = _share(g, mass)
        u_bar = _without_bin(problem, g * row_pull - lost * row_mass)
        v_bar = _without_bin(problem, g * column_pull - lost * _column_sums(problem, K, u))
        left, right = [(g - lost) * u], [v]
    # 1 / (K v) = u / a and 1 / (K'u) = v / b, both 0 where the weight is 0.
    a_inverse, b_inverse = _share(torch.ones_like(a), a), _share(torch.ones_like(b), b)
    a_bar, b_bar = torch.zeros_like(a), torch.zeros_like(b)
    for t in range(problem.iterations - 1, -1, -1):
        u_t, v_t = rows[t], columns[t]
        step = v_bar * v_t * b_inverse
        b_bar = b_bar + step
        q_bar = step * v_t  # minus the gradient by K'u; p_bar below is minus that by K v
        u_bar = u_bar - _row_sums(problem, K, q_bar)
        step = u_bar * u_t * a_inverse
        a_bar = a_bar + step
        p_bar = step * u_t
        left += [-u_t, -p_bar]
        right += [q_bar, columns[t - 1] if t else v_start]
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
    problem: ScoreProblem, Z: Tensor, u: Tensor, v: Tensor, left: list[Tensor], right: list[Tensor]
) -> Tensor:
    """Return Z * (u v') plus the sum of all left right': (B, R, W)."""
    if problem.fused:
        total = Z * u.unsqueeze(-1) * v.unsqueeze(-2)
        for x, y in zip(left, right, strict=True):
            total = total + x.unsqueeze(-1) * y.unsqueeze(-2)
        return total
    total = torch.bmm(u.unsqueeze(-1), v.unsqueeze(-2)).mul_(Z)
    return total.baddbmm_(torch.stack(left, 1).transpose(1, 2), torch.stack(right, 1))


def add_product(total: Tensor, gradient: Tensor, other: Tensor, problem: ScoreProblem) -> None:
    """Add gradient @ other over the smoothing: (x, L, D), or (x L, D) flat, += (x L, y) by (y, D)."""
    flat, other = total.view(-1, total.shape[-1]), other.reshape(-1, other.shape[-1])
    if flat.dtype == other.dtype:
        flat.addmm_(gradient, other, alpha=1.0 / problem.smoothing)
    else:
        flat.add_(gradient @ other, alpha=1.0 / problem.smoothing)
