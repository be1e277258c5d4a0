from __future__ import annotations

import numpy as np
import pytest
import torch

from robustcmr.evaluation.truth import FittingCells, HiddenTruth
from robustcmr.types import Correspondence, Rematch


def test_what_is_mismatched():
    truth = HiddenTruth(np.array([0, 0, 1, 1]))
    given = Correspondence(np.array([0, 1, 1, 0]), 2)
    assert truth.is_mismatched(given).tolist() == [False, True, False, True]


class World:
    """Captions that fit at random, and a note of what was asked."""

    def __init__(self, n_captions, n_images, seed=0):
        rng = np.random.default_rng(seed)
        self.table = rng.random((n_captions, n_images)) < 0.2
        self.given = Correspondence(rng.integers(0, n_images, n_captions), n_images)
        self.asked = []
        self.rng = rng

    def fits(self, caption_row, images):
        assert type(caption_row) is int
        self.asked.append((caption_row, len(images)))
        return self.table[caption_row, images]

    def rematch(self, n, m):
        def choice(k):
            return torch.from_numpy(self.rng.integers(0, len(self.given), k))

        nothing = torch.zeros(n, m)
        return Rematch(choice(n), choice(m), nothing, nothing, nothing.bool())

    def slow(self, rematch):
        return [
            [
                bool(self.table[caption, self.given.image_of_caption[pair]])
                for caption in rematch.caption_pairs
            ]
            for pair in rematch.image_pairs
        ]


@pytest.mark.parametrize("n_images", [1, 7, 8, 9, 16, 83])
@pytest.mark.parametrize("remembered", [0, 1000])
def test_cells_are_those_of_a_slow_loop(n_images, remembered):
    world = World(60, n_images, seed=n_images)
    cells = FittingCells(world.given, world.fits, remembered)
    for n, m in ((5, 12), (12, 5), (1, 1), (0, 4), (4, 0)):
        batch = world.rematch(n, m)
        found = cells(batch)
        assert found.dtype == torch.bool
        assert found.shape == (n, m)
        assert found.tolist() == world.slow(batch)


def test_each_caption_is_asked_about_once_where_images_are_few():
    world = World(10, 40)
    cells = FittingCells(world.given, world.fits)
    for _ in range(8):
        batch = world.rematch(6, 6)
        assert cells(batch).tolist() == world.slow(batch)
    rows = [row for row, _ in world.asked]
    assert len(rows) == len(set(rows)) > 5
    assert {n for _, n in world.asked} == {40}


def test_many_images_are_asked_about_as_needed():
    world = World(10, 40)
    cells = FittingCells(world.given, world.fits, remembered_images=39)
    cells(world.rematch(6, 5))
    cells(world.rematch(6, 5))
    assert [n for _, n in world.asked] == [6] * 10
