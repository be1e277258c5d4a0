"""Which rows of a file belong to which split, where a file holds all of them in one block."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from robustcmr.data.folder import SPLIT_ORDER
from robustcmr.data.label_columns import read_lines
from robustcmr.data.labelled_files import array_names, read_array
from robustcmr.errors import DataError
from robustcmr.types import IntArray

NPZ_START = b"PK"


def in_order(names: Collection[str]) -> tuple[str, ...]:
    """Names of splits with ``train``, ``dev`` and ``test`` first, then the others by alphabet."""
    known = [name for name in SPLIT_ORDER if name in names]
    return (*known, *sorted(set(names) - set(known)))


def rows_by_sizes(n: int, sizes: Mapping[str, int | None], seed: int, where: str) -> dict[str, IntArray]:
    """Deal rows out to splits by chance.

    Args:
        n: number of rows.
        sizes: rows each split gets; None, for one split at most, stands for all that are left.
        seed: of the chance; nothing else decides.
        where: the file, for messages.

    Returns:
        For each split its rows, ascending int64; no row is in two splits.

    Raises:
        DataError: there are too few rows.
    """
    asked = sum(size for size in sizes.values() if size is not None)
    rest = n - asked
    if rest < 0 or (rest == 0 and None in sizes.values()):
        raise DataError(
            f"{where} has {n} pairs, but split_sizes asks for {asked}"
            f"{' and some more' if rest == 0 else ''}; ask for fewer"
        )
    order = np.argsort(np.random.Generator(np.random.PCG64(seed)).random(n), kind="stable")
    rows, first = {}, 0
    for name in in_order(sizes):
        size = sizes[name]
        last = first + (rest if size is None else size)
        rows[name] = np.sort(order[first:last]).astype(np.int64)
        first = last
    return rows


def read_split_file(path: Path) -> dict[str, IntArray]:
    """Read which row belongs to which split.

    Args:
        path: a text file with the name of a split for each row of the data, one a line, rows with ``-`` in no
            split; or a ``.npz`` file with an array of rows, counted from 0, under each split's name.

    Returns:
        For each split its rows, in the order of the file.

    Raises:
        DataError: the file cannot be read, or a row is named twice.
    """
    try:
        with path.open("rb") as file:
            is_npz = file.read(2) == NPZ_START
    except OSError as error:
        raise DataError(f"cannot read the split file {path}: {error.strerror or error}") from error
    rows: dict[str, IntArray]
    if not is_npz:
        by_name: dict[str, list[int]] = {}
        for row, line in enumerate(read_lines(path)):
            by_name.setdefault(line.strip(), []).append(row)
        by_name.pop("-", None)
        if "" in by_name:
            raise DataError(
                f"line {by_name[''][0] + 1} of {path} is blank; expected the name of a split, or -"
            )
        rows = {name: np.array(chosen, dtype=np.int64) for name, chosen in by_name.items()}
        if not rows:
            raise DataError(f"{path} puts no row into a split; expected the name of a split on some lines")
        return rows
    rows = {}
    for name in array_names(path):
        array = read_array(path, name)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise DataError(
                f"{path} has {name!r} of shape {array.shape} and type {array.dtype}; expected a vector of "
                "whole row numbers, counted from 0"
            )
        rows[name] = array.astype(np.int64)
    if not rows:
        raise DataError(f"{path} has no array; expected the rows of each split under its name")
    everything = np.concatenate(list(rows.values()))
    distinct, times = np.unique(everything, return_counts=True)
    if (times > 1).any():
        raise DataError(
            f"{path} names row {distinct[times > 1][0]} twice; expected each row once, in one split"
        )
    return rows


def rows_in_range(rows: IntArray, n: int, name: str, path: Path) -> IntArray:
    """The rows of a split, made sure to exist.

    Raises:
        DataError: some lie outside 0..n-1, or there are none.
    """
    if not rows.size:
        raise DataError(f"{path} gives the {name} split no row; expected at least one")
    if rows.min() < 0 or rows.max() >= n:
        raise DataError(
            f"{path} gives the {name} split rows {rows.min()}..{rows.max()}, but the data has {n} pairs, "
            f"rows 0..{n - 1}"
        )
    return rows


def rows_between(first: int, last: int | None, n: int, name: str) -> IntArray:
    """Rows ``first`` to ``last``, which is left out; None goes to the end.

    Raises:
        DataError: there is no such row.
    """
    end = n if last is None else last
    if not 0 <= first < end <= n:
        raise DataError(
            f"the {name} split takes rows {first} to {end}, but its arrays have {n} pairs; expected the "
            "first row and the one after the last, counted from 0"
        )
    return np.arange(first, end, dtype=np.int64)
