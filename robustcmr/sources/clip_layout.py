"""The folders that clip-retrieval writes: vectors of pictures and captions, and what each row is of.

``img_emb/img_emb_0.npy`` and ``text_emb/text_emb_0.npy`` hold a vector a row, ``metadata/metadata_0.parquet``
says what each row is of; the number in the name tells which files belong together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from robustcmr.errors import DataError
from robustcmr.sources.array_files import open_npy
from robustcmr.sources.shards import natural
from robustcmr.sources.vector_keys import in_words
from robustcmr.sources.vector_rows import Place

Side = Literal["image", "text"]

FOLDERS: dict[Side, str] = {"image": "img_emb", "text": "text_emb"}
METADATA = "metadata"
MADE = "vectors.json"
"""Record in a folder whose vectors robustcmr made: its metadata hold the ids of the pairs themselves."""


@dataclass(frozen=True)
class ClipFile:
    """A numbered part of the folder.

    Attributes:
        number: in its names.
        metadata: its parquet; None where there is none.
        rows: of the parquet, or of the vectors where there is none.
        place: of its vectors.
    """

    number: int
    metadata: Path | None
    rows: int
    place: Place


def is_clip_folder(folder: Path) -> bool:
    """Return whether a folder holds vectors as clip-retrieval writes them."""
    return any((folder / name).is_dir() for name in FOLDERS.values())


def numbered(folder: Path, suffix: str) -> dict[int, Path]:
    """Return the files of a folder whose name ends in a number, by that number."""
    if not folder.is_dir():
        return {}
    paths = sorted(folder.iterdir(), key=lambda path: natural(path.name))
    found = {number_of(path): path for path in paths if path.suffix == suffix}
    return {number: path for number, path in found.items() if number >= 0}


def number_of(path: Path) -> int:
    """Return the number that the name of a file ends in; -1 where there is none."""
    number = re.search(r"(\d+)$", path.stem)
    return -1 if number is None else int(number[1])


def parquet_rows(path: Path) -> int:
    """Return the number of rows that a parquet file states.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path}: {in_words(error)}; write it again") from error


def clip_files(folder: Path, side: Side) -> tuple[tuple[ClipFile, ...], tuple[str, ...]]:
    """Return the numbered parts of a folder for one side, and a sentence for each part without vectors.

    Raises:
        DataError: the folder has no vectors of that side.
    """
    vectors = numbered(folder / FOLDERS[side], ".npy")
    metadata = numbered(folder / METADATA, ".parquet")
    if not vectors:
        raise DataError(
            f"{folder} has no {FOLDERS[side]}/{FOLDERS[side]}_0.npy; expected the vectors of each {side}, as "
            "clip-retrieval inference writes them"
        )
    files, says = [], []
    for number in sorted(metadata or vectors):
        table, path = metadata.get(number), vectors.get(number)
        rows = None if table is None else parquet_rows(table)
        part, problem = None, ""
        if path is None:
            problem = f"{FOLDERS[side]}_{number}.npy is missing"
        else:
            try:
                part = open_npy(path)
            except DataError as error:
                problem = str(error)
        if part is not None:
            rows = part.shape[0] if rows is None else rows
            if part.shape[0] != rows:
                problem = f"{part.name} has {part.shape[0]:,} rows and its metadata {rows:,}"
                part = None
            elif part.held < rows:
                missing = rows - part.held
                says.append(
                    f"{part.name} ends after {part.held:,} of the {rows:,} rows that its header promises: "
                    f"{missing:,} have no vector"
                )
        if problem and rows != 0:
            says.append(f"{problem}: {f'its {rows:,} rows' if rows else 'its rows'} have no {side} vector")
        files.append(ClipFile(number, table, rows or 0, Place(rows or 0, part)))
    if all(file.place.part is None for file in files):
        raise DataError(f"no {side} vector of {folder} can be used: {problem}")
    return tuple(files), tuple(says)
