"""Candidates for whole-set rematching: the best-scoring images of each caption, found in blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy.typing as npt
import torch
from torch import Tensor

from robustcmr.arrays import takes_arrays, tensor_of
from robustcmr.errors import TrainingDivergedError

BLOCK_BYTES = 256 * 2**20

Search = Literal["vectors", "all", "shortlist"]

_GROUPS = 8  # pieces of a row that are compared first
_MOST_ROWS = 512  # captions of a block; more do not speed up the product
_COARSE = 16  # additional candidates of a half-precision search, rescored in float32

_CELLS = 1 << 18  # numbers rescored at once on a CPU: 1 MiB stays in the cache
_CELLS_ON_DEVICE = 1 << 25


@dataclass(frozen=True)
class Candidates:
    """The best images of N captions.

    Attributes:
        images: (N, k) int64, best first; -1 where there are no more.
        scores: (N, k) float32, -inf there.
        scored: number of caption-image pairs scored by the matcher.
        search: ``vectors``: products of one vector a side, over all pairs; ``all``: the matcher's scores of
            all pairs; ``shortlist``: its scores of the pairs that pooled vectors rank first.
    """

    images: Tensor
    scores: Tensor
    scored: int
    search: Search

    def __post_init__(self) -> None:
        if self.images.ndim != 2 or self.images.shape != self.scores.shape:
            raise ValueError(
                f"candidates need images and scores (N, k), got {tuple(self.images.shape)} and "
                f"{tuple(self.scores.shape)}"
            )

    @classmethod
    def from_scores(
        cls, scores: npt.ArrayLike, k: int = 10, excluded: npt.ArrayLike | None = None
    ) -> Candidates:
        """Keep the k best images of each caption of a score matrix that is in memory as a whole.

        Args:
            scores: (M, N) float tensor or array, row = image, column = caption; detached.
            k: number of candidates, >= 1; fewer if there are fewer images.
            excluded: (N,) an image that is no candidate of the caption, such as the one it was given, -1 for
                none; None to exclude none.

        Returns:
            The candidates of N captions, on the CPU.

        Raises:
            ValueError: shapes or numbers do not fit.
            TrainingDivergedError: a score is NaN or infinite.

        Example:
            >>> import numpy as np
            >>> from robustcmr.correction import Candidates, rematch_whole_set
            >>> scores = np.array([[0.9, 0.1, 0.2], [0.3, 0.2, 0.8], [0.1, 0.7, 0.3]])
            >>> found = Candidates.from_scores(scores, k=2, excluded=[0, 1, 2])  # image i was given
            >>> rematch_whole_set(found, n_images=3, mass=0.5).place  # among each caption's candidates
            tensor([0, 0, 0])
            >>> found.images[:, 0].tolist()
            [1, 2, 1]
        """
        S = tensor_of(scores, "scores")
        if S.ndim != 2 or len(S) == 0:
            raise ValueError(f"scores must be (M, N) with at least one image a caption, got {tuple(S.shape)}")
        m, n = S.shape
        given = torch.full((n,), -1) if excluded is None else tensor_of(excluded, "excluded").long().cpu()
        _check_excluded(given, n, m)
        best = RunningBest(n, min(k, m), given)
        best.add(slice(0, n), 0, S.detach().T)
        return best.candidates()

    def cpu(self) -> Candidates:
        """A copy on the CPU."""
        return replace(self, images=self.images.cpu(), scores=self.scores.cpu())

    def edges(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return caption, image and score of all candidates, (E,) each, by caption, best first."""
        there = self.images >= 0
        return there.nonzero()[:, 0], self.images[there], self.scores[there]


