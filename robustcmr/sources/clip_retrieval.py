"""The output folder of clip-retrieval as pairs: its metadata is the table, and the vectors come with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from robustcmr.errors import DataError
from robustcmr.files import atomic_file
from robustcmr.sources import parquet
from robustcmr.sources.array_files import check_held, open_npy, write_rows
from robustcmr.sources.clip_layout import FOLDERS, METADATA, is_clip_folder, number_of, numbered
from robustcmr.sources.parquet import Parquet
from robustcmr.sources.records import Columns, Shard
from robustcmr.sources.shards import copy_path


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether the paths are one folder of clip-retrieval, with metadata."""
    return len(paths) == 1 and is_clip_folder(paths[0]) and bool(numbered(paths[0] / METADATA, ".parquet"))


def open(paths: Sequence[Path], columns: Columns) -> ClipRetrieval:
    """Open the output folder of clip-retrieval.

    Raises:
        DataError: it has no metadata, or a file of it cannot be read.
    """
    if not recognises(paths):
        raise DataError(
            f"{paths[0]} is no output folder of clip-retrieval; expected img_emb, text_emb and "
            f"{METADATA}/metadata_0.parquet in it"
        )
    folder = paths[0]
    table = parquet.open(list(numbered(folder / METADATA, ".parquet").values()), columns)
    sides = [side for side, name in FOLDERS.items() if (folder / name).is_dir()]
    options = {f"{side}_vectors": str(folder) for side in sides}
    return ClipRetrieval(folder, table.shards, table.columns, table.says, options)


@dataclass(frozen=True)
class ClipRetrieval(Parquet):
    """A folder of clip-retrieval: parquet files of metadata, with the vectors of their rows."""

    format: ClassVar[str] = "clip-retrieval"

    def picture_folder(self, shard: Shard) -> Path | None:
        """Return the folder itself; clip-retrieval notes the paths of pictures as it was given them."""
        del shard
        return self.root

    def write(self, shard: Shard, keep: npt.NDArray[np.bool_], to: Path) -> tuple[Path, ...]:
        """Write the metadata to keep and the vectors of these rows, in files of the same names.

        Raises:
            DataError: a row to keep has no vector on a side that others have.
        """
        copy_path(self, shard, to)  # refuses a file of the source, before anything is written
        parts = []
        for name in FOLDERS.values():
            path = numbered(self.root / name, ".npy").get(number_of(shard.path))
            if path is None:
                continue
            try:
                part = open_npy(path)
                check_held(part, keep)
            except DataError:
                if keep.any():
                    raise
                continue  # no row has a vector, and none is kept
            parts.append((to / name / path.name, part))
        for target, part in parts:
            with atomic_file(target) as file:
                write_rows(part, keep, file)
        return (*(target for target, _ in parts), *super().write(shard, keep, to))
