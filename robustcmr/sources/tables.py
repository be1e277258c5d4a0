"""What tables of Arrow columns share: picture files from their columns, copies by batches of kept rows."""

from __future__ import annotations

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
            data = file.read(LARGEST_PICTURE + 1)
    except FileNotFoundError:
        return Picture(row, None, "missing picture file")
    except OSError as error:
        return Picture(row, None, f"unreadable picture file: {reason(error)}")
    return Picture(row, data) if data else Picture(row, None, "empty picture file")


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
