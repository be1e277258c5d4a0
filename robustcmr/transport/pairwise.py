"""Transport scores of all pairs of two collections of fragment sets, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from robustcmr.transport import numba_scores, tensor_scores, triton_support
from robustcmr.transport.problems import check_scaling
from robustcmr.transport.tiles import Bins, Pairs, ScoreProblem

_LONGEST_IN_TRITON = 128  # fragments of a set; a pair of such sets fills the registers of a program
_KEPT_BYTES = 128 << 20  # similarities kept for the backward pass; the rest is computed again

Backend = Literal["auto", "tensors", "torch_compile", "numba", "triton"]

F = TypeVar("F", bound=Callable[..., Any])


def _uncompiled(function: F) -> F:
    """Keep an outer ``torch.compile`` out of a function; done at the first call because that is slow."""
    disabled: list[Callable[..., Any]] = []

    @wraps(function)
    def run(*given: Any, **named: Any) -> Any:
        if not disabled:
            disabled.append(torch.compiler.disable(function))  # type: ignore[no-untyped-call]
        return disabled[0](*given, **named)

    return cast(F, run)


@_uncompiled
def pair_scores(
    left: Tensor,
    right: Tensor,
    left_weights: Tensor,
    right_weights: Tensor,
    *,
    smoothing: float,
    iterations: int,
    corner: float | None = None,
    bins: Bins | None = None,
    reach: float = 1.0,
    tile_cells: int | None = None,
    kept_bytes: int = _KEPT_BYTES,
    backend: Backend = "auto",
) -> Tensor:
    """Score every left set with every right set by entropic transport.

    With S = left @ right', K = exp(S / lambda), v_0 = 1, and for t = 1..T

        u_t = left_weights / (K v_{t-1}),  v_t = right_weights / (K' u_t),

    the score is sum(S * P) of the plan P = diag(u_T) K diag(v_T). Gradients flow through all iterations. The
    work is cut into tiles of several sets on either side; tiling and backend change results by rounding only.
    Products of fragments run in the fragments' type and all else in at least float32, whatever autocast says.
    An outer ``torch.compile`` does not trace this function.

    Args:
        left: (N, R, D) fragments of length 1, or zero, so that S is within -1..1; float32, float64, float16
            or bfloat16.
        right: (M, W, D) fragments of the same type.
        left_weights: (N, R) >= 0, summing to the mass of a plan. A fragment of weight 0 takes no part in any
            score and gets no gradient; a set without weight scores 0.
        right_weights: (M, W) >= 0, of the same sum.
        smoothing: lambda > 0, in units of similarity.
        iterations: T >= 1.
        corner: similarity of the last left fragment with the last right one, in place of their product; None
            for their product.
        bins: what the score collects if these two are bins: the similarity between all other fragments over
            the mass between them (``mean``, which None means where a corner is given), or undivided
            (``sum``). None for no bins.
        reach: bound of all other similarities, in absolute value, where it is not 1.
        tile_cells: most cells (pairs x R x W) of a tile, which has at least one pair; None to fit the caches.
        kept_bytes: most memory for similarities kept from the forward to the backward pass.
        backend: ``tensors`` uses tensor operations on any device. ``torch_compile`` fuses them with
            ``torch.compile``; if that fails, it logs one warning and runs them as they are. ``numba`` runs
            compiled loops on the CPU, not for float64. ``triton`` runs fused kernels on an NVIDIA GPU, not
            for float64; it falls back to ``tensors`` for sets of more than 128 fragments and, with one
            warning, if Triton is missing or fails. ``auto`` takes ``numba`` or ``triton`` where possible,
            else ``tensors``. Where iterations are many and smoothing below 0.023, ``auto`` computes in
            float64 by ``tensors`` if float32 might not do.

    Returns:
        (N, M) scores, float32, or float64 for float64 fragments.

    Raises:
        ValueError: smoothing or iterations are out of range, alone or together; ``numba`` for fragments that
            are not on the CPU, ``triton`` for fragments that are not on a GPU, or either for float64.

    References:
        Cuturi, "Sinkhorn Distances", 2013; OMIT, arXiv 2603.14349.

    Example:
        >>> import torch
        >>> from robustcmr.transport import pair_scores
        >>> regions, words = torch.eye(4)[None, :3], torch.stack([torch.eye(4)[:2], torch.eye(4)[2:]])
        >>> weights = torch.full((1, 3), 1 / 3), torch.full((2, 2), 1 / 2)
        >>> pair_scores(regions, words, *weights, smoothing=0.05, iterations=3)  # one image, two captions
        tensor([[0.6667, 0.3182]])
    """
    check_scaling(smoothing, iterations)
    wide = torch.promote_types(left.dtype, torch.float32)
    a, left_empty = _without_empty(left_weights.to(wide))
    b, right_empty = _without_empty(right_weights.to(wide))
    bins = "mean" if bins is None and corner is not None else bins
    problem = ScoreProblem(smoothing, iterations, corner, bins, reach, fused=backend == "torch_compile")
    if not _in_range(problem, a, b):
        left, right, a, b = _in_double_precision(problem, backend, left, right, a, b)
    trained = torch.is_grad_enabled() and any(x.requires_grad for x in (left, right, a, b))
    given = kept_bytes if trained else None, left.contiguous(), right.contiguous(), a, b, problem
    apply: Callable[..., Tensor] = _Scores.apply
    scores = None
    with torch.autocast(left.device.type, enabled=False):
        if _takes_triton(backend, left, right):
            from robustcmr.transport import triton_scores

            cells = tile_cells or triton_scores.TILE_CELLS
            scores = triton_scores.attempt(apply, triton_scores, *given, cells)
        elif _takes_numba(backend, left):
            cells = tile_cells or numba_scores.CELLS_OF_THREAD * torch.get_num_threads()
            scores = apply(numba_scores, *given, cells)
        if scores is None:
            scores = apply(tensor_scores, *given, tile_cells or tensor_scores.TILE_CELLS)
    return scores.masked_fill(left_empty | right_empty.T, 0.0).to(wide)


class _Scores(torch.autograd.Function):
    """Scores (N, M), at least float32, by the ``forward`` and ``backward`` of an engine's module.

    The budget is of bytes for similarities kept; it is None where no backward pass will follow.
    """

    @staticmethod
    def forward(ctx: Any, engine: Any, budget: int | None, *given: Any) -> Any:
        pairs = Pairs(*given)
        scores, saved = engine.forward(pairs, budget)
        ctx.save_for_backward(*pairs[:4], *saved)
        ctx.engine, ctx.options = engine, pairs[4:]
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right, a, b, *saved = ctx.saved_tensors
        pairs = Pairs(left, right, a, b, *ctx.options)
        with torch.autocast(gradient.device.type, enabled=False):
            return None, None, *ctx.engine.backward(pairs, gradient, saved), None, None


def _takes_numba(backend: Backend, left: Tensor) -> bool:
    possible = left.device.type == "cpu" and left.dtype != torch.float64
    if backend == "numba" and not possible:
        raise ValueError(
            f"backend='numba' takes float32 and half precision on the CPU, got {left.dtype} on "
            f"{left.device}; use backend='auto'"
        )
    return backend == "numba" or (backend == "auto" and possible and numba_scores.available())


def _takes_triton(backend: Backend, left: Tensor, right: Tensor) -> bool:
    wanted = backend == "triton"
    if wanted and (left.dtype == torch.float64 or not (left.is_cuda or triton_support.interpreted())):
        raise ValueError(
            f"backend='triton' takes float32 and half precision on a GPU, got {left.dtype} on {left.device}; "
            "use backend='auto'"
        )
    if not wanted and not (backend == "auto" and left.is_cuda and left.dtype != torch.float64):
        return False
    fits = max(left.shape[1], right.shape[1]) <= _LONGEST_IN_TRITON and min(left.shape + right.shape) > 0
    return fits and triton_support.available(left.device)


def _in_range(problem: ScoreProblem, a: Tensor, b: Tensor) -> bool:
    """Return whether kernel entries that the type of the weights cannot hold are sure to have no influence.

    Every row and column of a kernel has an entry of 1, so an iteration lets no scaling grow by more than 1
    over the least weight of each side, relative to the mass.
    """
    numbers = torch.finfo(a.dtype)
    lowest = math.log(numbers.tiny)
    if -2.0 * problem.reach / problem.smoothing >= lowest:
        return True
    shares = (x.detach() / x.detach().sum(-1, keepdim=True) for x in (a, b))
    least = [
        float(x.masked_fill(x == 0, 1.0).amin().clamp(min=numbers.tiny).log()) for x in shares if x.numel()
    ]
    return problem.iterations * sum(least) >= lowest - math.log(numbers.eps)


def _in_double_precision(problem: ScoreProblem, backend: Backend, *given: Tensor) -> tuple[Tensor, ...]:
    """Return fragments and weights as float64, in which a problem is in range; refuse others."""
    wide = tuple(x.double() for x in given)
    if backend in ("numba", "triton") or given[2].dtype == torch.float64 or not _in_range(problem, *wide[2:]):
        where = f"backend={backend!r}" if backend in ("numba", "triton") else "float64"
        raise ValueError(
            f"smoothing={problem.smoothing:g} with iterations={problem.iterations} leaves the range of "
            f"{where}; expected backend='auto' and more smoothing, such as 0.05, or fewer iterations"
        )
    return wide


def _without_empty(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights, uniform where a set has none, and (N, 1) which sets those are.

    What is below the normal numbers counts as 0: one over it would be infinite.
    """
    weights = weights.masked_fill(weights < torch.finfo(weights.dtype).tiny, 0.0)
    empty = (weights <= 0).all(-1, keepdim=True)
    return weights.masked_fill(empty, 1.0 / weights.shape[-1]), empty
