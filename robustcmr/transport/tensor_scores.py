"""Transport scores of all pairs by tensor operations, in tiles that bound the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from robustcmr.transport import tiles
from robustcmr.transport.tiles import Pairs, ScoreProblem
from robustcmr.transport.triton_support import Attempt

TILE_CELLS = 1 << 21  # 8 MiB of float32: small enough for caches, large enough to keep calls few

_attempt = Attempt("torch.compile failed, so scoring runs uncompiled and slower")


def forward(pairs: Pairs, budget: int | None) -> tuple[Tensor, list[Tensor | None]]:
    """Return scores (N, M) and what ``backward`` needs, if the budget is not None."""
    left, right, a, b, problem, cells = pairs
    (n, R, _), (m, W, _) = left.shape, right.shape
    scores = a.new_empty(n, m)
    saved: list[Tensor | None] = [scores]
    for i, j in tiling(n, m, R * W, cells):
        Z = _similarities(problem, left[i], right[j])
        tile, trace = _run(tiles.forward, problem, Z, *_spread(a[i], b[j]), budget is not None)
        scores[i, j] = tile.view(j.stop - j.start, i.stop - i.start).T
        if budget is not None:
            kept = Z.nbytes <= budget
            budget -= Z.nbytes if kept else 0
            saved += [Z if kept else None, *trace]
    return scores, saved


def backward(pairs: Pairs, gradient: Tensor, saved: list[Any]) -> tuple[Tensor, ...]:
    """Return the gradients by left (N, R, D), right (M, W, D), a (N, R) and b (M, W)."""
    left, right, a, b, problem, cells = pairs
    (n, R, _), (m, W, _) = left.shape, right.shape
    left_bar, right_bar = torch.zeros_like(left, dtype=a.dtype), torch.zeros_like(right, dtype=a.dtype)
    a_bar, b_bar = torch.zeros_like(a), torch.zeros_like(b)
    scores, *traces = saved
    width = 2 * problem.iterations + 3  # tensors saved a tile
    for k, (i, j) in enumerate(tiling(n, m, R * W, cells)):
        t, s = i.stop - i.start, j.stop - j.start
        Z, *trace = traces[k * width : (k + 1) * width]
        if Z is None:
            Z = _similarities(problem, left[i], right[j])
        by_score = scores[i, j].T.flatten(), gradient[i, j].T.flatten()
        Z_bar, tile_a, tile_b = _run(tiles.backward, problem, Z, *_spread(a[i], b[j]), trace, *by_score, t)
        a_bar[i] += tile_a.view(s, t, R).sum(0)
        b_bar[j] += tile_b.view(s, t, W).sum(1)
        S_bar = Z_bar.view(t * R, s * W).to(left.dtype)
        tiles.add_product(left_bar[i], S_bar, right[j], problem)
        tiles.add_product(right_bar[j], S_bar.T, left[i], problem)
    return left_bar.to(left.dtype), right_bar.to(right.dtype), a_bar, b_bar


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


def _run(function: Callable[..., Any], problem: ScoreProblem, *inputs: Any) -> Any:
    """Run a tile function, compiled where that is asked for and works."""
    found = _attempt(_compiled(function), problem, *inputs) if problem.fused else None
    return function(replace(problem, fused=False), *inputs) if found is None else found


@lru_cache(maxsize=2)
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)
