from __future__ import annotations

import pytest
import torch

from robustcmr.evaluation.blocks import (
    WORKING_COPIES,
    caption_blocks,
    fragment_lengths,
    image_blocks,
    longest_first,
    pairs_in_block,
    trimmed,
)
from robustcmr.types import Fragments


def test_lengths_reach_the_last_real_fragment() -> None:
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert fragment_lengths(mask).tolist() == [2, 4, 3, 1]


def test_longest_first_is_stable() -> None:
    assert longest_first(torch.tensor([2, 5, 2, 5, 1])).tolist() == [1, 3, 0, 2, 4]


def test_trimmed_cuts_places_not_items() -> None:
    items = Fragments(torch.rand(3, 5, 2), torch.ones(3, 5, dtype=torch.bool), torch.rand(3, 2))
    short = trimmed(items, 2)
    assert short.features.shape == (3, 2, 2)
    assert short.mask.shape == (3, 2)
    assert short.pooled is items.pooled


@pytest.mark.parametrize("budget", [1, 5000, 200_000])
def test_blocks_cover_everything_once_within_the_budget(budget: int) -> None:
    text_lengths = sorted((1 + i * 7 % 30 for i in range(57)), reverse=True)
    image_lengths = sorted((1 + i * 5 % 11 for i in range(23)), reverse=True)
    seen = torch.zeros(23, 57, dtype=torch.int64)
    for columns in caption_blocks(text_lengths, image_lengths[0], budget):
        words, n = text_lengths[columns.start], columns.stop - columns.start
        for rows in image_blocks(image_lengths, words, n, budget):
            seen[rows, columns] += 1
            pairs = (rows.stop - rows.start) * n
            used = pairs * image_lengths[rows.start] * words * 4 * WORKING_COPIES
            assert used <= budget or pairs == 1
    assert (seen == 1).all()


def test_more_memory_means_more_pairs() -> None:
    assert pairs_in_block(36, 20, 36 * 20 * 4 * WORKING_COPIES * 10) == 10
    assert pairs_in_block(36, 20, 1) == 1
