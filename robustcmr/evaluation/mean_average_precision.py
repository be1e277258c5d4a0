"""Mean average precision of retrieval by class, both ways: is what is ranked first of the query's class?

A text is relevant to an image, and an image to a text, if both have the same class. Ties count against the
scorer: of items with equal scores those of other classes stand ahead, so a scorer that says the same of
everything earns no more than if it ranked all wrong items first. Scores are compared as float32.

Each block of rows is sorted once, by a whole number made of the score and, as its last bit, the relevance;
the places of relevant items are all that is then needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustcmr.errors import UserError
from robustcmr.types import IntArray

BLOCK_BYTES = 128 * 2**20
SCOPES = (50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
"""Lengths of the ranking at which the precision-scope curve is drawn, unless others are asked for."""

_BYTES_PER_CELL = 96  # a block's scores, keys and, where nearly all is relevant, places and precisions

ScoreBlocks = Callable[[slice], Tensor]
"""Scores of some queries with the whole gallery: (b, n_gallery) float, a row a query, larger is closer."""


@dataclass(frozen=True)
class LabelRetrievalMetrics:
    """How well images find texts of their class (``i2t``) and texts find images of theirs (``t2i``).

    All means are over queries and in percent, 0..100. A query whose class the gallery lacks has no average
    precision; it is left out and counted.

    Attributes:
        map_i2t: mean average precision over the whole ranked gallery.
        map_t2i: the same for texts.
        at: lengths R of the ranking for which the next two are given.
        map_i2t_at: an entry each: mean of the average precision over the first R items, that is the sum of
            the precisions at their relevant items divided by how many of the first R are relevant, and 0
            where none is. This is what the field calls mAP@R; it does not punish relevant items further down.
            With R beyond the gallery it is the whole ranking's.
        map_t2i_at: the same for texts.
        scopes: lengths of the ranking for which the next two are given, none longer than a gallery.
        precision_i2t: an entry each: mean share of relevant items among the first so many.
        precision_t2i: the same for texts.
        n_images: images that were queries.
        n_texts: texts that were queries.
        excluded_images: images left out, for no text has their class.
        excluded_texts: texts left out, for no image has their class.
        ap_i2t: (n_queries,) float64, average precision of each image over the whole ranked gallery; NaN where
            it is left out. Not part of what makes two metrics equal.
        ap_t2i: the same for texts.

    References:
        Zhen, Hu, Wang and Peng, CVPR 2019, whose released evaluation defines mAP and mAP@R this way and
        which later work on noisy labels follows (Hu, Peng, Zhu, Zhen and Lin, CVPR 2021).
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
        """All but single queries, for JSON: ``map``, ``map_i2t``, ``map_i2t_at_50`` … and the curves."""
        values: dict[str, float | list[float] | list[int]] = {
            "map": self.map,
            "map_i2t": self.map_i2t,
            "map_t2i": self.map_t2i,
        }
        for length, i2t, t2i in zip(self.at, self.map_i2t_at, self.map_t2i_at, strict=True):
            values[f"map_at_{length}"] = (i2t + t2i) / 2
            values[f"map_i2t_at_{length}"] = i2t
            values[f"map_t2i_at_{length}"] = t2i
        values["scopes"] = list(self.scopes)
        values["precision_i2t"] = list(self.precision_i2t)
        values["precision_t2i"] = list(self.precision_t2i)
        for name in ("n_images", "n_texts", "excluded_images", "excluded_texts"):
            values[name] = getattr(self, name)
        return values


def label_retrieval_metrics(
    scores: Tensor,
    image_labels: IntArray | Tensor,
    text_labels: IntArray | Tensor,
    at: Sequence[int] = (50,),
    scopes: Sequence[int] = SCOPES,
    block_bytes: int = BLOCK_BYTES,
) -> LabelRetrievalMetrics:
    """Measure retrieval by class in both directions from a score matrix.

    Args:
        scores: (n_images, n_texts) float on any device, larger is closer; infinities are allowed.
        image_labels: (n_images,) int64 >= 0, the class of each image.
        text_labels: (n_texts,) int64 >= 0, the class of each text.
        at: lengths of the ranking for mAP@R, each 1 or more.
        scopes: lengths of the ranking for the precision-scope curve, each 1 or more; those beyond the smaller
            gallery are left out.
        block_bytes: memory to use beside the scores, in bytes; one query's ranking is the least.

    Returns:
        The metrics.

    Raises:
        ValueError: the shapes do not fit, or a label, length or scope is not allowed.
        UserError: a score is NaN, or no query has its class in the gallery.
    """
    _check_matrix(scores, len(image_labels), len(text_labels))
    return label_retrieval_metrics_of_blocks(
        lambda rows: scores[rows],
        lambda columns: scores[:, columns].T,
        image_labels,
        text_labels,
        at,
        scopes,
        block_bytes,
    )


