"""From matchers and batches to a score matrix, in blocks of bounded memory, and to the metrics of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from robustcmr.errors import PluginError
from robustcmr.evaluation.blocks import caption_blocks, fragment_lengths, image_blocks, longest_first, trimmed
from robustcmr.evaluation.protocols import captions_of, fold_slices, protocol_name
from robustcmr.evaluation.ranking import owner_index
from robustcmr.evaluation.recall import RetrievalMetrics, RetrievalRanks, mean_metrics, retrieval_ranks
from robustcmr.matchers.base import Matcher
from robustcmr.types import Fragments, ImageBatch, IntArray, TextBatch

BLOCK_BYTES = 256 * 2**20

Progress = Callable[[int, int], None]
"""Told after every block how many image-caption pairs are scored, and of how many."""


@contextmanager
def evaluation_mode(matcher: nn.Module) -> Iterator[None]:
    """Switch a matcher to evaluation mode for a while; every submodule gets back the mode it was in."""
    modes = [(module, module.training) for module in matcher.modules()]
    matcher.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def encode_split(
    matcher: Matcher,
    image_batches: Iterable[ImageBatch],
    text_batches: Iterable[TextBatch],
    device: torch.device,
    keep_on: torch.device | None = None,
) -> tuple[Fragments, Fragments]:
    """Encode all images and captions of a split, in evaluation mode and without gradients.

    Args:
        matcher: any matcher, on ``device``.
        image_batches: the images in order, in batches of any size.
        text_batches: the captions in order, in batches of any size.
        device: where to encode.
        keep_on: where the fragments are kept; None keeps them on ``device``. The CPU saves accelerator memory
            at the price of copying blocks back while scoring.

    Returns:
        Fragments of the images (n_images, R, D) and the captions (n_captions, W, D), padded to the longest.

    Raises:
        ValueError: there are no images or no captions.
    """
    return (
        encode_images(matcher, image_batches, device, keep_on),
        encode_texts(matcher, text_batches, device, keep_on),
    )


def encode_images(
    matcher: Matcher, batches: Iterable[ImageBatch], device: torch.device, keep_on: torch.device | None = None
) -> Fragments:
    """Encode images in evaluation mode and without gradients; see :func:`encode_split`."""
    kept = device if keep_on is None else keep_on
    with evaluation_mode(matcher), torch.inference_mode():
        parts = [matcher.encode_images(batch.to(device)).to(kept) for batch in batches]
    # Joined outside inference mode, so that the result may be used by code that records gradients.
    return _joined(parts, "images")


def encode_texts(
    matcher: Matcher, batches: Iterable[TextBatch], device: torch.device, keep_on: torch.device | None = None
) -> Fragments:
    """Encode captions in evaluation mode and without gradients; see :func:`encode_split`."""
    kept = device if keep_on is None else keep_on
    with evaluation_mode(matcher), torch.inference_mode():
        parts = [matcher.encode_texts(batch.to(device)).to(kept) for batch in batches]
    return _joined(parts, "captions")


def _joined(parts: list[Fragments], what: str) -> Fragments:
    """Join batches along N and let go of each once copied, so that little more than one copy is held."""
    if not parts:
        raise ValueError(f"there are no {what} to encode; give at least one batch")
    first = parts[0]
    total, longest = sum(len(part) for part in parts), max(part.mask.shape[1] for part in parts)
    features = first.features.new_zeros(total, longest, first.features.shape[2])  # (N, L, D)
    mask = first.mask.new_zeros(total, longest)  # (N, L)
    pooled = None if first.pooled is None else first.pooled.new_empty(total, first.pooled.shape[1])  # (N, D)
    end = total
    while parts:
        part = parts.pop()
        rows, length = slice(end - len(part), end), part.mask.shape[1]
        features[rows, :length] = part.features
        mask[rows, :length] = part.mask
        if (pooled is None) != (part.pooled is None):
            raise PluginError(
                f"some batches of {what} have a pooled vector and some have none; return it always or never"
            )
        if pooled is not None and part.pooled is not None:
            pooled[rows] = part.pooled
        end = rows.start
    return Fragments(features, mask, pooled)


def score_matrix(
    matcher: Matcher,
    images: Fragments,
    texts: Fragments,
    block_bytes: int = BLOCK_BYTES,
    progress: Progress | None = None,
) -> Tensor:
    """Score every image with every caption, block by block.

    Images and captions are taken from the longest to the shortest, so that each block is padded only to the
    longest of its own; the result is in the order given. A block of ``a`` images and ``b`` captions is taken
    to need ``a * b * R * W * 4`` bytes times ``WORKING_COPIES`` of :mod:`robustcmr.evaluation.blocks`; a
    matcher that needs more for a pair should split its own work, or be given fewer ``block_bytes``.

    Args:
        matcher: any matcher; blocks are moved to the device of its weights.
        images: (n_images, R, D) encoded images, on any device.
        texts: (n_captions, W, D) encoded captions, on any device.
        block_bytes: memory a block may use, in bytes.
        progress: told after every block.

    Returns:
        (n_images, n_captions) float32 on the CPU.

    Raises:
        PluginError: the matcher returns a block of the wrong shape.
    """
    device = _device_of(matcher, images.features.device)
    image_lengths, text_lengths = fragment_lengths(images.mask), fragment_lengths(texts.mask)
    image_order, text_order = longest_first(image_lengths), longest_first(text_lengths)
    image_sizes: list[int] = image_lengths[image_order].tolist()
    text_sizes: list[int] = text_lengths[text_order].tolist()
    scores, done = torch.empty(len(images), len(texts)), 0  # (n_images, n_captions)
    with evaluation_mode(matcher), torch.inference_mode():
        for columns in caption_blocks(text_sizes, image_sizes[0], block_bytes):
            words, captions = text_sizes[columns.start], text_order[columns]
            some_texts = trimmed(texts, words)[captions].to(device)
            strip = torch.empty(len(images), len(captions), device=device)  # (n_images, b)
            for rows in image_blocks(image_sizes, words, len(captions), block_bytes):
                chosen = image_order[rows]
                some_images = trimmed(images, image_sizes[rows.start])[chosen].to(device)
                block = matcher.score(some_images, some_texts)  # (a, b)
                if tuple(block.shape) != (len(chosen), len(captions)):
                    raise PluginError(
                        f"{type(matcher).__name__}.score returned {tuple(block.shape)} for {len(chosen)} "
                        f"images and {len(captions)} captions; return a row an image, a column a caption"
                    )
                strip[chosen.to(device)] = block.to(device, torch.float32)
                done += block.numel()
                if progress is not None:
                    progress(done, scores.numel())
            scores[:, captions.cpu()] = strip.cpu()
    return scores


def _device_of(matcher: Matcher, fallback: torch.device) -> torch.device:
    """Where the weights are; ``fallback`` for a matcher without any."""
    for tensor in chain(matcher.parameters(), matcher.buffers()):
        return tensor.device
    return fallback


def ensemble_scores(matrices: Sequence[Tensor]) -> Tensor:
    """The mean of several models' score matrices.

    Args:
        matrices: at least one, all (n_images, n_captions).

    Returns:
        (n_images, n_captions), a new tensor.

    Raises:
        ValueError: there are none, or their shapes differ.
    """
    shapes = {tuple(matrix.shape) for matrix in matrices}
    if len(shapes) != 1:
        raise ValueError(f"an ensemble needs score matrices of one shape, got {sorted(shapes) or 'none'}")
    total = matrices[0].clone()
    for matrix in matrices[1:]:
        total += matrix
    return total.div_(len(matrices))


@dataclass(frozen=True)
class Member:
    """One model of an evaluation and what it reads; each model of an ensemble may read captions its own way.

    Attributes:
        matcher: any matcher, on the device of the evaluation.
        image_batches: starts a pass over the images in order.
        text_batches: starts a pass over the captions in order.
    """

    matcher: Matcher
    image_batches: Callable[[], Iterable[ImageBatch]]
    text_batches: Callable[[], Iterable[TextBatch]]


@dataclass(frozen=True)
class RetrievalResult:
    """How well one model, or an ensemble declared as such, retrieves on a split.

    Attributes:
        metrics: of the mean of the models' scores; averaged over folds where there are some.
        protocol: such as ``1K``, ``5K``, ``full`` or ``5-fold 1K``.
        n_models: how many models' scores were averaged.
        folds: number of folds, or None where the whole split was ranked at once.
        by_fold: metrics of each fold; one entry where there are no folds.
        by_model: metrics of each model alone, in the order given.
        ranks: what ``metrics`` sum up, an entry a query of the whole split, each ranked within its fold; on
            the CPU.
    """

    metrics: RetrievalMetrics
    protocol: str
    n_models: int
    folds: int | None
    by_fold: tuple[RetrievalMetrics, ...]
    by_model: tuple[RetrievalMetrics, ...]
    ranks: RetrievalRanks


def evaluate_split(
    members: Sequence[Member],
    image_of_caption: IntArray | Tensor,
    device: torch.device,
    folds: int | None = None,
    block_bytes: int = BLOCK_BYTES,
    progress: Progress | None = None,
) -> RetrievalResult:
    """Encode, score and measure a split with one matcher or the mean of several.

    Args:
        members: at least one, all on ``device``; their scores are averaged.
        image_of_caption: (n_captions,) int64, the image each caption was written for; none is without.
        device: where to encode and score.
        folds: into how many folds of consecutive images to cut; None ranks the whole split at once.
        block_bytes: memory a block of scores may use, in bytes.
        progress: told after every block, over all matchers and folds.

    Returns:
        The metrics, with the protocol and the number of models beside them.

    Raises:
        UserError: the folds do not divide the images, or a score is NaN.
        ValueError: there is no matcher, an image has no caption, or the batches hold another number of images
            or captions than ``image_of_caption`` speaks of.
        PluginError: a matcher returns scores of the wrong shape.
    """
    if not members:
        raise ValueError("there is no matcher to evaluate; give at least one")
    n_images = int(image_of_caption.max()) + 1 if len(image_of_caption) else 0
    owner = owner_index(image_of_caption, n_images).cpu()
    slices = fold_slices(n_images, 1 if folds is None else folds)
    columns = [captions_of(owner, rows) for rows in slices]
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
    return RetrievalResult(
        mean_metrics(by_fold),
        protocol_name(n_images, folds),
        len(members),
        folds,
        tuple(by_fold),
        tuple(by_model),
        _whole(alone, columns),
    )


def _whole(by_fold: Sequence[RetrievalRanks], columns: Sequence[Tensor]) -> RetrievalRanks:
    """Folds of consecutive images put together again, captions in the order of the split."""
    by_caption = torch.cat([ranks.t2i.cpu() for ranks in by_fold])
    return RetrievalRanks(
        torch.cat([ranks.i2t.cpu() for ranks in by_fold]),
        torch.empty_like(by_caption).scatter_(0, torch.cat(list(columns)), by_caption),
    )


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    """A callback for one part of the work that reports on the whole."""

    def report(done: int, _: int) -> None:
        progress(before + done, total)

    return report
