"""A folder of pictures with a table of captions, or with a ``.txt`` beside each picture.

Tables are ``captions`` or ``metadata`` in CSV, TSV, JSON lines or parquet, as the ``imagefolder`` of the
``datasets`` library has them too, and files of ``name#0<TAB>caption`` such as Flickr30K's. Names of pictures
are relative to the folder of the table, or to the folder beside it that holds them.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from robustcmr.errors import DataError, some_of
from robustcmr.sources import delimited, json_lines, parquet, picture_texts
from robustcmr.sources.picture_files import copy_file, first_picture, leads_outside
from robustcmr.sources.records import Columns, Picture, Shard, Source
from robustcmr.sources.shards import natural
from robustcmr.sources.tables import Table, is_address, read_picture

NAMES = ("captions", "metadata", "annotations", "results")
"""Usual names of the table, without suffix, best first."""

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", ".token", ".txt")

_NUMBERED = re.compile(r"(.+\.\w{2,5})#\d+")
_SAMPLED, _FOLDERS = 64, 64  # names, and folders beside the table that they are looked for in


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether the paths are one folder with pictures, and captions in one of the ways known."""
    if len(paths) != 1 or not paths[0].is_dir() or first_picture(paths[0]) is None:
        return False
    return bool(_tables(paths[0])) or picture_texts.recognises(paths)


def open(paths: Sequence[Path], columns: Columns) -> Source:
    """Open a folder of pictures.

    Raises:
        DataError: it holds no pictures, no captions, or a table that cannot be read.
    """
    folder = paths[0]
    if len(paths) != 1 or not folder.is_dir() or first_picture(folder) is None:
        raise DataError(f"{folder} is no folder with pictures; expected files such as 0001.jpg below it")
    tables = _tables(folder)
    if not tables:
        return picture_texts.open(paths, columns)
    says = [f"Captions are read from {tables[0].relative_to(folder)}."] if len(tables) == 1 else []
    others = [path.name for path in _named_tables(folder) if path not in tables]
    if others and tables[0] not in _usual(folder) and tables[0].parent == folder:
        raise DataError(
            f"{folder} has several tables: {some_of(sorted([tables[0].name, *others]), 4)}; rename the one "
            "with the captions to captions.csv, or give it alone"
        )
    table = dataclasses.replace(_opened(tables, columns), root=folder)
    base, said = _pictures_of(table, folder)
    return PictureFolder(
        folder, table.shards, table.columns, (*says, *said, *table.says), {**table.options, **base}, table
    )


@dataclass(frozen=True)
class PictureFolder(Source):
    """A folder of pictures with a table.

    Attributes:
        table: of the captions, read by its own format.
    """

    table: Source | None = None

    format: ClassVar[str] = "picture-folder"

    @property
    def _table(self) -> Table:
        return cast(Table, self.table)

    def schema(self) -> pa.Schema:
        """Return the columns of the table."""
        return self._table.schema()

    def batches(self, shard: Shard, start: int = 0) -> Iterator[pa.RecordBatch]:
        """See :meth:`Source.batches`."""
        return self._table.batches(shard, start)

    def narrow(self, shard: Shard, start: int, names: Collection[str]) -> Iterator[pa.RecordBatch]:
        """See :meth:`Source.narrow`."""
        return self._table.narrow(shard, start, names)

    def picture_folder(self, shard: Shard) -> Path:
        """Return the folder that names of pictures are relative to."""
        return shard.path.parent / str(self.options["beside"])

    def pictures(self, shard: Shard, rows: npt.NDArray[np.int64] | None = None) -> Iterator[Picture]:
        """See :meth:`Source.pictures`; no file outside the folder is read."""
        folder, root = self.picture_folder(shard), self.root.resolve()
        for row, name in self._names(shard, rows):
            if not name:
                yield Picture(row, None, "missing image")
            elif not is_address(name) and leads_outside(name, folder, root):
                yield Picture(row, None, "its name leads outside the folder")
            else:
                yield read_picture(row, name, folder)

    def _names(self, shard: Shard, rows: npt.NDArray[np.int64] | None) -> Iterator[tuple[int, str]]:
        """Yield the names of the pictures of ascending rows, of all where None."""
        column = self.columns.image
        if column is None:
            raise DataError(f"{self.root} has no column with the names of pictures; name one with --image")
        wanted = None if rows is None else iter(rows.tolist())
        row, following = 0, 0 if wanted is None else next(wanted, -1)
        for batch in self.narrow(shard, 0, (column,)):
            values = batch.column(column)
            for value in values if following >= 0 else ():
                if row == following:
                    yield row, _name(value.as_py())
                    following = row + 1 if wanted is None else next(wanted, -1)
                row += 1

    def write(self, shard: Shard, keep: npt.NDArray[np.bool_], to: Path) -> tuple[Path, ...]:
        """Write the rows to keep byte for byte, and copy their pictures; those that are missing stay so.

        Raises:
            DataError: a picture to keep lies outside the folder.
        """
        folder, root = self.picture_folder(shard), self.root.resolve()
        files: dict[Path, None] = {}
        for row, name in self._names(shard, np.flatnonzero(keep)):
            if not name or is_address(name):
                continue
            if leads_outside(name, folder, root):
                raise DataError(
                    f"the picture {name!r} of row {row} of {shard.path} lies outside {self.root}, and only "
                    "those inside are copied; leave it out, or copy the table alone, such as --format csv"
                )
            if (folder / name).is_file():
                files.setdefault(Path(name))
        written = self._table.write(shard, keep, to)
        target = to / folder.relative_to(self.root)
        for file in files:
            copy_file(folder / file, target / file)
        return (*written, *(target / file for file in files))

    def finish(self, to: Path) -> tuple[Path, ...]:
        """See :meth:`Source.finish`."""
        return self._table.finish(to)


