"""Mean average precision of retrieval by class, both ways.

An item is relevant to a query of the same class. With r_j = 1 if the item at place j of the ranking is
relevant, else 0, and P_j = (r_1 + ... + r_j) / j:

    AP@R = sum_{j <= R} r_j P_j / sum_{j <= R} r_j    (0 if none is relevant),    AP = AP@n_gallery

Ties count against the scorer: of equal scores, items of other classes come first. Scores are compared as
float32. Each block of rows is sorted once, by an integer made of the score and, as its last bit, the
relevance; only the places of relevant items are needed after that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustcmr.errors import UserError
from robustcmr.types import IntArray

BLOCK_BYTES = 128 * 2**20
SCOPES = (50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
"""Default lengths of the ranking for the precision-scope curve."""

_BYTES_PER_CELL = 96  # scores, keys and, if nearly all items are relevant, places and precisions

ScoreBlocks = Callable[[slice], Tensor]
"""Return the scores of some queries with the whole gallery: (b, n_gallery) float, larger is closer."""


@dataclass(frozen=True)
class LabelRetrievalMetrics:
    """How well images find texts of their class (``i2t``) and texts find images of theirs (``t2i``).

    Means are over queries and in percent, 0..100. A query whose class is not in the gallery has no average
    precision; it is left out and counted.

    Attributes:
        map_i2t: mean average precision over the whole ranked gallery.
        map_t2i: the same for texts.
        at: lengths R for the next two fields.
        map_i2t_at: mean AP@R of each R, which the field calls mAP@R; relevant items beyond R do not lower it.
        map_t2i_at: the same for texts.
        scopes: lengths for the next two fields, none longer than a gallery.
        precision_i2t: mean share of relevant items within each scope.
        precision_t2i: the same for texts.
        n_images: images that were queries.
        n_texts: texts that were queries.
        excluded_images: images left out, as no text has their class.
        excluded_texts: texts left out, as no image has their class.
        ap_i2t: (n_queries,) float64, AP of each image; NaN if left out. Not compared by ``==``.
        ap_t2i: the same for texts.

    References:
        Zhen, Hu, Wang and Peng, CVPR 2019: their released evaluation defines mAP and mAP@R this way, as does
        later work on noisy labels (Hu, Peng, Zhu, Zhen and Lin, CVPR 2021).
    """

    map_i2t: float
    map_t2i: float
    at: tuple[int, ...]
    map_i2t_at: tuple[float, ...]
    map_t2i_at: tuple[float, ...]
    scopes: tuple[int, ...]
    precision_i2t: tuple[float, ...]
    precision_t2i: tuple[float, ...]
    n_images: int
    n_texts: int
    excluded_images: int
    excluded_texts: int
    ap_i2t: npt.NDArray[np.float64] = field(compare=False, repr=False)
    ap_t2i: npt.NDArray[np.float64] = field(compare=False, repr=False)

    @property
    def map(self) -> float:
        """Mean of both directions' mean average precision, 0..100."""
        return (self.map_i2t + self.map_t2i) / 2

    def to_dict(self) -> dict[str, float | list[float] | list[int]]:
        """Return all but single queries, for JSON: ``map``, ``map_i2t``, ``map_i2t_at_50``, the curves."""
        values: dict[str, float | list[float] | list[int]]
        values = {"map": self.map, "map_i2t": self.map_i2t, "map_t2i": self.map_t2i}
        for length, i2t, t2i in zip(self.at, self.map_i2t_at, self.map_t2i_at, strict=True):
            values[f"map_at_{length}"] = (i2t + t2i) / 2
            values[f"map_i2t_at_{length}"] = i2t
            values[f"map_t2i_at_{length}"] = t2i
        for name in ("scopes", "precision_i2t", "precision_t2i"):
            values[name] = list(getattr(self, name))
        for name in ("n_images", "n_texts", "excluded_images", "excluded_texts"):
            values[name] = getattr(self, name)
        return values


