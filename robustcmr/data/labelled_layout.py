"""From options and file names to the arrays and rows of each split of labelled data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robustcmr.data.array_files import SUFFIXES, array_names, read_array, shown
from robustcmr.data.captions import read_lines
from robustcmr.data.folder import in_order, listing
from robustcmr.data.labelled_options import LabelledOptions, SplitPlaces
from robustcmr.errors import DataError
from robustcmr.files import reason, regular_file
from robustcmr.types import IntArray


@dataclass(frozen=True)
class Place:
    """An array, by its file and its name there; or a column of a text file, by its number."""

    file: Path
    key: str | int

    def __str__(self) -> str:
        return f"{self.key!r} of {self.file}" if isinstance(self.key, str) else str(self.file)


@dataclass(frozen=True)
class Table:
    """Where the columns of a split, or of all splits together, are; labels may be in a text file."""

    image: Place
    text: Place
    label: Place


def find_tables(config: LabelledOptions, shared: Collection[str]) -> dict[str, Table]:
    """Find the columns of each split, ``train`` first.

    ``shared`` are the splits that divide the rows of one file; empty if each has its own arrays.
    """
    root, folder = config.root, folder_of(config.root)
    names = in_order(config.splits or shared or _splits_with_files(root))
    if "train" not in names:
        raise DataError(f"{root} has no train split, which defines the classes; it has {', '.join(names)}")
    tables = {}
    for name in names:
        given = config.splits.get(name, SplitPlaces())

        def place(key: str, name: str = name, file: str | None = given.file) -> Place:
            own, _, key = key.replace("{split}", name).rpartition(":")
            own = own or (file or "").replace("{split}", name)
            return Place(folder / own if own else _file_of(root, name, bool(shared)), key)

        label_file = given.label_file or (config.label_file if given.label is None else None)
        if label_file is None:
            label = place(given.label or config.label)
        else:
            label = Place(folder / label_file.replace("{split}", name), config.label_column)
        tables[name] = Table(place(given.image or config.image), place(given.text or config.text), label)
        for column in (tables[name].image, tables[name].text, label):
            if not column.file.is_file():
                raise DataError(f"there is no file {column.file}; {folder} has {listing(folder)}")
    return tables


def _splits_with_files(root: Path) -> set[str]:
    if not root.is_dir():
        raise DataError(
            f"{root} is one file, with {shown(array_names(root)) or 'no array'}; define train, dev and test "
            "by splits, split_file or split_sizes"
        )
    found = {path.stem for path in root.iterdir() if path.suffix.lower() in SUFFIXES}
    found &= {"train", "dev", "test"}
    if not found:
        raise DataError(
            f"the data folder {root} has {listing(root)}; expected train, dev and test as .npz, .mat or .h5 "
            "files, or other files named under splits; name the folder with --data-root"
        )
    return found


def _file_of(root: Path, split: str, shared: bool) -> Path:
    """Return the file of a split that no option names."""
    if not root.is_dir():
        return root
    if shared:
        raise DataError(
            f"{root} is a folder, but split_file and split_sizes divide one file; name that file as root, or "
            "write image, text and label as FILE:NAME"
        )
    found = sorted(path for path in root.glob(f"{split}.*") if path.suffix.lower() in SUFFIXES)
    if len(found) > 1:
        raise DataError(f"{root} has {' and '.join(p.name for p in found)}; keep one file of a split")
    if not found:
        raise DataError(
            f"{root} has no file for the {split} split, it has {listing(root)}; expected {split}.npz, "
            f"{split}.mat or {split}.h5, or another under splits.{split}.file"
        )
    return found[0]


def folder_of(root: Path) -> Path:
    """Return the folder that other files are named in: ``root``, or the parent of the file ``root``."""
    if not root.exists():
        raise DataError(f"{root} does not exist; name a folder or file of labelled features with --data-root")
    return root if root.is_dir() else root.parent


def rows_of_split(
    config: LabelledOptions, name: str, n: int, listed: Mapping[str, IntArray]
) -> IntArray | None:
    """Return the rows of a split among ``n``, or None for all; ``listed`` are those of the split file."""
    if config.split_sizes:
        return rows_by_sizes(n, config.split_sizes, config.split_seed, str(config.root))[name]
    if listed:
        rows, path = listed[name], folder_of(config.root) / str(config.split_file)
        if not rows.size:
            raise DataError(f"{path} gives the {name} split no row; expected at least one")
        if rows.min() < 0 or rows.max() >= n:
            raise DataError(
                f"{path} gives the {name} split rows {rows.min()}..{rows.max()}, but the data has {n} pairs, "
                f"rows 0..{n - 1}"
            )
        return rows
    limits = config.splits.get(name, SplitPlaces()).rows
    if limits is None:
        return None
    first, end = limits[0], n if limits[1] is None else limits[1]
    if not 0 <= first < end <= n:
        raise DataError(
            f"the {name} split takes rows {first} to {end}, but its arrays have {n} pairs; expected the "
            "first row and the row after the last, counted from 0"
        )
    return np.arange(first, end, dtype=np.int64)


def rows_by_sizes(n: int, sizes: Mapping[str, int | None], seed: int, where: str) -> dict[str, IntArray]:
    """Assign ``n`` rows to splits at random, ascending; a size of None, of at most one split, is the rest."""
    requested = sum(size for size in sizes.values() if size is not None)
    rest = n - requested
    if rest < 0 or (rest == 0 and None in sizes.values()):
        raise DataError(
            f"{where} has {n} pairs, but split_sizes asks for {requested}"
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
    """Return the rows of each split, in the order of the file.

    A text file names the split of each row of the data, one a line, ``-`` for rows in no split; a ``.npz``
    file has an array of rows, counted from 0, under each split's name.

    Raises:
        DataError: the file cannot be read, or names a row twice.
    """
    try:
        with regular_file(path) as file:
            is_npz = file.read(2) == b"PK"
    except OSError as error:
        raise DataError(f"cannot read the split file {path}: {reason(error)}") from error
    rows: dict[str, IntArray] = {}
    if not is_npz:
        found: dict[str, list[int]] = {}
        for row, line in enumerate(read_lines(path, strip_end=True)):
            if not (name := line.strip()):
                raise DataError(f"line {row + 1} of {path} is blank; expected the name of a split, or -")
            found.setdefault(name, []).append(row)
        found.pop("-", None)
        if not found:
            raise DataError(f"{path} puts no row into a split; expected the name of a split on some lines")
        return {name: np.array(found[name], dtype=np.int64) for name in sorted(found)}
    for name in array_names(path):
        array = read_array(path, name)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise DataError(
                f"{path} has {name!r} of shape {array.shape} and type {array.dtype}; expected a vector of "
                "row numbers, counted from 0"
            )
        if array.dtype.kind == "u" and array.size and array.max() >= 2**63:
            raise DataError(f"{path} gives the {name} split a row {array.max()}, which no data has")
        rows[name] = array.astype(np.int64)
    if not rows:
        raise DataError(f"{path} has no array; expected the rows of each split under its name")
    distinct, times = np.unique(np.concatenate(list(rows.values())), return_counts=True)
    if (times > 1).any():
        raise DataError(
            f"{path} names row {distinct[times > 1][0]} twice; expected each row once, in one split"
        )
    return rows
