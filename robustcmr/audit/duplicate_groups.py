"""Groups of duplicates: every member is compared with the first of its group itself.

Pairs that are alike are connected first. Within what is connected, the lowest row leads a group of all rows
alike to it; the lowest of the rest leads the next. A chain of small steps therefore never makes one group of
its two ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from robustcmr.types import IntArray

Alike = Callable[[IntArray, IntArray], npt.NDArray[np.bool_]]
"""Whether rows (k,) are alike to other rows (k,), one by one."""

COMPARISONS = 64
"""Comparisons of a connected row with the first ones of groups, on average, at most."""

_EMPTY = np.empty(0, np.int64)


@dataclass(frozen=True)
class Duplicates:
    """Which rows are duplicates of which.

    Attributes:
        rows: (m,) ascending; those that have a duplicate before them.
        first: (m,) the first row of the group, lower than the row itself, and in no group but its own.
        compared: pairs that were compared exactly.
        unfinished: rows that were not compared with all candidates because there were too many of them; some
            of their duplicates may be missing.
    """

    rows: IntArray
    first: IntArray
    compared: int = 0
    unfinished: int = 0

    def __len__(self) -> int:
        return len(self.rows)


@dataclass
class Connected:
    """Rows connected so far; memory grows with the rows that are connected, not with the connections.

    Attributes:
        nodes: (k,) ascending rows.
        labels: (k,) number of what each is connected to.
    """

    nodes: IntArray = field(default_factory=lambda: _EMPTY)
    labels: IntArray = field(default_factory=lambda: _EMPTY)

    def apart(self, left: IntArray, right: IntArray) -> npt.NDArray[np.bool_]:
        """Return which pairs of rows (k,) are not connected yet."""
        if not len(self.nodes):
            return np.ones(len(left), np.bool_)
        a, b = self._labels(left), self._labels(right)
        apart: npt.NDArray[np.bool_] = (a != b) | (a < 0)
        return apart

    def join(self, left: IntArray, right: IntArray) -> None:
        """Connect pairs of rows (k,)."""
        if not len(left):
            return
        nodes = np.unique(np.concatenate([self.nodes, left, right]))
        a, b = np.searchsorted(nodes, left), np.searchsorted(nodes, right)
        if len(self.nodes):  # each known row to the first of its label
            places = np.searchsorted(nodes, self.nodes)
            _, firsts, of = np.unique(self.labels, return_index=True, return_inverse=True)
            a, b = np.concatenate([a, places]), np.concatenate([b, places[firsts][of]])
        edges = coo_matrix((np.ones(len(a), np.bool_), (a, b)), shape=(len(nodes), len(nodes)))
        self.nodes, self.labels = nodes, connected_components(edges, directed=False)[1].astype(np.int64)

    def _labels(self, rows: IntArray) -> IntArray:
        places = np.minimum(np.searchsorted(self.nodes, rows), len(self.nodes) - 1)
        return np.where(self.nodes[places] == rows, self.labels[places], -1)


def grouped(connected: Connected, alike: Alike, most: int | None = None) -> tuple[IntArray, IntArray, int]:
    """Return the rows that have a duplicate before them, ascending, and the first of the group of each.

    Args:
        connected: rows that may be alike.
        alike: compares rows with the first of a group.
        most: comparisons after which no further group is begun; by default :data:`COMPARISONS` a row and a
            million. Only huge tangles of rows that are hardly alike take more.

    Returns:
        Rows, the first of the group of each, and the number of rows that were not compared with all.

    Example:
        Steps of 2 are alike; 5 is connected to 0, but too far from it:

        >>> connected = Connected()
        >>> connected.join(np.array([0, 2, 4]), np.array([2, 4, 5]))
        >>> grouped(connected, lambda a, b: abs(a - b) <= 2)
        (array([2, 5]), array([0, 4]), 0)
    """
    order = np.lexsort((connected.nodes, connected.labels))
    rest, labels = connected.nodes[order], connected.labels[order]
    left = COMPARISONS * len(rest) + 1_000_000 if most is None else most
    rows, firsts = [_EMPTY], [_EMPTY]
    while len(rest) and left > 0:
        starts = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]]))
        leaders = np.repeat(rest[starts], np.diff(np.concatenate([starts, [len(rest)]])))
        led = rest == leaders
        others = np.flatnonzero(~led)
        led[others] = same = np.asarray(alike(rest[others], leaders[others]), np.bool_)
        rows.append(rest[others[same]])
        firsts.append(leaders[others[same]])
        rest, labels = rest[~led], labels[~led]
        left -= len(others)
    found, first = np.concatenate(rows), np.concatenate(firsts)
    order = np.argsort(found)
    return found[order], first[order], len(rest)
