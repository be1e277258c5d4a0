"""Recall at 1, 5 and 10, median and mean rank, both ways, from a score matrix."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from torch import Tensor

from robustcmr.evaluation.ranking import ranks_both_ways
from robustcmr.types import IntArray


@dataclass(frozen=True)
class RetrievalMetrics:
    """How well images find their captions (``i2t``) and captions their image (``t2i``).

    Recalls are percentages, 0..100; ranks count from 1, so 1 is best. The median rank is rounded down, as the
    field reports it.

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
        """All attributes and ``rsum``, flat, for JSON and CSV."""
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
        """What the ranks amount to."""
        return RetrievalMetrics(
            *_summary(self.i2t), *_summary(self.t2i), n_images=len(self.i2t), n_captions=len(self.t2i)
        )


def retrieval_ranks(scores: Tensor, image_of_caption: IntArray | Tensor) -> RetrievalRanks:
    """Rank the right answers in both directions.

    Args:
        scores: (n_images, n_captions) float, larger is closer.
        image_of_caption: (n_captions,) int64, the image each caption was written for; none is without.

    Returns:
        The ranks; ties count against the scorer (see :mod:`robustcmr.evaluation.ranking`).

    Raises:
        ValueError: the shapes do not fit, or an image has no caption.
        UserError: a score is NaN.
    """
    return RetrievalRanks(*ranks_both_ways(scores, image_of_caption))


def retrieval_metrics(scores: Tensor, image_of_caption: IntArray | Tensor) -> RetrievalMetrics:
    """Measure retrieval in both directions; see :func:`retrieval_ranks`."""
    return retrieval_ranks(scores, image_of_caption).metrics()


def _summary(ranks: Tensor) -> tuple[float, float, float, float, float]:
    """R@1, R@5, R@10 in percent, then the median and mean of the ranks counted from 1."""
    n = ranks.shape[0]
    r1, r5, r10 = (100.0 * int((ranks < k).sum()) / n for k in (1, 5, 10))
    ordered = ranks.sort().values
    # Of an even number of ranks the median is the mean of the two in the middle, rounded down.
    median = (int(ordered[(n - 1) // 2]) + int(ordered[n // 2])) // 2 + 1
    return r1, r5, r10, float(median), int(ranks.sum()) / n + 1.0


def mean_metrics(parts: Sequence[RetrievalMetrics]) -> RetrievalMetrics:
    """The mean of every metric over folds, each fold weighing the same; the numbers of queries are added up.

    Args:
        parts: the metrics of at least one fold.

    Raises:
        ValueError: there are no folds.
    """
    if not parts:
        raise ValueError("there are no metrics to average; give at least one fold")
    return RetrievalMetrics(
        i2t_r1=fmean(part.i2t_r1 for part in parts),
        i2t_r5=fmean(part.i2t_r5 for part in parts),
        i2t_r10=fmean(part.i2t_r10 for part in parts),
        i2t_median_rank=fmean(part.i2t_median_rank for part in parts),
        i2t_mean_rank=fmean(part.i2t_mean_rank for part in parts),
        t2i_r1=fmean(part.t2i_r1 for part in parts),
        t2i_r5=fmean(part.t2i_r5 for part in parts),
        t2i_r10=fmean(part.t2i_r10 for part in parts),
        t2i_median_rank=fmean(part.t2i_median_rank for part in parts),
        t2i_mean_rank=fmean(part.t2i_mean_rank for part in parts),
        n_images=sum(part.n_images for part in parts),
        n_captions=sum(part.n_captions for part in parts),
    )
