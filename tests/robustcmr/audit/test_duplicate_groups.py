from __future__ import annotations

import doctest

import numpy as np
import pytest

from robustcmr.audit import duplicate_groups
from robustcmr.audit.duplicate_groups import Connected, grouped


@pytest.mark.parametrize("seed", range(5))
def test_joined_in_parts_as_at_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, 60, (2, 40))
    label = list(range(60))  # a loop that relabels
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        label = [label[a] if x == label[b] else x for x in label]
    parts = Connected()
    for start in range(0, 40, 7):
        parts.join(left[start : start + 7], right[start : start + 7])
    assert parts.nodes.tolist() == sorted({*left.tolist(), *right.tolist()})
    a, b = rng.integers(0, 60, (2, 500))
    expected = [label[x] != label[y] or x not in parts.nodes for x, y in zip(a, b, strict=True)]
    assert parts.apart(a, b).tolist() == expected


def test_the_first_of_a_group_is_compared_with_all_of_it() -> None:
    connected = Connected()
    connected.join(np.array([9, 9, 3]), np.array([4, 3, 7]))
    near = {(4, 3), (9, 3), (9, 7), (7, 4)}
    rows, first, left = grouped(
        connected, lambda a, b: np.array([(x, y) in near for x, y in zip(a, b, strict=True)])
    )
    assert rows.tolist() == [4, 9]
    assert first.tolist() == [3, 3]
    assert left == 0


def test_nothing_is_connected() -> None:
    rows, first, left = grouped(Connected(), lambda a, b: a == b)
    assert (len(rows), len(first), left) == (0, 0, 0)


def test_tangles_take_a_bounded_number_of_comparisons() -> None:
    connected, seen = Connected(), []
    connected.join(np.arange(999), np.arange(1, 1000))  # a chain, whose ends are far apart

    def alike(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        seen.append(len(left))
        return abs(left - right) <= 1

    rows, first, left = grouped(connected, alike, most=5000)
    assert rows.tolist() == list(range(1, 2 * len(seen), 2))
    assert (rows - first == 1).all()
    assert left == 1000 - 2 * len(seen) > 900
    assert sum(seen) < 6000
    assert len(grouped(connected, alike)[0]) == 500  # by default


def test_examples() -> None:
    assert doctest.testmod(duplicate_groups).failed == 0