def label_retrieval_metrics(
    image_scores: ScoreBlocks,
    text_scores: ScoreBlocks,
    image_labels: IntArray | Tensor,
    text_labels: IntArray | Tensor,
    at: Sequence[int] = (50,),
    scopes: Sequence[int] = SCOPES,
    block_bytes: int = BLOCK_BYTES,
) -> LabelRetrievalMetrics:
    """Measure retrieval by class in both directions, without all scores in memory at once.

    Args:
        image_scores: returns the scores of some images with all texts, (b, n_texts).
        text_scores: returns the scores of some texts with all images, (b, n_images).
        image_labels: (n_images,) int64 >= 0, the class of each image.
        text_labels: (n_texts,) int64 >= 0, the class of each text.
        at: lengths R of the ranking for mAP@R, each 1 or more.
        scopes: lengths of the ranking for the precision-scope curve, each 1 or more; those beyond the smaller
            gallery are left out.
        block_bytes: memory to use besides that of the functions, in bytes; at least one query's ranking.

    Raises:
        ValueError: the shapes do not fit, or a label, length or scope is not allowed.
        UserError: a score is NaN, or no query has its class in the gallery.

    Example:
        >>> import numpy as np, torch
        >>> scores, labels = torch.eye(4), np.array([0, 1, 2, 3])
        >>> label_retrieval_metrics(lambda r: scores[r], lambda r: scores.T[r], labels, labels).map
        100.0
    """
    images, texts = _checked("image_labels", image_labels), _checked("text_labels", text_labels)
    for name, lengths in (("at", at), ("scopes", scopes)):
        if any(length < 1 for length in lengths):
            raise ValueError(f"{name} must be lengths of a ranking, 1 or more, got {list(lengths)}")
    within = tuple(scope for scope in scopes if scope <= min(len(images), len(texts)))
    for queries, gallery, kinds in (
        (images, texts, ("images", "texts")),
        (texts, images, ("texts", "images")),
    ):
        if not np.isin(queries, gallery).any():
            raise UserError(
                f"no class of the {len(queries)} {kinds[0]} occurs among the {len(gallery)} {kinds[1]}, so "
                "there is nothing to find; check that both sides use the same class numbers"
            )
    i2t, ap_i2t = _one_way(image_scores, images, texts, at, within, block_bytes)
    t2i, ap_t2i = _one_way(text_scores, texts, images, at, within, block_bytes)
    end = 1 + len(at)
    excluded_images, excluded_texts = int(np.isnan(ap_i2t).sum()), int(np.isnan(ap_t2i).sum())
    return LabelRetrievalMetrics(
        map_i2t=i2t[0],
        map_t2i=t2i[0],
        at=tuple(at),
        map_i2t_at=tuple(i2t[1:end]),
        map_t2i_at=tuple(t2i[1:end]),
        scopes=within,
        precision_i2t=tuple(i2t[end:]),
        precision_t2i=tuple(t2i[end:]),
        n_images=len(images) - excluded_images,
        n_texts=len(texts) - excluded_texts,
        excluded_images=excluded_images,
        excluded_texts=excluded_texts,
        ap_i2t=ap_i2t,
        ap_t2i=ap_t2i,
    )


