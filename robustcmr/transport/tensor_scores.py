"""Transport scores of all pairs by tensor operations, in tiles that bound the memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robustcmr.transport import tiles
from robustcmr.transport.tiles import ScoreProblem

TILE_CELLS = 1 << 21  # 8 MiB of float32: small enough for caches, large enough to keep calls few

_log = logging.getLogger(__name__)


class TensorScores(torch.autograd.Function):
    """Scores (N, M), at least float32; similarities are kept for the backward pass within the budget."""

    @staticmethod
    def forward(
        ctx: Any,
        left: Tensor,
        right: Tensor,
        a: Tensor,
        b: Tensor,
        problem: ScoreProblem,
        cells: int,
        budget: int | None,
    ) -> Tensor:
        """See ``pair_scores``; the budget is None where no backward pass will follow."""
        (n, R, _), (m, W, _) = left.shape, right.shape
        scores = a.new_empty(n, m)
        saved: list[Tensor | None] = []
        for i, j in tiling(n, m, R * W, cells):
            Z = _similarities(problem, left[i], right[j])
            tile, trace = _run(tiles.forward, problem, Z, *_spread(a[i], b[j]), budget is not None)
            scores[i, j] = tile.view(j.stop - j.start, i.stop - i.start).T
            if budget is not None:
                kept = Z.numel() * Z.element_size() <= budget
                budget -= Z.numel() * Z.element_size() if kept else 0
                saved += [Z if kept else None, *trace]
        ctx.save_for_backward(left, right, a, b, scores, *saved)
        ctx.problem, ctx.cells = problem, cells
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients by both fragments and both weights."""
        with torch.autocast(gradient.device.type, enabled=False):
            return TensorScores._gradients(ctx, gradient)

    @staticmethod
    def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right, a, b, scores, *saved = ctx.saved_tensors
        problem: ScoreProblem = ctx.problem
        (n, R, _), (m, W, _) = left.shape, right.shape
        left_bar, right_bar = torch.zeros_like(left, dtype=a.dtype), torch.zeros_like(right, dtype=a.dtype)
        a_bar, b_bar = torch.zeros_like(a), torch.zeros_like(b)
        width = 2 * problem.iterations + 3  # tensors saved a tile
        for k, (i, j) in enumerate(tiling(n, m, R * W, ctx.cells)):
            t, s = i.stop - i.start, j.stop - j.start
            Z, *trace = saved[k * width : (k + 1) * width]
            Z_bar, tile_a, tile_b = _run(
                tiles.backward,
                problem,
                _similarities(problem, left[i], right[j]) if Z is None else Z,
                *_spread(a[i], b[j]),
                trace,
                scores[i, j].T.flatten(),
                gradient[i, j].T.flatten(),
                t,
            )
            a_bar[i] += tile_a.view(s, t, R).sum(0)
            b_bar[j] += tile_b.view(s, t, W).sum(1)
            S_bar = Z_bar.view(t * R, s * W).to(left.dtype)
            tiles.add_product(left_bar[i], S_bar, right[j], problem)
            tiles.add_product(right_bar[j], S_bar.T, left[i], problem)
        return left_bar.to(left.dtype), right_bar.to(right.dtype), a_bar, b_bar, None, None, None


def tiling(n: int, m: int, cells_of_pair: int, cells: int) -> Iterator[tuple[slice, slice]]:
    """Yield blocks of left and right sets that cover all pairs, square and of equal size where possible."""
    pairs = max(1, cells // cells_of_pair)
    width = _even(m, max(math.isqrt(pairs), pairs // n))
    height = _even(n, pairs // width)
    for i in range(0, n, height):
        for j in range(0, m, width):
            yield slice(i, min(i + height, n)), slice(j, min(j + width, m))


def _even(length: int, most: int) -> int:
    """Return the size of the fewest and most equal blocks, of at most ``most``, that cut a length."""
    return -(-length // -(-length // most))


def _similarities(problem: ScoreProblem, left: Tensor, right: Tensor) -> Tensor:
    """Return similarity over smoothing, (t, R, D), (s, W, D) -> (s t, R, W), at least float32."""
    (t, R, D), (s, W, _) = left.shape, right.shape
    every = left.reshape(1, t * R, D).expand(s, -1, -1)
    out = left.new_empty(s, t * R, W)
    Z = torch.baddbmm(out, every, right.transpose(1, 2), beta=0, alpha=1.0 / problem.smoothing, out=out)
    Z = Z.view(s * t, R, W).to(torch.promote_types(Z.dtype, torch.float32))
    if problem.corner is not None:
        Z[:, -1, -1] = problem.corner / problem.smoothing
    return Z


def _spread(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of the pairs of a tile: (t, R), (s, W) -> (s t, R), (s t, W)."""
    t, s = len(a), len(b)
    return a.expand(s, -1, -1).flatten(0, 1), b.unsqueeze(1).expand(-1, t, -1).flatten(0, 1)


class _Compiler:
    """Runs tile functions through ``torch.compile``; if that fails once, uncompiled from then on."""

    def __init__(self) -> None:
        self.broken = False
        self._compiled: dict[Callable[..., Any], Callable[..., Any]] = {}

    def __call__(self, function: Callable[..., Any], problem: ScoreProblem, *inputs: Any) -> Any:
        if problem.fused and not self.broken:
            if function not in self._compiled:
                self._compiled[function] = torch.compile(function, dynamic=True)
            try:
                return self._compiled[function](problem, *inputs)
            except Exception as error:
                from torch._dynamo.exc import BackendCompilerFailed

                if not isinstance(error, BackendCompilerFailed):
                    raise
                self.broken = True
                reason = " ".join(str(error).split())[:200]
                _log.warning("torch.compile failed, so scoring runs uncompiled and slower: %s", reason)
        return function(replace(problem, fused=False), *inputs)


_run = _Compiler()