def label_retrieval_metrics_of_vectors(
    images: Tensor,
    texts: Tensor,
    image_labels: IntArray | Tensor,
    text_labels: IntArray | Tensor,
    at: Sequence[int] = (50,),
    scopes: Sequence[int] = SCOPES,
    block_bytes: int = BLOCK_BYTES,
) -> LabelRetrievalMetrics:
    """Measure retrieval by class in both directions by inner products, never holding all scores at once.

    Args:
        images: (n_images, D) float, of unit length for the cosine, on the device to work on.
        texts: (n_texts, D) float, the same.
        image_labels: (n_images,) int64 >= 0, the class of each image.
        text_labels: (n_texts,) int64 >= 0, the class of each text.
        at: lengths of the ranking for mAP@R, each 1 or more.
        scopes: lengths of the ranking for the precision-scope curve, each 1 or more; those beyond the smaller
            gallery are left out.
        block_bytes: memory to use beside the vectors, in bytes; one query's ranking is the least.

    Returns:
        The metrics, equal to those of the whole score matrix up to how its products are rounded.

    Raises:
        ValueError: the shapes do not fit, or a label, length or scope is not allowed.
        UserError: a score is NaN, or no query has its class in the gallery.
    """
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1]:
        raise ValueError(
            f"images and texts must be matrices of equally wide vectors, got {tuple(images.shape)} and "
            f"{tuple(texts.shape)}"
        )
    return label_retrieval_metrics_of_blocks(
        partial(_products, images, texts),
        partial(_products, texts, images),
        image_labels,
        text_labels,
        at,
        scopes,
        block_bytes,
    )


def label_retrieval_metrics_of_blocks(
    image_scores: ScoreBlocks,
    text_scores: ScoreBlocks,
    image_labels: IntArray | Tensor,
    text_labels: IntArray | Tensor,
    at: Sequence[int] = (50,),
    scopes: Sequence[int] = SCOPES,
    block_bytes: int = BLOCK_BYTES,
) -> LabelRetrievalMetrics:
    """Measure retrieval by class in both directions from functions that give blocks of scores.

    Args:
        image_scores: of some images, their scores with all texts, (b, n_texts).
        text_scores: of some texts, their scores with all images, (b, n_images).
        image_labels: (n_images,) int64 >= 0, the class of each image.
        text_labels: (n_texts,) int64 >= 0, the class of each text.
        at: lengths of the ranking for mAP@R, each 1 or more.
        scopes: lengths of the ranking for the precision-scope curve, each 1 or more; those beyond the smaller
            gallery are left out.
        block_bytes: memory to use beside what the functions hold, in bytes; one query's ranking is the least.

    Returns:
        The metrics.

    Raises:
        ValueError: the shapes do not fit, or a label, length or scope is not allowed.
        UserError: a score is NaN, or no query has its class in the gallery.
    """
    image_classes, text_classes = _checked("image_labels", image_labels), _checked("text_labels", text_labels)
    for name, lengths in (("at", at), ("scopes", scopes)):
        if any(length < 1 for length in lengths):
            raise ValueError(f"{name} must be lengths of a ranking, 1 or more, got {list(lengths)}")
    within = tuple(scope for scope in scopes if scope <= min(len(image_classes), len(text_classes)))
    i2t, t2i = (
        _one_way(*ways, tuple(at), within, block_bytes)
        for ways in (
            (image_scores, image_classes, text_classes, "images", "texts"),
            (text_scores, text_classes, image_classes, "texts", "images"),
        )
    )
    return LabelRetrievalMetrics(
        map_i2t=i2t.average_precision,
        map_t2i=t2i.average_precision,
        at=tuple(at),
        map_i2t_at=i2t.average_precision_at,
        map_t2i_at=t2i.average_precision_at,
        scopes=within,
        precision_i2t=i2t.precision,
        precision_t2i=t2i.precision,
        n_images=i2t.n_queries,
        n_texts=t2i.n_queries,
        excluded_images=i2t.n_excluded,
        excluded_texts=t2i.n_excluded,
        ap_i2t=i2t.by_query,
        ap_t2i=t2i.by_query,
    )


