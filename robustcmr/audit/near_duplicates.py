"""Near duplicates among any number of vectors: every reported pair is verified by its exact cosine.

Candidates come from several tables of signatures (:mod:`robustcmr.audit.signatures`). A table is sorted, so
that rows whose signatures start alike are neighbours; those among the next ``window`` rows with the same
start are candidates. Other tables say cheaply which of them cannot be near. What is left is compared.
Signatures take 4 bytes a table and vector, on disk if a folder is given; all else is bounded.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robustcmr.audit.duplicate_groups import Alike, Connected, Duplicates, grouped
from robustcmr.audit.signatures import BITS, Planes, Signatures, ones, ordered, runs
from robustcmr.types import FloatArray, IntArray

PICTURES = 0.965
"""Least likeness of near-duplicate pictures, see :func:`cosine_of`.

Of the 18 million pairs of Flickr8K's 6,000 training pictures (region features, averaged; random ones have a
cosine of 0.57), one exceeds 0.87: the same photograph twice, at 1.00. The next show the same scene, not the
same picture. For models whose random pictures have a cosine of 0.5, it is a cosine of 0.98.
"""

CAPTIONS = 0.99
"""Least likeness of near-duplicate captions, which say the same in nearly the same words."""

TABLES = 16
"""Tables of signatures by default."""

WINDOW = 64
"""Candidates of a row in a table, at most."""

Take = Callable[[IntArray], FloatArray]
"""Reads the vectors (k, D) of some rows (k,)."""

_BLOCK = 1 << 14  # vectors read, or pairs compared, at once
_SORTED = 1 << 22  # signatures sorted at once
_SAMPLE = 1 << 14  # vectors that the planes are laid through
_WORDS = 4  # signatures of other tables that are looked at before vectors are


def cosine_of(likeness: float, count: int, take: Take) -> float:
    """Return the cosine of a likeness, which is 0 for two random vectors on average and 1 for equal ones.

    The vectors of a model lie in a cone, so that a cosine means little by itself: two random pictures have
    0.1 in one model and 0.9 in another.

    Args:
        likeness: in (0, 1].
        count: N, number of vectors.
        take: reads vectors by row; some, spread over all, are read.

    Example:
        >>> cone = np.ones(64, np.float32) + np.random.default_rng(0).standard_normal((500, 64))
        >>> round(cosine_of(0.5, 500, cone.__getitem__), 1)  # half way from 0.5 to 1
        0.8
    """
    vectors = _sample(count, take)
    n, total = len(vectors), vectors.sum(0, dtype=np.float64)
    mean = (float(total @ total) - n) / max(n * (n - 1), 1)  # of all pairs but of vectors with themselves
    return likeness + (1 - likeness) * min(max(mean, 0.0), 1.0)


def near_duplicates(
    count: int,
    take: Take,
    threshold: float,
    *,
    tables: int = TABLES,
    window: int = WINDOW,
    seed: int = 0,
    folder: Path | None = None,
    progress: Callable[[int], None] | None = None,
    also: tuple[Connected, Alike] | None = None,
) -> Duplicates:
    """Find the vectors whose cosine with an earlier one is at least ``threshold``.

    Rows with NaN, infinite or only zero numbers are duplicates of nothing. Give equal captions or pictures
    once: what is exactly equal is found more cheaply without vectors.

    Args:
        count: N, number of vectors.
        take: reads vectors by row, in blocks of ascending rows. They need not have unit length.
        threshold: smallest cosine, in (0, 1].
        tables: of signatures, >= 5; more find more of the pairs near the threshold and take longer.
        window: candidates of a row in a table, at most, >= 1.
        seed: of the random planes.
        folder: where the signatures lie in a temporary file; None keeps them in memory.
        progress: called with the number of vectors or signatures of every step, ``(1 + tables) * N`` in all.
        also: rows that are alike for another reason than their vectors, connected, and what says so.

    Returns:
        Rows and the first row of the group of each, whose cosine with it is ``threshold`` or more, or which
        is ``also`` alike;
        ``unfinished`` is the number of rows with more candidates than the window, the mean of the tables.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> vectors = np.random.default_rng(0).standard_normal((1000, 32)).astype(np.float32)
        >>> vectors[700] = 2 * vectors[3]
        >>> found = near_duplicates(1000, vectors.__getitem__, 0.98)
        >>> found.rows, found.first
        (array([700]), array([3]))
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold}; expected a cosine in (0, 1], such as 0.98")
    if tables <= _WORDS or window < 1:
        raise ValueError(
            f"tables={tables} and window={window}; expected at least {_WORDS + 1} tables and a window of 1"
        )
    if count < 2:
        return Duplicates(np.empty(0, np.int64), np.empty(0, np.int64))
    tick = progress or (lambda _: None)
    planes = Planes.through(_sample(count, take), tables, seed)
    with _table(folder, tables, count) as signatures:
        usable = np.empty(count, np.bool_)
        for rows in _blocks(count):
            vectors, usable[rows] = _units(take(rows))
            signatures[:, rows[0] : rows[-1] + 1] = planes.sign(vectors)
            tick(len(rows))
        search = _Search(signatures, usable, take, threshold, window, planes)
        if also is not None:
            search.connected = also[0]
        for table in range(tables):
            search.scan(table)
            tick(count)

    def alike(left: IntArray, right: IntArray) -> npt.NDArray[np.bool_]:
        near = search.alike(left, right)
        return near if also is None else near | also[1](left, right)

    rows, first, left = grouped(search.connected, alike)
    return Duplicates(rows, first, search.compared, math.ceil(search.unfinished / tables) + left)


