"""Transport scores of all pairs by compiled loops on the CPU.

A block of left sets meets a run of right sets whose similarities fit a cache: one matrix product, one call of
the loops in ``numba_kernels``, and backwards two products more. Words of weight 0 are left out of all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustcmr.transport.tiles import Pairs, ScoreProblem, add_product

_LEFT_SETS = 64  # of a block: several SIMD registers, and the kernel of one right set still fits the L2 cache
CELLS_OF_THREAD = 1 << 19  # similarities of a tile for each thread: 2 MiB of float32
_FEWEST_CELLS = 1 << 17  # that are worth a thread: to wake one costs as much as a small batch
_log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def available() -> bool:
    """Return whether numba is installed; log once if it is not."""
    if find_spec("numba") is not None:
        return True
    _log.warning("numba is not installed, so transport scores take several times as long on the CPU")
    return False


class Words(NamedTuple):
    """The V fragments of M right sets that have weight."""

    fragments: Tensor  # (V, D)
    weights: Tensor  # (V,) > 0
    places: Tensor  # (V,) int64, index of each among all M * W fragments
    ends: npt.NDArray[np.int64]  # (M + 1,) index of each right set's first word, and V
    has_bin: npt.NDArray[np.bool_]  # (M,) whether the last fragment of a right set has weight

    @staticmethod
    def of(right: Tensor, b: Tensor) -> Words:
        """Gather the words of right sets (M, W, D) with weights (M, W), some > 0 in each set."""
        present = b > 0
        places = present.flatten().nonzero().squeeze(1)
        return Words(
            right.flatten(0, 1).index_select(0, places),
            b.flatten().index_select(0, places),
            places,
            np.concatenate([[0], present.sum(1).cumsum(0).numpy()]),
            present[:, -1].numpy(),
        )

    def where(self, sets: slice) -> slice:
        """Return the words of some right sets."""
        return slice(int(self.ends[sets.start]), int(self.ends[sets.stop]))

    def part(self, sets: slice) -> Words:
        """Return some right sets alone."""
        some = self.where(sets)
        ends = self.ends[sets.start : sets.stop + 1] - some.start
        return Words(self.fragments[some], self.weights[some], self.places[some], ends, self.has_bin[sets])

    def bins(self) -> Tensor:
        """Return the words that are the last fragments of right sets."""
        return torch.from_numpy(self.ends[1:][self.has_bin] - 1)

    def runs(self, most: int) -> Iterator[slice]:
        """Yield runs of right sets that have at most so many words, or one right set."""
        first, last = 0, len(self.ends) - 1
        while first < last:
            end = int(np.searchsorted(self.ends, self.ends[first] + most, side="right")) - 1
            yield slice(first, max(first + 1, end))
            first = max(first + 1, end)


class _Block(NamedTuple):
    """L left sets, laid out with the sets as the last axis: fragments (R * L, D), weights (R, L)."""

    sets: slice
    fragments: Tensor
    weights: Tensor


def _blocks(left: Tensor, a: Tensor) -> Iterator[_Block]:
    for i in range(0, len(left), _LEFT_SETS):
        sets = slice(i, min(i + _LEFT_SETS, len(left)))
        yield _Block(sets, left[sets].transpose(0, 1).flatten(0, 1), a[sets].T.contiguous())


def forward(pairs: Pairs, budget: int | None) -> tuple[Tensor, list[Tensor | None]]:
    """Return scores (N, M), float32, and what ``backward`` needs, if the budget is not None."""
    from robustcmr.transport.numba_kernels import forward

    left, right, a, b, problem, cells = pairs
    words, run = Words.of(right, b), _Runner(problem)
    scores = a.new_empty(len(left), len(right))
    saved: list[Tensor | None] = []
    for block in _blocks(left, a):
        for sets in words.runs(_most(cells, a)):
            part = words.part(sets)
            Z = _similarities(problem, block, part)
            found = Z.new_empty(len(part.has_bin), Z.shape[2])
            run(forward, block, part, Z, found)
            scores[block.sets, sets] = found.T
            if budget is not None:
                kept = Z.nbytes <= budget
                budget -= Z.nbytes if kept else 0
                saved.append(Z if kept else None)
    return scores, saved


def backward(pairs: Pairs, gradient: Tensor, saved: list[Any]) -> tuple[Tensor, ...]:
    """Return the gradients by left (N, R, D), right (M, W, D), a (N, R) and b (M, W)."""
    from robustcmr.transport.numba_kernels import backward

    kept, gradient = iter(saved), gradient.float()
    left, right, a, b, problem, cells = pairs
    words, run = Words.of(right, b), _Runner(problem)
    left_bar, a_bar = torch.empty_like(left), torch.empty_like(a)
    words_bar = torch.zeros_like(words.fragments, dtype=torch.float32)
    b_bar = torch.zeros_like(words.weights)
    for block in _blocks(left, a):
        fragments_bar = torch.zeros_like(block.fragments, dtype=torch.float32)
        weights_bar = torch.zeros_like(block.weights)
        for sets in words.runs(_most(cells, a)):
            part, some = words.part(sets), words.where(sets)
            Z = next(kept)
            if Z is None:
                Z = _similarities(problem, block, part)
            given, part_b = gradient[block.sets, sets].T.contiguous(), Z.new_zeros(len(Z), Z.shape[2])
            Z_bar, found = run(backward, block, part, Z, given, part_b)
            if problem.corner is not None:
                Z_bar[part.bins(), -1] = 0.0
            for one in found:
                weights_bar += torch.from_numpy(one)
            b_bar[some] += part_b.sum(1)
            S_bar = Z_bar.flatten(1).to(left.dtype)  # (V, R * L)
            add_product(fragments_bar, S_bar.T, part.fragments, problem)
            add_product(words_bar[some], S_bar, block.fragments, problem)
        left_bar[block.sets] = fragments_bar.view(*block.weights.shape, -1).transpose(0, 1).to(left.dtype)
        a_bar[block.sets] = weights_bar.T
    right_bar = torch.zeros_like(right).flatten(0, 1).index_copy_(0, words.places, words_bar.to(right.dtype))
    every_b = torch.zeros_like(b).flatten().index_copy_(0, words.places, b_bar)
    return left_bar, right_bar.view_as(right), a_bar, every_b.view_as(b)


def _most(cells: int, a: Tensor) -> int:
    """Return the most words of a tile."""
    return cells // max(1, a[:_LEFT_SETS].numel())


def _similarities(problem: ScoreProblem, block: _Block, words: Words) -> Tensor:
    """Return the similarity over smoothing of a tile, (V, R, L), float32."""
    Z = words.fragments.new_empty(len(words.fragments), len(block.fragments))
    torch.addmm(Z, words.fragments, block.fragments.T, beta=0, alpha=1.0 / problem.smoothing, out=Z)
    Z = Z.float().view(-1, *block.weights.shape)
    if problem.corner is not None:
        Z[words.bins(), -1] = problem.corner / problem.smoothing
    return Z


class _Runner:
    """Runs the loops on one tile after another, all kernels in the same memory."""

    def __init__(self, problem: ScoreProblem) -> None:
        self.problem = problem
        self._memory = torch.empty(0)

    def __call__(
        self, loops: Callable[..., Any], block: _Block, words: Words, Z: Tensor, *others: Tensor
    ) -> tuple[Tensor, list[Any]]:
        """Return the kernel (V, R, L) as the loops leave it, and what they return on each thread."""
        if len(self._memory) < Z.numel():
            self._memory = Z.new_empty(Z.numel())
        K = self._memory[: Z.numel()].view_as(Z)
        start = Z.new_zeros(len(Z), Z.shape[2])
        right_sets, a = len(words.has_bin), block.weights.numpy()
        if self.problem.shifted:
            from robustcmr.transport.numba_kernels import shift

            _share_out(shift, right_sets, Z.numpy(), words.ends, a, K.numpy(), start.numpy())
            K.exp_()
        else:
            torch.exp(Z, out=K)
        kernel = Z.numpy(), K.numpy(), start.exp_().numpy(), words.ends, words.has_bin
        problem = self.problem
        score = problem.bins is not None, problem.bins == "mean"
        options = problem.iterations, np.float32(problem.smoothing), *score
        given = *kernel, a, words.weights.numpy(), *options, *(x.numpy() for x in others)
        return K, _share_out(loops, right_sets, *given)


def _share_out(loops: Callable[..., Any], right_sets: int, *given: Any) -> list[Any]:
    """Run loops on all right sets, some on each of torch's threads; ``given`` begins with Z."""
    threads = min(torch.get_num_threads(), right_sets, max(1, given[0].size // _FEWEST_CELLS))
    cuts = [right_sets * k // threads for k in range(threads + 1)]
    others = [_pool(threads).submit(loops, *cuts[k : k + 2], *given) for k in range(1, threads)]
    return [loops(*cuts[:2], *given), *(other.result() for other in others)]


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return threads beside the caller's own; the loops release the interpreter's lock."""
    return ThreadPoolExecutor(threads - 1, "transport")
