"""Measure a split as the field does: the whole split at once (5K), or the mean of consecutive folds (1K)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from robustcmr.errors import UserError
from robustcmr.evaluation.ranking import owner_index
from robustcmr.evaluation.recall import RetrievalRanks, mean_metrics, retrieval_ranks
from robustcmr.evaluation.scoring import BLOCK_BYTES, Progress, encode_split, score_matrix
from robustcmr.matchers.base import Matcher
from robustcmr.types import ImageBatch, IntArray, TextBatch


@dataclass(frozen=True)
class Member:
    """One model of an evaluation with its batches; each model of an ensemble may read captions its own way.

    Attributes:
        matcher: any matcher, on the device of the evaluation.
        image_batches: starts a pass over the images in order.
        text_batches: starts a pass over the captions in order.
    """

    matcher: Matcher
    image_batches: Callable[[], Iterable[ImageBatch]]
    text_batches: Callable[[], Iterable[TextBatch]]


@dataclass(frozen=True)
class Measured:
    """Retrieval on a split by one model, or by an ensemble declared as such, as plain values.

    Attributes:
        protocol: name of the protocol, such as ``1K``, ``full`` or ``5-fold 1K``.
        metrics: of the mean of the models' scores; averaged over folds if there are some.
        by_model: of each model alone, in the order given.
        by_fold: of each fold; one entry without folds.
        queries: outcome of each query by the mean of the models' scores: ranks from 1 as ``i2t_rank``
            (n_images,) and ``t2i_rank`` (n_captions,) with each caption's image as ``t2i_image``; or average
            precisions in percent as ``i2t_ap`` and ``t2i_ap`` (n_pairs,), NaN for queries left out.
    """

    protocol: str
    metrics: dict[str, Any]
    by_model: list[dict[str, Any]]
    by_fold: list[dict[str, Any]]
    queries: dict[str, npt.NDArray[Any]]


def fold_slices(n_images: int, folds: int) -> list[slice]:
    """Cut images into folds of equally many consecutive ones; UserError if that cannot be."""
    if folds < 1:
        raise UserError(f"got {folds} folds, expected at least 1; the usual protocol has 5")
    if n_images % folds:
        raise UserError(
            f"{n_images} images cannot be cut into {folds} folds of the same size; "
            "choose a number of folds that divides the images, or evaluate without folds"
        )
    size = n_images // folds
    return [slice(start, start + size) for start in range(0, n_images, size)]


def protocol_name(n_images: int, folds: int | None = None) -> str:
    """Return the field's name: such as ``5-fold 1K`` with folds; without, ``1K``, ``5K`` or ``full``."""
    if folds is not None:
        return f"{folds}-fold {_size_name(n_images // folds)}"
    return _size_name(n_images) if n_images in (1000, 5000) else "full"


def _size_name(n_images: int) -> str:
    return f"{n_images // 1000}K" if n_images and n_images % 1000 == 0 else str(n_images)


def evaluate_split(
    members: Sequence[Member],
    image_of_caption: IntArray | Tensor,
    device: torch.device,
    folds: int | None = None,
    block_bytes: int = BLOCK_BYTES,
    progress: Progress | None = None,
) -> Measured:
    """Encode, score and measure a split with one matcher or the mean of several.

    With folds, each is ranked on its own, nothing is scored across folds, and metrics are averaged.

    Args:
        members: at least one, all on ``device``; their scores are averaged.
        image_of_caption: (n_captions,) int64, the image each caption was written for; every image has one.
        device: where to encode and score.
        folds: number of folds of consecutive images; None ranks the whole split at once.
        block_bytes: memory of a block of scores, in bytes.
        progress: called after every block, with counts over all matchers and folds.

    Raises:
        UserError: the folds do not divide the images, or a score is NaN.
        ValueError: there is no matcher, an image has no caption, or the batches hold another number of images
            or captions than ``image_of_caption``.
        PluginError: a matcher returns scores of the wrong shape.
    """
    if not members:
        raise ValueError("there is no matcher to evaluate; give at least one")
    n_images = int(image_of_caption.max()) + 1 if len(image_of_caption) else 0
    owner = owner_index(image_of_caption, n_images).cpu()
    slices = fold_slices(n_images, 1 if folds is None else folds)
    # the captions of each fold's images, in order
    columns = [((owner >= rows.start) & (owner < rows.stop)).nonzero().flatten() for rows in slices]
    owners = [owner[ids] - rows.start for rows, ids in zip(slices, columns, strict=True)]
    total = len(members) * sum((n_images // len(slices)) * len(ids) for ids in columns)

    sums: list[Tensor] = []
    by_model, done = [], 0
    for member in members:
        images, texts = encode_split(member.matcher, member.image_batches(), member.text_batches(), device)
        if len(images) != n_images or len(texts) != len(owner):
            raise ValueError(
                f"the batches hold {len(images)} images and {len(texts)} captions, "
                f"but image_of_caption speaks of {n_images} and {len(owner)}"
            )
        alone = []
        for fold, (rows, ids) in enumerate(zip(slices, columns, strict=True)):
            report = None if progress is None else _shifted(progress, done, total)
            some_texts = texts if len(slices) == 1 else texts[ids.to(texts.mask.device)]
            block = score_matrix(member.matcher, images[rows], some_texts, block_bytes, report)
            done += block.numel()
            alone.append(retrieval_ranks(block, owners[fold]))
            if fold < len(sums):
                sums[fold] += block
            else:
                sums.append(block)
        by_model.append(mean_metrics([ranks.metrics() for ranks in alone]))
        del images, texts, some_texts  # free them before the next model encodes
    if len(members) > 1:
        alone = [retrieval_ranks(s.div_(len(members)), own) for s, own in zip(sums, owners, strict=True)]
    by_fold = [ranks.metrics() for ranks in alone]
    return Measured(
        protocol_name(n_images, folds),
        mean_metrics(by_fold).to_dict(),
        [metrics.to_dict() for metrics in by_model],
        [metrics.to_dict() for metrics in by_fold],
        _queries(alone, columns, owner),
    )


def _queries(by_fold: Sequence[RetrievalRanks], columns: Sequence[Tensor], owner: Tensor) -> dict[str, Any]:
    """Join the folds' ranks, with captions in the order of the split."""
    by_caption = torch.cat([ranks.t2i.cpu() for ranks in by_fold])
    by_caption = torch.empty_like(by_caption).scatter_(0, torch.cat(list(columns)), by_caption)
    by_image = torch.cat([ranks.i2t.cpu() for ranks in by_fold])
    return {"i2t_rank": by_image.numpy() + 1, "t2i_rank": by_caption.numpy() + 1, "t2i_image": owner.numpy()}


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    """Return a callback for one part of the work that reports on the whole."""
    return lambda done, _: progress(before + done, total)