@dataclass(frozen=True)
class _OneWay:
    """Means over queries in one direction, in percent, and each query's average precision."""

    average_precision: float
    average_precision_at: tuple[float, ...]
    precision: tuple[float, ...]
    n_queries: int
    n_excluded: int
    by_query: npt.NDArray[np.float64]


def _one_way(
    scores: ScoreBlocks,
    queries: IntArray,
    gallery: IntArray,
    query_name: str,
    gallery_name: str,
    at: tuple[int, ...],
    scopes: tuple[int, ...],
    block_bytes: int,
) -> _OneWay:
    known = np.isin(queries, gallery)  # (n_queries,)
    if not known.any():
        raise UserError(
            f"no class of the {len(queries)} {query_name} occurs among the {len(gallery)} {gallery_name}, so "
            "there is nothing to find; check that both sides use the same class numbers"
        )
    totals = np.zeros(1 + len(at) + len(scopes))
    by_query = np.empty(len(queries))
    size = max(1, block_bytes // (_BYTES_PER_CELL * len(gallery)))
    for start in range(0, len(queries), size):
        rows = slice(start, min(start + size, len(queries)))
        block = scores(rows)  # (b, n_gallery)
        _check_matrix(block, rows.stop - rows.start, len(gallery))
        by_query[rows], some = _block_totals(block, queries[rows], gallery, at, scopes)
        totals += some
    means = (100.0 * totals / int(known.sum())).tolist()
    return _OneWay(
        average_precision=means[0],
        average_precision_at=tuple(means[1 : 1 + len(at)]),
        precision=tuple(means[1 + len(at) :]),
        n_queries=int(known.sum()),
        n_excluded=int((~known).sum()),
        by_query=np.where(known, 100.0 * by_query, np.nan),
    )


def _block_totals(
    scores: Tensor, queries: IntArray, gallery: IntArray, at: tuple[int, ...], scopes: tuple[int, ...]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A block's APs, and sums over its queries of AP, of AP@R for ``at``, of precision for ``scopes``.

    A query without relevant items adds nothing.
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
    """Rank each row's items and say which places are taken by relevant ones.

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
    # Adding 0 makes -0 a 0. Bits of floats are ordered as whole numbers are, but negative ones in reverse.
    bits = (scores.detach().to(torch.float32) + 0.0).contiguous().view(torch.int32)
    keys = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)
    keys = keys.mul_(-2).add_(relevant)  # ascending: from the best score on, irrelevant before relevant
    if keys.device.type == "cpu":
        keys.numpy().sort(axis=1)  # in place, and many times faster than torch, which also sorts an index
    else:
        keys = keys.sort(dim=1).values
    return keys.bitwise_and_(1).bool()


def _products(queries: Tensor, gallery: Tensor, rows: slice) -> Tensor:
    return queries[rows] @ gallery.T  # (b, n_gallery)


def _check_matrix(scores: Tensor, n_rows: int, n_columns: int) -> None:
    if tuple(scores.shape) != (n_rows, n_columns) or not scores.is_floating_point():
        raise ValueError(
            f"scores must be a float matrix of a row for each of {n_rows} labels and a column for each of "
            f"{n_columns}, got {scores.dtype} of shape {tuple(scores.shape)}"
        )


def _checked(name: str, labels: IntArray | Tensor) -> IntArray:
    values = labels.cpu().numpy() if isinstance(labels, Tensor) else labels
    if values.ndim != 1 or values.dtype != np.int64:
        raise ValueError(f"{name} must be a vector of int64, got {values.dtype} of shape {values.shape}")
    if len(values) == 0:
        raise ValueError(f"{name} is empty, so there is nothing to rank")
    if values.min() < 0:
        raise ValueError(f"{name} must be class numbers from 0, got {values.min()}; leave unknown ones out")
    return np.ascontiguousarray(values)
