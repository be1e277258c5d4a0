"""How a score matrix is cut into blocks that fit in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from robustcmr.types import Fragments

WORKING_COPIES = 4
"""How many float32 tensors (a, b, R, W) a matcher is taken to hold at once while it scores a block."""


def fragment_lengths(mask: Tensor) -> Tensor:
    """Length that holds all real fragments of each item, whatever gaps lie between them.

    Args:
        mask: (N, L) bool, True where a fragment is real.

    Returns:
        (N,) int64, one more than the place of the last real fragment, and at least 1.
    """
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (mask * places).amax(dim=1).clamp(min=1)


def trimmed(items: Fragments, length: int) -> Fragments:
    """The first ``length`` places of every item, as views; nothing real may lie beyond."""
    return Fragments(items.features[:, :length], items.mask[:, :length], items.pooled)


def longest_first(lengths: Tensor) -> Tensor:
    """(N,) int64 order from the longest item to the shortest; equally long ones keep their order."""
    return lengths.argsort(descending=True, stable=True)


def pairs_in_block(regions: int, words: int, block_bytes: int) -> int:
    """How many image-caption pairs a block may hold; at least 1.

    Args:
        regions: longest image of the block.
        words: longest caption of the block.
        block_bytes: memory the block may use, in bytes.
    """
    return max(1, block_bytes // (regions * words * 4 * WORKING_COPIES))


def caption_blocks(lengths: list[int], regions: int, block_bytes: int) -> Iterator[slice]:
    """Cut captions, longest first, so that a block of them and about as many images fits.

    Args:
        lengths: length of every caption, not increasing.
        regions: longest image.
        block_bytes: memory a block may use, in bytes.
    """
    start = 0
    while start < len(lengths):
        size = math.isqrt(pairs_in_block(regions, lengths[start], block_bytes))
        yield slice(start, min(start + size, len(lengths)))
        start += size


def image_blocks(lengths: list[int], words: int, n_captions: int, block_bytes: int) -> Iterator[slice]:
    """Cut images, longest first, so that each block fits beside ``n_captions`` captions.

    Args:
        lengths: length of every image, not increasing.
        words: longest of the captions.
        n_captions: how many captions each block of images is scored with.
        block_bytes: memory a block may use, in bytes.
    """
    start = 0
    while start < len(lengths):
        size = max(1, pairs_in_block(lengths[start], words, block_bytes) // n_captions)
        yield slice(start, min(start + size, len(lengths)))
        start += size
