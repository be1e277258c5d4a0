"""Drawn splits: shares, caps, and independence of order."""

import numpy as np
import pytest

from robustcmr.data.source_splits import drawn_splits
from robustcmr.errors import DataError


def keys(n):
    return [f"image {i}" for i in range(n)]


def test_every_image_is_in_one_split_of_its_share():
    found = drawn_splits(keys(1000), {"dev": 0.1, "test": 0.05}, 5000, 0)
    assert {name: len(images) for name, images in found.items()} == {"train": 850, "dev": 100, "test": 50}
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(1000))
    assert all((np.diff(images) > 0).all() for images in found.values())


def test_an_image_stays_where_it_is_when_the_order_changes_and_nearly_always_when_some_are_added():
    names = keys(2000)
    first = drawn_splits(names, {"dev": 0.1, "test": 0.1}, 5000, 0)
    dev = {names[i] for i in first["dev"]}
    backwards = drawn_splits(names[::-1], {"dev": 0.1, "test": 0.1}, 5000, 0)
    assert {names[::-1][i] for i in backwards["dev"]} == dev
    more = [*names, *(f"new {i}" for i in range(100))]
    larger = drawn_splits(more, {"dev": 0.1, "test": 0.1}, 5000, 0)
    kept = dev & {more[i] for i in larger["dev"]}
    assert len(kept) >= 0.95 * len(dev)
    assert {names[i] for i in drawn_splits(names, {"dev": 0.1}, 5000, 1)["dev"]} != dev


def test_caps_and_absent_splits():
    assert list(drawn_splits(keys(10), {"dev": 0.2, "test": 0.0}, 5, 0)) == ["train", "dev"]
    assert len(drawn_splits(keys(1000), {"dev": 0.5}, 7, 0)["dev"]) == 7
    few = drawn_splits(keys(3), {"dev": 0.01, "test": 0.01}, 5, 0)
    assert [len(images) for images in few.values()] == [1, 1, 1]


def test_too_few_images():
    with pytest.raises(DataError, match="there are 2 images for the splits train, dev and test"):
        drawn_splits(keys(2), {"dev": 0.1, "test": 0.1}, 5, 0)
    with pytest.raises(DataError, match="no image of 3 is left to train on"):
        drawn_splits(keys(3), {"dev": 0.9}, 5, 0)
