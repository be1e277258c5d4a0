"""Transport scores of all pairs by fused kernels on a GPU: launches of ``triton_kernels``.

Forward, one kernel takes fragments to scores: similarities, iterations and score stay in registers. Kept for
the backward pass are the column scalings of all iterations, T W numbers a pair instead of R W similarities.
Backward, a kernel of the same shape recomputes the similarities and row scalings, sweeps in reverse, and
writes the gradient by the similarities of one block of pairs, in the fragments' type; two matrix products
take it to the gradients by the fragments. Nothing is added atomically, so results do not vary from run to
run. The last products are not fused, because the gradient by a left set, 64 x 1,024 numbers when padded,
would take all registers of a multiprocessor; a block of 2^23 numbers stays in the L2 of an H200 instead.

A program for R = 36, W = 32 holds one left set padded to 64 rows, one matrix instruction of a warp group, and
four right sets: 8,192 cells on four warps, 2 x 64 registers a thread for similarities and kernel.

Products of float32 are ``tf32x3``: three products of TF32 parts, with errors like those of float32. One TF32
product errs by 1e-3, which a smoothing of 0.05 turns into 2% of a kernel entry; ``ieee`` avoids the tensor
cores and is several times slower.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from robustcmr.transport import tensor_scores
from robustcmr.transport.tiles import Pairs, ScoreProblem, add_product
from robustcmr.transport.triton_support import Attempt, on, power_of_two

TILE_CELLS = 1 << 23  # cells of a block of the backward pass
_SMALLEST = 16  # side of a matrix instruction
_ROWS, _CELLS = 64, 8192  # of a program, where one pair does not need more
_STAGES = 3

attempt = Attempt("Triton failed, so the scoring of pairs takes tensor operations and longer")


class Layout(NamedTuple):
    """Sizes of one program: L left sets of BR fragments, G right sets of BW, products of BD numbers."""

    L: int
    G: int
    BR: int
    BW: int
    BD: int

    @property
    def warps(self) -> int:
        """Return the number of warps, so that a thread has at most 64 cells."""
        return 8 if self.L * self.BR * self.G * self.BW > _CELLS else 4

    @staticmethod
    def of(left_sets: int, right_sets: int, R: int, W: int, D: int, dtype: torch.dtype) -> Layout:
        """Return the layout for left and right sets of R and W fragments of width D."""
        BR, BW = (max(_SMALLEST, power_of_two(x)) for x in (R, W))
        L = min(max(1, _ROWS // BR), power_of_two(left_sets))
        G = min(max(1, _CELLS // (L * BR * BW)), power_of_two(right_sets))
        BD = min(32 if dtype == torch.float32 else 64, max(_SMALLEST, power_of_two(D)))
        return Layout(L, G, BR, BW, BD)

    def parts(self, left_sets: int, right_sets: int) -> tuple[int, int]:
        """Return the number of parts of the left and of the right sets."""
        return -(-left_sets // self.L), -(-right_sets // self.G)

    def options(self) -> dict[str, int | str]:
        """Return the keyword arguments of the kernels."""
        return {**self._asdict(), "PRECISION": "tf32x3", "num_warps": self.warps, "num_stages": _STAGES}


def forward(pairs: Pairs, budget: int | None) -> tuple[Tensor, list[Tensor]]:
    """Return scores (N, M), float32, and what ``backward`` needs, if the budget is not None."""
    from robustcmr.transport.triton_kernels import scores_forward

    left, right, a, b, problem, _ = pairs
    (n, R, D), (m, W, _) = left.shape, right.shape
    scores = a.new_empty(n, m)
    trace = a.new_empty(0 if budget is None else problem.iterations, n, m, W)
    layout = Layout.of(n, m, R, W, D, left.dtype)
    with on(left):
        scores_forward[(math.prod(layout.parts(n, m)),)](
            left, right, a.contiguous(), b.contiguous(), scores, trace, n, m, R, W, D,
            *_numbers(problem), TRACE=budget is not None, **layout.options(),
        )  # fmt: skip
    return scores, [trace]


def backward(pairs: Pairs, gradient: Tensor, saved: list[Tensor]) -> tuple[Tensor, ...]:
    """Return the gradients by left (N, R, D), right (M, W, D), a (N, R) and b (M, W)."""
    found: tuple[Tensor, ...] | None = attempt(_gradients, pairs, gradient, saved[0])
    if found is None:
        found = tensor_scores.backward(pairs, gradient, tensor_scores.forward(pairs, 0)[1])
    return found


def _gradients(pairs: Pairs, gradient: Tensor, trace: Tensor) -> tuple[Tensor, ...]:
    from robustcmr.transport.triton_kernels import scores_backward

    left, right, a, b, problem, cells = pairs
    (n, R, D), (m, W, _) = left.shape, right.shape
    a, b, gradient = a.contiguous(), b.contiguous(), gradient.float().contiguous()
    left_bar, right_bar = torch.zeros_like(left, dtype=a.dtype), torch.zeros_like(right, dtype=a.dtype)
    a_bar, b_bar = torch.zeros_like(a), torch.zeros_like(b)
    for i, j in tensor_scores.tiling(n, m, R * W, cells):
        t, s = i.stop - i.start, j.stop - j.start
        layout = Layout.of(t, s, R, W, D, left.dtype)
        left_parts, right_parts = layout.parts(t, s)
        Z_bar = left.new_empty(t * R, s * W)
        a_part, b_part = a.new_empty(right_parts, t, R), b.new_empty(left_parts, s, W)
        with on(left):
            scores_backward[(left_parts * right_parts,)](
                left, right, a, b, trace, gradient, Z_bar, a_part, b_part,
                n, m, i.start, i.stop, j.start, j.stop, R, W, D, *_numbers(problem), **layout.options(),
            )  # fmt: skip
        a_bar[i] += a_part.sum(0)
        b_bar[j] += b_part.sum(0)
        add_product(left_bar[i], Z_bar, right[j], problem)
        add_product(right_bar[j], Z_bar.T, left[i], problem)
    return left_bar.to(left.dtype), right_bar.to(right.dtype), a_bar, b_bar


def _numbers(problem: ScoreProblem) -> tuple[int | float, ...]:
    """Return T, smoothing, corner over smoothing, and what is compiled in.

    That is whether a corner is given, there are bins, the score is a mean, and kernels are shifted.
    """
    corner = 0.0 if problem.corner is None else float(problem.corner / problem.smoothing)
    bins = problem.corner is not None, problem.bins is not None, problem.bins == "mean"
    return problem.iterations, float(problem.smoothing), corner, *bins, problem.shifted
