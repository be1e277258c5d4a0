"""Transport scores of all pairs of two collections of fragment sets, in bounded memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robustcmr.transport import packed_scores, tiles, triton_support
from robustcmr.transport.tiles import Problem

_TILE_CELLS = 1 << 21  # 8 MiB of float32: small enough for caches, large enough to keep calls few
_LONGEST_IN_TRITON = 128  # fragments of a set; a pair of such sets fills the registers of a program
_KEPT_BYTES = 128 << 20  # similarities kept for the way back; what is beyond is computed again

Backend = Literal["auto", "tensors", "torch_compile", "lanes", "triton"]

F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger(__name__)


def _left_alone(function: F) -> F:
    """A function that an outer ``torch.compile`` does not look into.

    What sees to that is imported at the first call, as it takes longer to load than all else here.
    """
    disabled: list[Callable[..., Any]] = []

    @wraps(function)
    def run(*given: Any, **named: Any) -> Any:
        if not disabled:
            disabled.append(torch.compiler.disable(function))  # type: ignore[no-untyped-call]
        return disabled[0](*given, **named)

    return cast(F, run)


@_left_alone
def pair_scores(
    left: Tensor,
    right: Tensor,
    left_weights: Tensor,
    right_weights: Tensor,
    *,
    smoothing: float,
    iterations: int,
    corner: float | None = None,
    tile_cells: int | None = None,
    kept_bytes: int = _KEPT_BYTES,
    backend: Backend = "auto",
) -> Tensor:
    """Entropic transport score of every left set with every right set.

    For S = left @ right', K = exp(S / smoothing) and T times "scale the rows of K to the left weights, then
    the columns to the right weights", the score is the sum of S * P over the plan P. Gradients flow through
    all iterations; they are worked out by hand, so no iterate is stored. The work is cut into tiles of
    several sets on either side; the tiling changes results by rounding only. Products of fragments run in
    the fragments' type, all else in float32 or wider; autocast has no say. An outer ``torch.compile``
    leaves this function alone. All backends compute the same, to rounding.

    Args:
        left: (N, R, D) fragments, float32, float64, float16 or bfloat16; S must lie within -1..1, so they
            are of unit length, or zero.
        right: (M, W, D) fragments of the same type.
        left_weights: (N, R) >= 0, summing to the mass of a plan; a fragment of weight 0 has no part in any
            score and gets no gradient. A set whose weights are all 0 scores 0.
        right_weights: (M, W) >= 0, of the same sum.
        smoothing: lambda > 0, in units of similarity.
        iterations: T >= 1.
        corner: None, or the similarity of the last left fragment with the last right one, put in place of
            their product. These two are then bins: the score is what all others collect over the mass among
            them.
        tile_cells: cells (pairs x R x W) of a tile, which has at least one pair; by default what fits the
            caches.
        kept_bytes: most memory for similarities kept from the way forth to the way back.
        backend: ``tensors`` works with tensor operations anywhere; ``torch_compile`` lets ``torch.compile``
            fuse them, and where that does not work, a warning is logged once and they run as they are;
            ``lanes`` runs loops compiled by numba, on the CPU and not in float64; ``triton`` runs fused
            kernels on an NVIDIA GPU, not in float64, and ``tensors`` where Triton is missing or fails or a
            set has over 128 fragments, of which the first two are logged once; ``auto`` takes ``lanes`` or
            ``triton`` where it can and the package is installed, else ``tensors``.

    Returns:
        (N, M) scores, float32, or float64 for float64 fragments.

    Raises:
        ValueError: ``lanes`` for fragments that are not on the CPU, ``triton`` for fragments that are not on
            a GPU, or either for float64.

    References:
        Cuturi, "Sinkhorn Distances", 2013; OMIT, arXiv 2603.14349.
    """
    wide = torch.promote_types(left.dtype, torch.float32)
    a, left_empty = _without_empty(left_weights.to(wide))
    b, right_empty = _without_empty(right_weights.to(wide))
    problem = Problem(smoothing, iterations, corner, fused=backend == "torch_compile")
    trained = torch.is_grad_enabled() and any(x.requires_grad for x in (left, right, a, b))
    lanes = _in_lanes(backend, left)
    inputs = left.contiguous(), right.contiguous(), a, b, problem
    budget = kept_bytes if trained else None
    with torch.autocast(left.device.type, enabled=False):
        scores = None
        if _in_triton(backend, left, right):
            from robustcmr.transport import triton_scores

            scores = triton_scores.scores(*inputs, tile_cells or triton_scores.TILE_CELLS, budget)
        if scores is None:
            cells = tile_cells or (packed_scores.tile_cells() if lanes else _TILE_CELLS)
            function = packed_scores.PackedScores if lanes else _PairScores
            scores = function.apply(*inputs, cells, budget)  # type: ignore[no-untyped-call]
    return cast(Tensor, scores).masked_fill(left_empty | right_empty.T, 0.0)


def _in_lanes(backend: Backend, left: Tensor) -> bool:
    """Whether the compiled loops do the work."""
    possible = left.device.type == "cpu" and left.dtype != torch.float64
    if backend == "lanes" and not possible:
        raise ValueError(
            f"lanes is for float32 and half precision on the CPU, got {left.dtype} on {left.device}"
        )
    return backend == "lanes" or (backend == "auto" and possible and packed_scores.available())


def _in_triton(backend: Backend, left: Tensor, right: Tensor) -> bool:
    """Whether the kernels of a GPU are to do the work."""
    wanted = backend == "triton"
    if wanted and (left.dtype == torch.float64 or not (left.is_cuda or triton_support.interpreted())):
        raise ValueError(
            f"triton is for float32 and half precision on a GPU, got {left.dtype} on {left.device}"
        )
    if not wanted and not (backend == "auto" and left.is_cuda and left.dtype != torch.float64):
        return False
    fits = max(left.shape[1], right.shape[1]) <= _LONGEST_IN_TRITON and min(left.shape + right.shape) > 0
    return fits and triton_support.available(left.device)


def _without_empty(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights with sets that have none made uniform, and (N, 1) which sets those are."""
    empty = (weights <= 0).all(-1, keepdim=True)
    return weights.masked_fill(empty, 1.0 / weights.shape[-1]), empty