def _name(value: Any) -> str:
    """Return the name of a picture without the number of its caption, as in ``7.jpg#0``."""
    if isinstance(value, dict):
        value = value.get("path")
    text = "" if value is None or isinstance(value, bytes) else str(value)
    found = _NUMBERED.fullmatch(text)
    return text if found is None else found[1]


def _candidates(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if path.name.lower().endswith(SUFFIXES) and path.is_file()]
    return sorted(files, key=lambda path: natural(path.name))


def _tables(folder: Path) -> list[Path]:
    """Return the table of a folder, or those of the same name in the folders of its splits."""
    found = _usual(folder)
    if found:
        return found[:1]
    below = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: natural(path.name))
    splits = [tables[0] for path in below[:_FOLDERS] if (tables := _usual(path))]
    if splits:
        return [path for path in splits if path.name == splits[0].name]
    return _named_tables(folder)[:1]


def _named_tables(folder: Path) -> list[Path]:
    """Return the files of a folder that can be nothing but tables."""
    return [path for path in _candidates(folder) if path.suffix.lower() != ".txt"]


def _usual(folder: Path) -> list[Path]:
    """Return the tables with usual names, best first."""
    ranks = {}
    for path in _candidates(folder):
        name = path.name.lower()
        stem, _, rest = name.partition(".")
        if stem in NAMES or f".{rest}.".count(".token."):
            rank = NAMES.index(stem) if stem in NAMES else len(NAMES)
            ranks[path] = (rank, SUFFIXES.index(path.suffix.lower()), len(name))
    return sorted(ranks, key=lambda path: ranks[path])


def _opened(tables: Sequence[Path], columns: Columns) -> Source:
    suffix = tables[0].suffix.lower()
    if suffix == ".jsonl":
        return json_lines.open(tables, columns)
    return parquet.open(tables, columns) if suffix == ".parquet" else delimited.open(tables, columns)


def _pictures_of(table: Source, root: Path) -> tuple[dict[str, str], list[str]]:
    """Return the folder beside the table that holds its pictures, and what to say of it."""
    column = table.columns.image
    if column is None:
        return {"beside": "."}, []
    shard = table.shards[0]
    folder = shard.path.parent
    batches = table.narrow(shard, 0, (column,))
    values = itertools.chain.from_iterable(batch.column(column) for batch in batches)
    names = [name for value in itertools.islice(values, _SAMPLED) if (name := _name(value.as_py()))]
    below = sorted((path.name for path in folder.iterdir() if path.is_dir()), key=natural)
    best, most = ".", -1
    for beside in [".", *below[:_FOLDERS]]:
        there = sum(
            not leads_outside(name, folder / beside, root.resolve()) and (folder / beside / name).is_file()
            for name in names
        )
        if there > most:
            best, most = beside, there
    return {"beside": best}, [f"Pictures are those of the folder {best}."] if best != "." else []
