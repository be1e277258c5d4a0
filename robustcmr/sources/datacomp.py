"""DataComp's pools: parquet files of metadata, with vectors in the ``.npz`` of the same name beside each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from robustcmr.errors import DataError
from robustcmr.files import atomic_file
from robustcmr.sources import parquet
from robustcmr.sources.array_files import check_held, open_npz, write_npz
from robustcmr.sources.parquet import Parquet
from robustcmr.sources.records import Columns, Shard
from robustcmr.sources.shards import copy_path, files_below

MODELS = ("l14", "b32")
"""Models whose vectors a pool has, best first: arrays such as ``l14_img`` and ``l14_txt``."""

SUBSET = np.dtype("u8,u8")
"""A uid as two halves of 64 bits, as DataComp's tools store lists of uids."""


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether the paths are parquet files, or folders of them, with an archive beside each."""
    if not all(path.is_dir() or path.suffix in parquet.SUFFIXES for path in paths):
        return False
    files = files_below(paths, parquet.SUFFIXES)
    return bool(files) and files[0].with_suffix(".npz").is_file()


def open(paths: Sequence[Path], columns: Columns) -> DataComp:
    """Open a pool of DataComp.

    Raises:
        DataError: there is none, or a parquet file cannot be read.
    """
    table = parquet.open(paths, columns)
    arrays: dict[str, object] = {}
    says: tuple[str, ...] = ()
    for shard in table.shards:  # the first archive that can be read tells which arrays there are
        try:
            arrays = dict(open_npz(shard.path.with_suffix(".npz")))
            break
        except DataError:
            continue
    else:
        raise DataError(
            f"no parquet file of {table.root} has a readable .npz beside it; expected such as "
            f"{table.shards[0].path.with_suffix('.npz').name}, or read it with --format parquet"
        )
    model = next((name for name in MODELS if {f"{name}_img", f"{name}_txt"} <= arrays.keys()), None)
    options = {}
    if model is not None:
        options = {"image_vectors": f"{model}_img", "text_vectors": f"{model}_txt"}
        others = [name for name in MODELS if name != model and f"{name}_img" in arrays]
        also = f"; those of {others[0]} are there too" if others else ""
        says = (f"Vectors of the model {model} come with the pairs{also}.",)
    return DataComp(table.root, table.shards, table.columns, (*table.says, *says), options)


@dataclass(frozen=True)
class DataComp(Parquet):
    """A pool of DataComp."""

    format: ClassVar[str] = "datacomp"

    def write(self, shard: Shard, keep: npt.NDArray[np.bool_], to: Path) -> tuple[Path, ...]:
        """Write the metadata to keep and, beside it, all arrays of these rows.

        Raises:
            DataError: a row to keep has no vector though the shard has an archive.
        """
        archive = shard.path.with_suffix(".npz")
        target = copy_path(self, shard, to).with_suffix(".npz")
        written: tuple[Path, ...] = ()
        if archive.is_file() and _fits(archive, keep):
            with atomic_file(target) as file:
                write_npz(archive, keep, file)
            written = (target,)
        return (*super().write(shard, keep, to), *written)


def _fits(archive: Path, keep: npt.NDArray[np.bool_]) -> bool:
    """Return whether an archive holds the rows to keep; raise DataError where it lacks some of them."""
    try:
        for name, part in open_npz(archive).items():
            if name.endswith(("_img", "_txt")):
                check_held(part, keep)
    except DataError:
        if keep.any():
            raise
        return False  # no row has a vector, and none is kept
    return True


def uid_halves(uids: Iterable[str]) -> npt.NDArray[np.void]:
    """Return uids of 32 hexadecimal digits as an array of :data:`SUBSET`.

    Raises:
        ValueError: a uid is not of that form; the message is the uid.

    Example:
        >>> uid_halves(["0000000000000001000000000000000a"]).tolist()
        [(1, 10)]
    """
    halves = []
    for uid in uids:
        if len(uid) != 32 or not all(letter in "0123456789abcdef" for letter in uid.lower()):
            raise ValueError(uid)
        halves.append((int(uid[:16], 16), int(uid[16:], 16)))
    return np.array(halves, SUBSET)