def _one_way(
    scores: ScoreBlocks,
    queries: IntArray,
    gallery: IntArray,
    at: Sequence[int],
    scopes: Sequence[int],
    block_bytes: int,
) -> tuple[list[float], npt.NDArray[np.float64]]:
    """Return means in percent (AP, AP@R for ``at``, precision for ``scopes``), and each query's AP."""
    known = np.isin(queries, gallery)  # (n_queries,)
    totals = np.zeros(1 + len(at) + len(scopes))
    by_query = np.empty(len(queries))
    size = max(1, block_bytes // (_BYTES_PER_CELL * len(gallery)))
    for start in range(0, len(queries), size):
        rows = slice(start, min(start + size, len(queries)))
        block = scores(rows)  # (b, n_gallery)
        if tuple(block.shape) != (rows.stop - start, len(gallery)) or not block.is_floating_point():
            raise ValueError(
                f"scores must be a float matrix of a row for each of {rows.stop - start} labels and a column "
                f"for each of {len(gallery)}, got {block.dtype} of shape {tuple(block.shape)}"
            )
        by_query[rows], some = _block_totals(block, queries[rows], gallery, at, scopes)
        totals += some
    means: list[float] = (100.0 * totals / int(known.sum())).tolist()
    return means, np.where(known, 100.0 * by_query, np.nan)


def _block_totals(
    scores: Tensor, queries: IntArray, gallery: IntArray, at: Sequence[int], scopes: Sequence[int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return a block's APs, and sums over its queries of AP, AP@R for ``at``, precision for ``scopes``.

    A query without relevant items adds 0.
    """
    n_queries, n_gallery = scores.shape
    device = scores.device
    same = torch.from_numpy(queries).to(device)[:, None] == torch.from_numpy(gallery).to(device)[None]
    cells = torch.nonzero(relevant_places(scores, same).flatten())[:, 0].cpu().numpy()
    # cells: (k,) ascending, so query by query and within a query from its first relevant item to its last
    query, place = cells // n_gallery, cells % n_gallery
    found = np.bincount(query, minlength=n_queries)  # (n_queries,) relevant items of each
    before = np.cumsum(found) - found
    precision = (np.arange(len(cells)) - before[query] + 1) / (place + 1)  # (k,) at each relevant item
    averages = []
    for length in (n_gallery, *at):
        inside = place < length
        summed = np.bincount(query[inside], weights=precision[inside], minlength=n_queries)
        hits = np.bincount(query[inside], minlength=n_queries)
        averages.append(summed / np.maximum(hits, 1))  # (b,)
    totals = [float(average.sum()) for average in averages]
    totals += [int((place < scope).sum()) / scope for scope in scopes]
    return averages[0], np.array(totals)


def relevant_places(scores: Tensor, relevant: Tensor) -> Tensor:
    """Rank each row's items, and return which places hold relevant ones.

    Args:
        scores: (b, n) float, larger is closer; compared as float32.
        relevant: (b, n) bool, whether an item is relevant to its row.

    Returns:
        (b, n) bool, in the order of the ranking, best first; among equal scores relevant items come last.

    Raises:
        UserError: a score is NaN.
    """
    if bool(torch.isnan(scores.amin())):  # the minimum is NaN if any cell is
        raise UserError(
            "the scores hold NaN where every image-text score must be a number; "
            "check the model's weights and features for NaN or overflow"
        )
    # Adding 0 makes -0 a 0. Bits of floats are ordered as integers are, but negative ones in reverse.
    bits = (scores.detach().to(torch.float32) + 0.0).contiguous().view(torch.int32)
    keys = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)
    keys = keys.mul_(-2).add_(relevant)  # ascending: from the best score on, irrelevant before relevant
    if keys.device.type == "cpu":
        keys.numpy().sort(axis=1)  # in place, many times faster than torch, which also sorts an index
    else:
        keys = keys.sort(dim=1).values
    return keys.bitwise_and_(1).bool()


def _checked(name: str, labels: IntArray | Tensor) -> IntArray:
    values = labels.cpu().numpy() if isinstance(labels, Tensor) else labels
    if values.ndim != 1 or values.dtype != np.int64:
        raise ValueError(f"{name} must be a vector of int64, got {values.dtype} of shape {values.shape}")
    if len(values) == 0:
        raise ValueError(f"{name} is empty, so there is nothing to rank")
    if values.min() < 0:
        raise ValueError(f"{name} must be class numbers from 0, got {values.min()}; leave unknown ones out")
    return np.ascontiguousarray(values)
