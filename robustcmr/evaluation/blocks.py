"""Cut a score matrix into blocks that fit in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from robustcmr.types import Fragments

WORKING_COPIES = 4
"""float32 tensors (a, b, R, W) that a matcher is assumed to hold at once while it scores a block."""


def fragment_lengths(mask: Tensor) -> Tensor:
    """Return (N,) int64 >= 1, one more than the last real place of each item of an (N, L) bool mask."""
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (mask * places).amax(dim=1).clamp(min=1)


def trimmed(items: Fragments, length: int) -> Fragments:
    """Return views of the first ``length`` places of every item; nothing real may lie beyond."""
    return Fragments(items.features[:, :length], items.mask[:, :length], items.pooled)


def longest_first(lengths: Tensor) -> Tensor:
    """Return the (N,) int64 order from the longest item to the shortest; ties keep their order."""
    return lengths.argsort(descending=True, stable=True)


def pairs_in_block(regions: int, words: int, block_bytes: int) -> int:
    """Return how many pairs of ``regions`` x ``words`` fragments a block may hold; at least 1."""
    return max(1, block_bytes // (regions * words * 4 * WORKING_COPIES))


def caption_blocks(lengths: list[int], regions: int, block_bytes: int) -> Iterator[slice]:
    """Cut captions, of lengths that do not increase, into blocks that fit with about as many images."""
    start = 0
    while start < len(lengths):
        size = math.isqrt(pairs_in_block(regions, lengths[start], block_bytes))
        yield slice(start, min(start + size, len(lengths)))
        start += size


def image_blocks(lengths: list[int], words: int, n_captions: int, block_bytes: int) -> Iterator[slice]:
    """Cut images, of lengths that do not increase, into blocks that fit with ``n_captions`` captions."""
    start = 0
    while start < len(lengths):
        size = max(1, pairs_in_block(lengths[start], words, block_bytes) // n_captions)
        yield slice(start, min(start + size, len(lengths)))
        start += size
