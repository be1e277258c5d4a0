"""Recall at 1, 5 and 10, median and mean rank, both ways, from a score matrix."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from torch import Tensor

from robustcmr.evaluation.ranking import ranks_both_ways
from robustcmr.types import IntArray


@dataclass(frozen=True)
class RetrievalMetrics:
    """How well images find their captions (``i2t``) and captions their image (``t2i``).

    Recalls are percentages, 0..100. Ranks count from 1, so 1 is best; the median is rounded down, as is
    usual in the field.

    Attributes:
        i2t_r1: images whose best own caption is ranked first.
        i2t_r5: among the first five.
        i2t_r10: among the first ten.
        i2t_median_rank: median over images of the rank of the best own caption.
        i2t_mean_rank: mean over images of that rank.
        t2i_r1: captions whose image is ranked first.
        t2i_r5: among the first five.
        t2i_r10: among the first ten.
        t2i_median_rank: median over captions of the rank of the right image.
        t2i_mean_rank: mean over captions of that rank.
        n_images: images that were queries.
        n_captions: captions that were queries.
    """

    i2t_r1: float
    i2t_r5: float
    i2t_r10: float
    i2t_median_rank: float
    i2t_mean_rank: float
    t2i_r1: float
    t2i_r5: float
    t2i_r10: float
    t2i_median_rank: float
    t2i_mean_rank: float
    n_images: int
    n_captions: int

    @property
    def rsum(self) -> float:
        """Sum of the six recalls, 0..600."""
        return self.i2t_r1 + self.i2t_r5 + self.i2t_r10 + self.t2i_r1 + self.t2i_r5 + self.t2i_r10

    def to_dict(self) -> dict[str, float]:
        """Return all attributes and ``rsum``, flat, for JSON and CSV."""
        return {**dataclasses.asdict(self), "rsum": self.rsum}


@dataclass(frozen=True)
class RetrievalRanks:
    """The rank of the right answer to every query, from 0.

    Attributes:
        i2t: (n_images,) int64, of the best own caption of each image.
        t2i: (n_captions,) int64, of the right image of each caption.
    """

    i2t: Tensor
    t2i: Tensor

    def metrics(self) -> RetrievalMetrics:
        """Summarise the ranks."""
        return RetrievalMetrics(
            *_summary(self.i2t), *_summary(self.t2i), n_images=len(self.i2t), n_captions=len(self.t2i)
        )


def retrieval_ranks(scores: Tensor, image_of_caption: IntArray | Tensor) -> RetrievalRanks:
    """Rank the right answers in both directions; see :func:`robustcmr.evaluation.ranking.ranks_both_ways`."""
    return RetrievalRanks(*ranks_both_ways(scores, image_of_caption))


def retrieval_metrics(scores: Tensor, image_of_caption: IntArray | Tensor) -> RetrievalMetrics:
    """Measure retrieval in both directions; see :func:`robustcmr.evaluation.ranking.ranks_both_ways`.

    Example:
        >>> import torch
        >>> retrieval_metrics(torch.eye(20), torch.arange(20)).rsum
        600.0
    """
    return retrieval_ranks(scores, image_of_caption).metrics()


def _summary(ranks: Tensor) -> tuple[float, float, float, float, float]:
    """Return R@1, R@5, R@10 in percent, then the median and mean of the ranks counted from 1."""
    n = ranks.shape[0]
    r1, r5, r10 = (100.0 * int((ranks < k).sum()) / n for k in (1, 5, 10))
    ordered = ranks.sort().values
    # The median of an even number of ranks is the mean of the middle two, rounded down.
    median = (int(ordered[(n - 1) // 2]) + int(ordered[n // 2])) // 2 + 1
    return r1, r5, r10, float(median), int(ranks.sum()) / n + 1.0


def mean_metrics(parts: Sequence[RetrievalMetrics]) -> RetrievalMetrics:
    """Average every metric over one or more folds of equal weight, and add up the numbers of queries."""
    if not parts:
        raise ValueError("there are no metrics to average; give at least one fold")
    values: dict[str, Any] = {}
    for field in dataclasses.fields(RetrievalMetrics):
        average = sum if field.name.startswith("n_") else fmean
        values[field.name] = average([getattr(part, field.name) for part in parts])
    return RetrievalMetrics(**values)
