"""Transport scores of all pairs by compiled loops on the CPU: what surrounds ``lane_kernels``.

Left sets go sixteen at a time; words of no weight are left out of every product. For each sixteen and each
run of right sets that fits a cache there is one matrix product of the similarities, and a call of the kernel.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from robustcmr.transport.tiles import Problem, add_product

_LANES = 16
_CELLS_OF_THREAD = 1 << 19  # 2 MiB of float32
_log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether numba is installed, which compiles the loops; where it is not, that is logged once."""
    if find_spec("numba") is not None:
        return True
    _log.warning("numba is not installed, so transport scores take several times as long on the CPU")
    return False


def tile_cells() -> int:
    """Similarities that a tile should hold."""
    return _CELLS_OF_THREAD * torch.get_num_threads()


@dataclass(frozen=True)
class Packed:
    """Both collections as the kernel wants them; G groups of sixteen left sets, V words in all.

    Attributes:
        left: (G, R * 16, D) fragments, the sixteen of a group side by side for each place.
        right: (V, D) fragments that have weight.
        a: (G, R * 16) weights; lanes beyond the last set hold uniform ones.
        b: (V,) weights, > 0.
        places: (V,) where each word stands in the flattened (M * W).
        offsets: (M + 1,) where each right set's words begin.
        bins: (M,) whether a right set's last word is its bin, as bytes.
        shape: N, M, R, W.
    """

    left: Tensor
    right: Tensor
    a: Tensor
    b: Tensor
    places: Tensor
    offsets: npt.NDArray[np.int64]
    bins: npt.NDArray[np.uint8]
    shape: tuple[int, int, int, int]

    @property
    def width(self) -> int:
        """Numbers a word takes in a tile: R * 16."""
        return self.a.shape[1]

    def words(self, first: int, end: int) -> slice:
        """The words of some right sets."""
        return slice(int(self.offsets[first]), int(self.offsets[end]))

    def tiles(self, cells: int) -> Iterator[tuple[int, int, int]]:
        """Group, first and end of the right sets of each tile, of at most ``cells`` or one right set."""
        ends = []
        first, m = 0, self.shape[1]
        while first < m:
            most = self.offsets[first] + cells // self.width
            end = max(first + 1, int(np.searchsorted(self.offsets, most, side="right")) - 1)
            ends.append((first, min(end, m)))
            first = ends[-1][1]
        for group in range(len(self.left)):
            for first, end in ends:
                yield group, first, end


def pack(left: Tensor, right: Tensor, a: Tensor, b: Tensor) -> Packed:
    """Lay both collections out; shapes as in ``pair_scores``, weights float32, some > 0 in each set."""
    (n, R, D), (m, W, _) = left.shape, right.shape
    spare = -n % _LANES
    groups = (n + spare) // _LANES
    left = pad(left, (0, 0, 0, 0, 0, spare)).view(groups, _LANES, R, D).transpose(1, 2)
    a = pad(a, (0, 0, 0, spare), value=1.0 / R).view(groups, _LANES, R).transpose(1, 2)
    present = b > 0
    places = present.flatten().nonzero().squeeze(1)
    offsets = np.zeros(m + 1, np.int64)
    np.cumsum(present.sum(1).numpy(), out=offsets[1:])
    return Packed(
        left=left.reshape(groups, R * _LANES, D),
        right=right.reshape(m * W, D).index_select(0, places),
        a=a.reshape(groups, R * _LANES),
        b=b.flatten().index_select(0, places),
        places=places,
        offsets=offsets,
        bins=present[:, -1].to(torch.uint8).numpy(),
        shape=(n, m, R, W),
    )


