"""From matchers and batches to a score matrix, in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

import torch
from torch import Tensor

from robustcmr.errors import PluginError
from robustcmr.evaluation.blocks import caption_blocks, fragment_lengths, image_blocks, longest_first, trimmed
from robustcmr.matchers.base import Matcher, evaluation_mode
from robustcmr.types import Fragments, ImageBatch, TextBatch

BLOCK_BYTES = 256 * 2**20

Progress = Callable[[int, int], None]
"""Called after every block with the number of image-caption pairs scored, and of all."""


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
        keep_on: where to keep the fragments; None for ``device``. The CPU saves accelerator memory, but
            blocks must be copied back for scoring.

    Returns:
        Fragments of the images (n_images, R, D) and the captions (n_captions, W, D), padded to the longest.
    """
    return (
        encode_images(matcher, image_batches, device, keep_on),
        encode_texts(matcher, text_batches, device, keep_on),
    )


def encode_images(
    matcher: Matcher, batches: Iterable[ImageBatch], device: torch.device, keep_on: torch.device | None = None
) -> Fragments:
    """Encode images in evaluation mode and without gradients; see :func:`encode_split`."""
    with evaluation_mode(matcher), torch.inference_mode():
        parts = [matcher.encode_images(batch.to(device)).to(keep_on or device) for batch in batches]
    # Joined outside inference mode, so that the result may be used by code that records gradients.
    return _joined(parts, "images")


def encode_texts(
    matcher: Matcher, batches: Iterable[TextBatch], device: torch.device, keep_on: torch.device | None = None
) -> Fragments:
    """Encode captions in evaluation mode and without gradients; see :func:`encode_split`."""
    with evaluation_mode(matcher), torch.inference_mode():
        parts = [matcher.encode_texts(batch.to(device)).to(keep_on or device) for batch in batches]
    return _joined(parts, "captions")


def _joined(parts: list[Fragments], what: str) -> Fragments:
    """Join batches along N, freeing each once copied, so that little more than one copy is in memory."""
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

    Images and captions are sorted by length, so that each block is padded only to its own longest; the result
    is in the order given. A block of ``a`` images and ``b`` captions is assumed to need ``a * b * R * W * 4``
    bytes times ``WORKING_COPIES`` of :mod:`robustcmr.evaluation.blocks`; with a matcher that needs more, pass
    fewer ``block_bytes``.

    Args:
        matcher: any matcher; blocks are moved to the device of its weights.
        images: (n_images, R, D) encoded images, on any device.
        texts: (n_captions, W, D) encoded captions, on any device.
        block_bytes: memory of a block, in bytes.
        progress: called after every block.

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
    """Return the device of the weights; ``fallback`` if there are none."""
    for tensor in chain(matcher.parameters(), matcher.buffers()):
        return tensor.device
    return fallback
