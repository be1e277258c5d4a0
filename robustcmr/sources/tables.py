"""What tables of Arrow columns share: picture files from their columns, copies by batches of kept rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from robustcmr.errors import DataError
from robustcmr.files import reason, regular_file
from robustcmr.sources.columns import is_picture_struct
from robustcmr.sources.records import Picture, Shard, Source

MOST_ROWS = 16_384
"""Rows of a batch, at most."""

MOST_BYTES = 64 * 2**20
"""Bytes of a batch that its rows are chosen for; one long row may take more."""

LARGEST_PICTURE = 256 * 2**20
"""Bytes of a picture file, at most."""


_HEAD = 32  # bytes that tell the format of a picture
_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|RIFF.{4}WEBP|BM|II\*\0|MM\0\*|.{4}ftypavi[fs]"
    rb"|\0\0\0\x0cjP  |\xff\x4f\xff\x51|P[1-6]\s",
    re.DOTALL,
)


@dataclass(frozen=True)
class Table(Source):
    """A source whose rows name their picture or hold its bytes in a column."""

    def picture_folder(self, shard: Shard) -> Path | None:
        """Return the folder of the table, which names of picture files are relative to."""
        return shard.path.parent

    def pictures(self, shard: Shard, rows: npt.NDArray[np.int64] | None = None) -> Iterator[Picture]:
        """Read pictures from bytes of the image column, or from the files that it names."""
        if self.columns.image is None:
            raise DataError(
                f"{self.root} has no image column, so there are no pictures; name one with --image"
            )
        at = 0 if rows is None or not len(rows) else int(rows[0])
        if rows is not None and not len(rows):
            return
        wanted = None if rows is None else np.asarray(rows)
        for batch in self.narrow(shard, at, (self.columns.image,)):
            column = batch.column(self.columns.image)
            if wanted is None:
                chosen = np.arange(batch.num_rows)
            else:
                low, high = np.searchsorted(wanted, (at, at + batch.num_rows))
                chosen = wanted[low:high] - at
            for row in chosen:
                yield _picture(int(row) + at, column[int(row)], self.picture_folder(shard))
            at += batch.num_rows
            if wanted is not None and (not len(wanted) or wanted[-1] < at):
                return


def _picture(row: int, value: pa.Scalar, folder: Path | None) -> Picture:
    try:
        found = value.as_py()
    except UnicodeDecodeError:
        return Picture(row, None, "its name is not UTF-8")
    if is_picture_struct(value.type) and isinstance(found, dict):
        found = found.get("bytes") or found.get("path")
    if found is None or found in ("", b""):
        return Picture(row, None, "missing image")
    if isinstance(found, bytes):
        return Picture(row, found)
    return read_picture(row, str(found), folder)


def read_picture(row: int, name: str, folder: Path | None) -> Picture:
    """Read the file of a picture; a web address is reported, never fetched."""
    if is_address(name):
        return Picture(row, None, "only an address is known")
    if folder is None:
        return Picture(row, None, "missing picture file")
    try:
        with regular_file(picture_path(name, folder), LARGEST_PICTURE) as file:
            data = file.read(_HEAD)
            if data and not starts_as_picture(data):
                return Picture(row, None, "no picture file")
            data += file.read(LARGEST_PICTURE)
    except FileNotFoundError:
        return Picture(row, None, "missing picture file")
    except OSError as error:
        return Picture(row, None, f"unreadable picture file: {reason(error)}")
    return Picture(row, data) if data else Picture(row, None, "empty picture file")


def starts_as_picture(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a picture, of a format that is read.

    A table may name any file of the machine; one that is no picture must not be copied into a data set.
    """
    return _PICTURE.match(head) is not None


def picture_path(name: str, folder: Path) -> Path:
    """Return the path of a picture by its name, which may be absolute or relative to the folder."""
    return folder / name


def is_address(name: str) -> bool:
    """Return whether a name is a web address, such as ``https://...`` or ``s3://...``."""
    scheme, found, _ = name.partition("://")
    return bool(found) and scheme.isascii() and scheme.replace("+", "").isalnum()


def make_batch(columns: Mapping[str, pa.Array], rows: int) -> pa.RecordBatch:
    """Return a batch of columns, of the number of rows even where there is no column."""
    if not columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def kept_batches(batches: Iterator[pa.RecordBatch], keep: npt.NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
    """Filter batches that follow each other by one mask of all their rows; empty ones are left out."""
    at = 0
    for batch in batches:
        part = keep[at : at + batch.num_rows]
        at += batch.num_rows
        if part.all():
            kept = batch
        elif part.any():
            kept = batch.filter(pa.array(part))
        else:
            continue
        if kept.num_rows:
            yield kept


def check_mask(keep: npt.NDArray[np.bool_], rows: int, path: Path) -> None:
    """Raise DataError where a mask does not have a value for each row of a file."""
    if keep.dtype != np.bool_ or keep.shape != (rows,):
        raise DataError(
            f"the list of rows to keep has {keep.size:,} entries and {path} has {rows:,} rows; the file has "
            "changed since it was audited, audit it again"
        )