class PackedScores(torch.autograd.Function):
    """Scores (N, M), float32; a tile's similarities are kept for the way back while the budget lasts."""

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
        """See ``pair_scores``; float32 weights, and a budget of None where no way back will follow."""
        from robustcmr.transport import lane_kernels

        packed = pack(left, right, a, b)
        scores = a.new_empty(packed.shape[1], len(packed.left) * _LANES)
        kept: list[Tensor | None] = []
        for group, first, end in packed.tiles(cells):
            Z = _similarities(packed, problem, group, first, end)
            _share_out(lane_kernels.forward, first, end, *_given(packed, problem, Z, group, first, scores))
            if budget is not None:
                keep = Z.numel() * Z.element_size() <= budget
                budget -= Z.numel() * Z.element_size() if keep else 0
                kept.append(Z if keep else None)
        ctx.save_for_backward(left, right, a, b, *kept)
        ctx.problem, ctx.cells = problem, cells
        return scores.T[: len(left)].contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by both fragments and both weights."""
        left, right, a, b, *kept = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            gradients = _gradients(pack(left, right, a, b), ctx.problem, ctx.cells, kept, gradient)
        return *gradients, None, None, None


def _gradients(
    packed: Packed, problem: Problem, cells: int, kept: list[Tensor | None], gradient: Tensor
) -> tuple[Tensor, ...]:
    """By left (N, R, D), right (M, W, D), a (N, R) and b (M, W); given (N, M)."""
    from robustcmr.transport import lane_kernels

    n, m, R, W = packed.shape
    groups, D = len(packed.left), packed.right.shape[1]
    scores_bar = pad(gradient.float(), (0, 0, 0, groups * _LANES - n)).T.contiguous()  # (M, 16 G)
    left_bar = torch.zeros_like(packed.left, dtype=torch.float32)
    right_bar = torch.zeros_like(packed.right, dtype=torch.float32)
    a_bar, b_bar = torch.zeros_like(packed.a), packed.b.new_zeros(len(packed.b), _LANES)
    for (group, first, end), similarities in zip(packed.tiles(cells), kept, strict=True):
        Z = _similarities(packed, problem, group, first, end) if similarities is None else similarities
        Z_bar = torch.empty_like(Z)
        given = _given(packed, problem, Z, group, first, scores_bar)
        parts = _share_out(lane_kernels.backward, first, end, *given, _flat(Z_bar), _flat(b_bar))
        for part in parts:
            a_bar[group] += torch.from_numpy(part)
        if problem.corner is not None:
            _set_corners(packed, Z_bar, first, end, 0.0)
        S_bar, words = Z_bar.to(packed.left.dtype), packed.words(first, end)
        add_product(left_bar[group], S_bar.T, packed.right[words], problem)
        add_product(right_bar[words], S_bar, packed.left[group], problem)
    every_right = right_bar.new_zeros(m * W, D).index_copy_(0, packed.places, right_bar)
    every_b = b_bar.new_zeros(m * W).index_copy_(0, packed.places, b_bar.sum(1))
    return (
        _out_of_lanes(left_bar.view(groups, R, _LANES, D), n).to(packed.left.dtype),
        every_right.view(m, W, D).to(packed.right.dtype),
        _out_of_lanes(a_bar.view(groups, R, _LANES, 1), n).squeeze(-1),
        every_b.view(m, W),
    )


def _out_of_lanes(values: Tensor, n: int) -> Tensor:
    """(G, R, 16, D) -> (N, R, D), without the spare lanes."""
    return values.transpose(1, 2).flatten(0, 1)[:n].contiguous()


def _similarities(packed: Packed, problem: Problem, group: int, first: int, end: int) -> Tensor:
    """Similarity over smoothing of a tile, (words, R * 16), float32."""
    right = packed.right[packed.words(first, end)]
    Z = right.new_empty(len(right), packed.width)
    torch.addmm(Z, right, packed.left[group].T, beta=0, alpha=1.0 / problem.smoothing, out=Z)
    Z = Z.float()
    if problem.corner is not None:
        _set_corners(packed, Z, first, end, problem.corner / problem.smoothing)
    return Z


def _set_corners(packed: Packed, Z: Tensor, first: int, end: int, value: float) -> None:
    """Write the cells of the last left fragment with the last word, of right sets that end in a bin."""
    last = packed.offsets[first + 1 : end + 1] - 1 - packed.offsets[first]
    Z[torch.from_numpy(last[packed.bins[first:end] > 0]), -_LANES:] = value


def _given(
    packed: Packed, problem: Problem, Z: Tensor, group: int, first: int, by_pair: Tensor
) -> tuple[Any, ...]:
    """What both kernels take after the range of right sets; ``by_pair`` is (M, 16 G)."""
    weights = _flat(packed.a[group]), _flat(packed.b), packed.bins, problem.corner is not None
    constants = problem.iterations, np.float32(problem.smoothing), problem.shifted
    place = _flat(by_pair), group * _LANES, by_pair.shape[1]
    return _flat(Z), packed.offsets, int(packed.offsets[first]), *weights, *constants, *place


def _flat(values: Tensor) -> npt.NDArray[Any]:
    """The memory of a contiguous tensor as a flat array."""
    return values.detach().view(-1).numpy()


def _share_out(kernel: Callable[..., Any], first: int, end: int, *given: Any) -> list[Any]:
    """Run the kernel on the right sets from ``first`` to ``end``, some on each of torch's threads."""
    threads = min(torch.get_num_threads(), end - first)
    if threads == 1:
        return [kernel(first, end, *given)]
    cuts = [first + (end - first) * k // threads for k in range(threads + 1)]
    others = [_pool(threads).submit(kernel, *cuts[k : k + 2], *given) for k in range(1, threads)]
    return [kernel(*cuts[:2], *given), *(other.result() for other in others)]


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads beside the caller's own; the kernels run without the interpreter's lock."""
    return ThreadPoolExecutor(threads - 1, "transport")