@contextmanager
def _table(folder: Path | None, tables: int, count: int) -> Iterator[Signatures]:
    """Room for signatures (tables, n), in a file that is gone afterwards, or in memory without a folder."""
    if folder is None:
        yield np.empty((tables, count), np.uint32)
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        yield np.memmap(file, np.uint32, "w+", shape=(tables, count))


class _Search:
    """Connects rows that are alike, table by table."""

    def __init__(
        self,
        signatures: Signatures,
        usable: npt.NDArray[np.bool_],
        take: Take,
        threshold: float,
        window: int,
        planes: Planes,
    ) -> None:
        self._signatures, self._usable, self._take = signatures, usable, take
        self._threshold, self._window = threshold, window
        self._most = planes.most_different(threshold, BITS), planes.most_different(threshold, _WORDS * BITS)
        # unrelated rows share so many bits with some eight others
        self._prefix = min(max(math.ceil(math.log2(signatures.shape[1])) - 3, 1), BITS)
        self.connected, self.compared, self.unfinished = Connected(), 0, 0

    def scan(self, table: int) -> None:
        """Connect rows that are alike and whose signatures in a table start alike."""
        others = [(table + step) % len(self._signatures) for step in range(1, _WORDS + 1)]
        for rows in self._parts(table):
            whole, order = ordered(self._signatures[table][rows])
            starts, rows = whole >> np.uint32(BITS - self._prefix), rows[order]
            seconds = self._signatures[others[0]][
                rows
            ]  # read once, so that most pairs are ruled out in order
            for left, right, more in runs(starts, self._window):
                self.unfinished += more
                for start in range(0, len(left), _SORTED):
                    some, their = left[start : start + _SORTED], right[start : start + _SORTED]
                    near = ones((seconds[some] ^ seconds[their])[:, None]) <= self._most[0]
                    self._connect(rows[some[near]], rows[their[near]], others)

    def alike(self, left: IntArray, right: IntArray) -> npt.NDArray[np.bool_]:
        """Return which pairs of rows (k,) have at least the threshold as their cosine."""
        self.compared += len(left)
        cosines = [np.empty(0, np.float32)]
        for start in range(0, len(left), _BLOCK):
            pair = np.stack([left[start : start + _BLOCK], right[start : start + _BLOCK]])
            rows, places = np.unique(pair, return_inverse=True)
            vectors, _ = _units(self._take(rows))
            places = places.reshape(pair.shape)
            cosines.append(np.einsum("nd,nd->n", vectors[places[0]], vectors[places[1]]))
        return np.concatenate(cosines) >= self._threshold - 1e-6  # of rounding

    def _connect(self, left: IntArray, right: IntArray, others: list[int]) -> None:
        bits = np.stack([self._signatures[table][left] ^ self._signatures[table][right] for table in others])
        near = ones(bits.T) <= self._most[1]
        left, right = left[near], right[near]
        apart = self.connected.apart(left, right)
        left, right = left[apart], right[apart]
        same = self.alike(left, right)
        self.connected.join(left[same], right[same])

    def _parts(self, table: int) -> Iterator[IntArray]:
        """Usable rows of the same starts together, so that a part of a large table is sorted at once."""
        parts = math.ceil(self._signatures.shape[1] / _SORTED)
        for part in range(parts):
            found = []
            for rows in _blocks(self._signatures.shape[1], _SORTED):
                starts = self._signatures[table][rows[0] : rows[-1] + 1] >> (BITS - self._prefix)
                found.append(rows[(starts % parts == part) & self._usable[rows[0] : rows[-1] + 1]])
            yield np.concatenate(found)


def _units(vectors: npt.NDArray[np.floating]) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Vectors (n, D) of unit length, float32, zero where they have none; and which have one, (n,)."""
    vectors = np.asarray(vectors, np.float32)
    norms = np.linalg.norm(vectors, axis=1).astype(np.float32, copy=False)
    usable = np.isfinite(norms) & (norms > 0)
    if not usable.all():
        vectors = np.where(usable[:, None], vectors, 0)
    return np.asarray(vectors / np.where(usable, norms, 1)[:, None], np.float32), usable


def _sample(count: int, take: Take) -> FloatArray:
    """Some usable vectors, spread over all; at least one row, of zeros if there is none."""
    rows = np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(np.int64))
    vectors, usable = _units(take(rows))
    return vectors[usable] if usable.any() else vectors[:1]


def _blocks(count: int, size: int = _BLOCK) -> Iterator[IntArray]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count), dtype=np.int64)