@takes_arrays()
def nearest_candidates(
    queries: Tensor,
    images: Tensor,
    k: int,
    excluded: Tensor | None = None,
    *,
    half: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Candidates:
    """Keep the best images of each caption by the product of their vectors.

    Args:
        queries: (N, D) float, one vector a caption.
        images: (M, D) float, one vector an image, on the same device.
        k: number of candidates, >= 1; fewer if there are fewer images.
        excluded: (N,) int64, an image that is no candidate of the caption, -1 for none; None to exclude none.
        half: search in bfloat16 for slightly more than k, and rescore these in float32.
        block_bytes: memory for a block of scores, in bytes.

    Returns:
        The candidates, on the device of the vectors; ties in any order.

    Raises:
        ValueError: shapes or numbers do not fit.
        TrainingDivergedError: a score is NaN or infinite.

    Example:
        >>> import numpy as np
        >>> nearest_candidates(np.eye(2), np.eye(3, 2), k=1).images
        tensor([[0],
                [1]])
    """
    n, m = len(queries), len(images)
    _check_search(queries, images, k, excluded)
    kept = min(k + _COARSE if half else k, m)
    kind = torch.bfloat16 if half else torch.float32
    columns = images.detach().to(kind).T
    found_images = torch.full((n, min(k, m)), -1, device=images.device)
    found_scores = torch.full((n, min(k, m)), -torch.inf, device=images.device)
    rows_at_once = max(1, min(_MOST_ROWS, n, block_bytes // (5 * m)))
    block = torch.empty(rows_at_once, m, dtype=kind, device=images.device)  # allocated once
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        for start in range(0, n, rows_at_once):
            some = slice(start, min(start + rows_at_once, n))
            query = queries[some].detach()
            scores = torch.mm(query.to(kind), columns, out=block[: len(query)])  # (b, M)
            if excluded is not None:
                _leave_out(scores, excluded[some])
            best, place = _best(scores, kept)
            if half:
                there = best > -torch.inf
                again = _products(query, images.detach(), place)  # (b, kept)
                best, order = again.masked_fill(~there, -torch.inf).topk(min(k, m), dim=1)
                place = place.gather(1, order)
            _refuse_non_finite(best)
            found_scores[some] = best
            found_images[some] = place.masked_fill(best == -torch.inf, -1)
    return Candidates(found_images, found_scores, n * m, "vectors")


class RunningBest:
    """Collects the best images of N captions from blocks of scores in any order.

    Args:
        n: captions.
        k: number of candidates, >= 1.
        excluded: (n,) int64, an image that is no candidate of the caption, -1 for none.
    """

    def __init__(self, n: int, k: int, excluded: Tensor) -> None:
        if k < 1 or excluded.shape != (n,):
            raise ValueError(f"expected k >= 1 and {n} excluded images, got {k} and {tuple(excluded.shape)}")
        self._excluded = excluded
        self._images = torch.full((n, k), -1)
        self._scores = torch.full((n, k), -torch.inf)
        self._scored = 0

    def add(self, rows: slice, first_image: int, scores: Tensor) -> None:
        """Add the scores (b, p) of some captions with the p images from ``first_image`` on."""
        block = scores.float().cpu().clone()
        self._scored += block.numel()
        excluded = self._excluded[rows] - first_image
        inside = (excluded >= 0) & (excluded < block.shape[1])
        _leave_out(block, torch.where(inside, excluded, -1))
        k = self._scores.shape[1]
        best, place = _best(block, min(k, block.shape[1]))
        _refuse_non_finite(best)
        both = torch.cat([self._scores[rows], best], 1)
        images = torch.cat([self._images[rows], place + first_image], 1)
        self._scores[rows], order = both.topk(k, dim=1)
        self._images[rows] = images.gather(1, order).masked_fill(self._scores[rows] == -torch.inf, -1)

    def candidates(self) -> Candidates:
        """Return the best of all added scores."""
        return Candidates(self._images, self._scores, self._scored, "all")


def reranked(shortlist: Candidates, scores: Tensor, k: int) -> Candidates:
    """Sort a shortlist (N, s) by exact scores (N, s), ignored where there is no image; keep the k best."""
    if scores.shape != shortlist.images.shape or k < 1:
        raise ValueError(
            f"expected scores of shape {tuple(shortlist.images.shape)} and k >= 1, got "
            f"{tuple(scores.shape)} and {k}"
        )
    there = shortlist.images >= 0
    exact = scores.float().masked_fill(~there, -torch.inf)
    best, order = exact.topk(min(k, exact.shape[1]), dim=1)
    _refuse_non_finite(best)
    images = shortlist.images.gather(1, order).masked_fill(best == -torch.inf, -1)
    return Candidates(images, best, int(there.sum()), "shortlist")


def _check_search(queries: Tensor, images: Tensor, k: int, excluded: Tensor | None) -> None:
    if queries.ndim != 2 or images.ndim != 2 or queries.shape[1] != images.shape[1]:
        raise ValueError(
            f"expected vectors (N, D) and (M, D), got {tuple(queries.shape)} and {tuple(images.shape)}"
        )
    if len(images) == 0:
        raise ValueError("there is no image to choose from, expected at least one")
    if k < 1:
        raise ValueError(f"the number of candidates must be at least 1, got {k}")
    if excluded is not None:
        _check_excluded(excluded, len(queries), len(images))


def _check_excluded(excluded: Tensor, n: int, m: int) -> None:
    if excluded.shape != (n,):
        raise ValueError(f"expected one excluded image a caption, {n}, got {tuple(excluded.shape)}")
    if len(excluded) and not -1 <= int(excluded.amin()) <= int(excluded.amax()) < m:
        raise ValueError(f"excluded images must lie in -1..{m - 1}")


def _leave_out(scores: Tensor, excluded: Tensor) -> None:
    """Set one score of each row (b, M) to -inf, where ``excluded`` (b,) is not -1."""
    rows = (excluded >= 0).nonzero().squeeze(1)
    scores[rows, excluded[rows].to(scores.device)] = -torch.inf


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row (b, M) as float32, and their places.

    A long row is cut into pieces of equal width, stacked. The k best lie in the k columns with the largest
    maxima, so only these are sorted.
    """
    b, m = scores.shape
    width = m // _GROUPS
    if width < 8 * k:
        values, places = scores.topk(k, dim=1)
        return values.float(), places
    tail = scores[:, width * _GROUPS :]  # fewer than there are pieces
    top = scores[:, : width * _GROUPS].view(b, _GROUPS, width).amax(1)  # (b, width)
    columns = top.topk(k, dim=1).indices
    pieces = torch.arange(_GROUPS, device=scores.device).view(1, -1, 1) * width
    places = (columns.unsqueeze(1) + pieces).reshape(b, -1)  # (b, _GROUPS * k)
    ends = torch.arange(width * _GROUPS, m, device=scores.device).expand(b, -1)
    places = torch.cat([places, ends], 1)
    values, order = torch.cat([scores.gather(1, places[:, : _GROUPS * k]), tail], 1).topk(k, dim=1)
    return values.float(), places.gather(1, order)


def _products(queries: Tensor, images: Tensor, places: Tensor) -> Tensor:
    """Float32 products of each query (b, D) with its own images at places (b, k), in small parts."""
    cells = _CELLS if queries.device.type == "cpu" else _CELLS_ON_DEVICE
    size = max(1, cells // (places.shape[1] * images.shape[1]))
    parts = [
        torch.bmm(images[some].float(), query.float().unsqueeze(-1)).squeeze(-1)
        for query, some in zip(torch.split(queries, size), torch.split(places, size), strict=True)
    ]
    return torch.cat(parts)


def _refuse_non_finite(best: Tensor) -> None:
    """Refuse NaN and infinity; NaN sorts as the largest, so it is among the best."""
    if bool((best.isnan() | (best == torch.inf)).any()):
        raise TrainingDivergedError(
            "a score is NaN or infinite, so no image can be suggested; train in float32"
        )