class _PairScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        left: Tensor,
        right: Tensor,
        a: Tensor,
        b: Tensor,
        problem: Problem,
        cells: int,
        budget: int | None,
    ) -> Tensor:
        (n, R, _), (m, W, _) = left.shape, right.shape
        scores = a.new_empty(n, m)
        saved: list[Tensor | None] = []
        for i, j in _tiling(n, m, R * W, cells):
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
        with torch.autocast(gradient.device.type, enabled=False):
            return _PairScores._gradients(ctx, gradient)

    @staticmethod
    def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right, a, b, scores, *saved = ctx.saved_tensors
        problem: Problem = ctx.problem
        (n, R, _), (m, W, _) = left.shape, right.shape
        left_bar, right_bar = torch.zeros_like(left, dtype=a.dtype), torch.zeros_like(right, dtype=a.dtype)
        a_bar, b_bar = torch.zeros_like(a), torch.zeros_like(b)
        width = 2 * problem.iterations + 3  # tensors saved a tile
        for k, (i, j) in enumerate(_tiling(n, m, R * W, ctx.cells)):
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


def _tiling(n: int, m: int, cells_of_pair: int, cells: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of left and right sets that cover all pairs, square and of equal size where possible."""
    pairs = max(1, cells // cells_of_pair)
    width = _even(m, max(math.isqrt(pairs), pairs // n))
    height = _even(n, pairs // width)
    for i in range(0, n, height):
        for j in range(0, m, width):
            yield slice(i, min(i + height, n)), slice(j, min(j + width, m))


def _even(length: int, most: int) -> int:
    """Size of the blocks, at most ``most``, that cut a length into the fewest and most equal parts."""
    return -(-length // -(-length // most))


def _similarities(problem: Problem, left: Tensor, right: Tensor) -> Tensor:
    """Similarity over smoothing, (t, R, D), (s, W, D) -> (s t, R, W), at least float32."""
    (t, R, D), (s, W, _) = left.shape, right.shape
    every = left.reshape(1, t * R, D).expand(s, -1, -1)
    out = left.new_empty(s, t * R, W)
    Z = torch.baddbmm(out, every, right.transpose(1, 2), beta=0, alpha=1.0 / problem.smoothing, out=out)
    Z = Z.view(s * t, R, W).to(torch.promote_types(Z.dtype, torch.float32))
    if problem.corner is not None:
        Z[:, -1, -1] = problem.corner / problem.smoothing
    return Z


def _spread(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the pairs of a tile: (t, R), (s, W) -> (s t, R), (s t, W)."""
    t, s = len(a), len(b)
    return a.expand(s, -1, -1).flatten(0, 1), b.unsqueeze(1).expand(-1, t, -1).flatten(0, 1)


class _Compiler:
    """Runs tile functions through ``torch.compile`` until that fails once; from then on as they are."""

    def __init__(self) -> None:
        self.broken = False
        self._compiled: dict[Callable[..., Any], Callable[..., Any]] = {}

    def __call__(self, function: Callable[..., Any], problem: Problem, *inputs: Any) -> Any:
        if problem.fused and not self.broken:
            if function not in self._compiled:
                self._compiled[function] = torch.compile(function, dynamic=True)
            try:
                return self._compiled[function](problem, *inputs)
            except Exception as error:
                from torch._dynamo.exc import BackendCompilerFailed  # loaded by now

                if not isinstance(error, BackendCompilerFailed):
                    raise
                self.broken = True
                reason = " ".join(str(error).split())[:200]
                _log.warning("torch.compile failed, so scoring runs uncompiled and slower: %s", reason)
        return function(replace(problem, fused=False), *inputs)


_run = _Compiler()
