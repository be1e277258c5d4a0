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
    rows, first = grouped(
        connected, lambda a, b: np.array([(x, y) in near for x, y in zip(a, b, strict=True)])
    )
    assert rows.tolist() == [4, 9]
    assert first.tolist() == [3, 3]


def test_nothing_is_connected() -> None:
    assert [part.tolist() for part in grouped(Connected(), lambda a, b: a == b)] == [[], []]


def test_examples() -> None:
    assert doctest.testmod(duplicate_groups).failed == 0
