"""Vectors that somebody else made, and which pair each of them belongs to.

They come as ``.npy`` files, in the folder that clip-retrieval writes, as an array in the ``.npz`` beside each
file of pairs, or as a column of lists of numbers. They belong to the pairs by a key that both sides share, or
else by their position where the counts fit exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from robustcmr.errors import DataError, some_of
from robustcmr.sources.array_files import ArrayPart, open_npy, open_npz
from robustcmr.sources.arrays import array_files
from robustcmr.sources.clip_layout import MADE, Side, clip_files, is_clip_folder
from robustcmr.sources.counts import Counts
from robustcmr.sources.given_vectors import (
    Vectors as Vectors,
    check_widths as check_widths,
    unusable as unusable,
)
from robustcmr.sources.names import meant
from robustcmr.sources.records import Shard, Source
from robustcmr.sources.shards import natural
from robustcmr.sources.vector_joins import join
from robustcmr.sources.vector_keys import Labels, LineLabels, ParquetLabels
from robustcmr.sources.vector_rows import ColumnRows, FileRows, Place, is_vectors


def open_vectors(spec: str | Path, side: Side, source: Source) -> Vectors:
    """Open vectors, and find out which pairs of a source they belong to.

    Args:
        spec: a ``.npy`` file; a folder of them, read in natural order; a folder of clip-retrieval; the name
            of an array in the ``.npz`` beside each file of pairs, such as ``l14_img``; or the name of a
            column of lists of numbers. float16, float32 or float64.
        side: ``image`` or ``text``.
        source: the pairs. It is sampled to find a shared key, and read once where only counts can tell.

    Raises:
        DataError: there are no such vectors, they are damaged, or neither a key nor their count fits.
    """
    path = Path(spec)
    if path.is_file() or path.is_dir():
        return _from_files(path, side, source)
    name = str(spec)
    archives = (shard.path.with_suffix(".npz") for shard in source.shards)
    arrays: list[str] = []
    first = next((archive for archive in archives if archive.is_file()), None)
    if first is not None:
        arrays = list(open_npz(first))
        if name in arrays:
            return _of_shards(name, side, source, lambda shard: _in_archive(shard, name))
    schema = source.schema()
    if name in schema.names:
        counts = Counts(source)
        column = ColumnRows(source, name, counts.rows)
        says = f"{side} vectors: the column {name}, {column.width} numbers a row"
        return Vectors(name, side, column.count, column.width, "row", (says,), column, counts.starts)
    if path.suffix or len(path.parts) > 1:
        raise DataError(f"there are no {side} vectors at {name}; check the path")
    known = arrays + [column.name for column in schema if is_vectors(column.type)]
    there = f"; there is {some_of(known)}" if known else "; check the path"
    raise DataError(
        f"{name} is no file, no folder, no array beside {source.root} and no column of it"
        f"{meant(name, known) or there}"
    )


def own_vectors(source: Source, side: Side) -> Vectors | None:
    """Open the vectors that come with a source, as those of clip-retrieval or DataComp; None without any.

    Raises:
        DataError: they are damaged.
    """
    spec = source.options.get(f"{side}_vectors")
    return None if spec is None else open_vectors(spec, side, source)


def _from_files(path: Path, side: Side, source: Source) -> Vectors:
    """Open vectors in files of their own."""
    labels: Labels | None = None
    says: tuple[str, ...] = ()
    made = path.is_dir() and (path / MADE).is_file()
    if path.is_dir() and is_clip_folder(path):
        files, says = clip_files(path, side)
        places = [file.place for file in files]
        starts = np.cumsum([0] + [place.rows for place in places])[:-1].tolist()
        by_path = {
            file.metadata.resolve(): start
            for file, start in zip(files, starts, strict=True)
            if file.metadata is not None
        }
        shards = [shard.path.resolve() for shard in source.shards]
        if all(shard in by_path for shard in shards):  # the pairs are its own metadata
            rows = FileRows(places)
            said = f"{side} vectors: {rows.count:,} of {rows.width} numbers, which come with the pairs"
            own = tuple(by_path[shard] for shard in shards)
            return Vectors(str(path), side, rows.count, rows.width, "row", (said, *says), rows, own)
        tables = [
            (start, file.metadata)
            for file, start in zip(files, starts, strict=True)
            if file.metadata is not None
        ]
        labels = ParquetLabels(str(path), tuple(tables)) if tables else None
    elif path.is_dir() and (stems := _by_stem(path, source)) is not None:
        return _of_shards(str(path), side, source, lambda shard: open_npy(stems[shard.path.stem]))
    else:
        paths, named = _npy_files(path, side, source)
        places, says = _npy_places(paths)
        labels = named
    return join(str(path), side, source, FileRows(places), labels, says, made)


def _by_stem(folder: Path, source: Source) -> dict[str, Path] | None:
    """Return the ``.npy`` files of a folder by name, where each shard has one of its own name; else None."""
    stems = [shard.path.stem for shard in source.shards]
    found = {stem: folder / f"{stem}.npy" for stem in stems}
    return found if len(found) == len(stems) and all(path.is_file() for path in found.values()) else None


def _npy_files(path: Path, side: Side, source: Source) -> tuple[list[Path], Labels | None]:
    """Return the ``.npy`` files of a spec, and the names of their rows where these are written beside."""
    if path.is_file():
        return [path], _names_beside(path)
    if source.format == "npy" and path.resolve() == source.root.resolve():
        return [array_files(shard.path).vectors(side) for shard in source.shards], None
    own = path / f"{side}s.npy"
    if own.is_file():
        return [own], _names_beside(own)
    found = sorted(
        (file for file in path.iterdir() if file.suffix == ".npy"), key=lambda file: natural(file.name)
    )
    if not found:
        raise DataError(
            f"the folder {path} has no .npy file; expected vectors such as {side}s.npy, or the folders "
            "img_emb, text_emb and metadata of clip-retrieval"
        )
    return found, None


def _names_beside(path: Path) -> Labels | None:
    """The names of the rows of an array, which a text file of the same stem may hold."""
    names = path.with_suffix(".txt")
    return LineLabels(str(names), names) if names.is_file() else None


def _npy_places(paths: Sequence[Path]) -> tuple[list[Place], tuple[str, ...]]:
    parts = [open_npy(path) for path in paths]
    says = tuple(_cut_off(part) for part in parts if part.held < part.shape[0])
    if says and not any(part.held for part in parts):
        raise DataError(f"{parts[0].name} ends before its first row; fetch or make it again")
    return [Place(part.shape[0], part) for part in parts], says


def _of_shards(name: str, side: Side, source: Source, opened: Callable[[Shard], ArrayPart]) -> Vectors:
    """Open vectors that lie in a file beside each shard, or named as it; a shard without any is said.

    Args:
        name: of the vectors, for messages.
        side: ``image`` or ``text``.
        source: the pairs.
        opened: opens those of a shard; raises DataError where there are none.
    """
    counts = Counts(source)
    places, says = [], []
    for shard, rows in zip(source.shards, counts.rows, strict=True):
        part, problem = None, ""
        try:
            part = opened(shard)
            if part.shape[0] != rows:
                problem = f"{part.name} has {part.shape[0]:,} rows and {shard.path.name} {rows:,}"
                part = None
            elif part.held < rows:
                says.append(_cut_off(part))
        except DataError as error:
            problem = str(error)
        if problem and rows:
            says.append(f"{problem}: the {rows:,} rows of {shard.path.name} have no {side} vector")
        places.append(Place(rows, part))
    if all(place.part is None for place in places):
        raise DataError(f"no {side} vectors {name} can be used: {problem}")
    found = FileRows(places)
    said = (
        f"{side} vectors: {name}, one file for each of {len(places):,} of pairs, {found.width} numbers a row"
    )
    return Vectors(name, side, found.count, found.width, "row", (said, *says), found, counts.starts)


def _in_archive(shard: Shard, name: str) -> ArrayPart:
    """Open an array of the archive beside a shard."""
    archive = shard.path.with_suffix(".npz")
    part = open_npz(archive).get(name)
    if part is None:
        raise DataError(f"{archive} has no array {name}")
    return part


def _cut_off(part: ArrayPart) -> str:
    return (
        f"{part.name} ends after {part.held:,} of the {part.shape[0]:,} rows that its header promises: the "
        "others have no vector"
    )
