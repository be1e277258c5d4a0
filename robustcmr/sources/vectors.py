"""Vectors that somebody else made, and which pair each of them belongs to.

They come as ``.npy`` files, in the folder that clip-retrieval writes, as an array in the ``.npz`` beside each
file of pairs, or as a column of lists of numbers. They belong to the pairs by a key that both sides share, or
else by their position where the counts fit exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from robustcmr.errors import DataError, some_of
from robustcmr.sources.array_files import open_npy, open_npz
from robustcmr.sources.arrays import array_files
from robustcmr.sources.clip_layout import MADE, Side, clip_files, is_clip_folder
from robustcmr.sources.counts import Counts, sample_pairs
from robustcmr.sources.names import meant
from robustcmr.sources.records import Source
from robustcmr.sources.shards import natural
from robustcmr.sources.vector_keys import Key, Labels, LineLabels, Match, ParquetLabels, choose
from robustcmr.sources.vector_rows import ColumnRows, FileRows, Place, Rows, is_vectors
from robustcmr.types import FloatArray, IntArray

By = Literal["id", "image", "caption", "row", "position", "image position"]

_KEYS: dict[Side, tuple[Key, ...]] = {"image": ("id", "image"), "text": ("id", "caption")}
"""Keys that name one picture, or one caption; a caption may stand beside many pictures."""


@dataclass(frozen=True)
class Vectors:
    """Vectors of one side, opened but not read.

    Attributes:
        name: what the user gave.
        side: ``image`` or ``text``.
        count: of vectors.
        width: numbers a vector, D.
        by: how a vector belongs to pairs: by a key (``id``, ``image``, ``caption``); by the ``row`` of the
            source; by the ``position`` of the pair, or of the distinct image in order of first appearance
            (``image position``), both counted over all pairs of the source before any filter.
        says: how they are joined and what is missing, one sentence each.
        starts: vector of the first row of each shard, where ``by`` is ``row``.
    """

    name: str
    side: Side
    count: int
    width: int
    by: By
    says: tuple[str, ...]
    rows: Rows = field(repr=False)
    starts: tuple[int, ...] = ()
    labels: Labels | None = field(default=None, repr=False)
    match: Match | None = field(default=None, repr=False)

    def keys(self) -> Iterator[pa.RecordBatch] | None:
        """Yield columns ``key`` (string) and ``at`` (int64), vectors in order; None where there is no key.

        A key may come several times; the smallest ``at`` is meant.
        """
        if self.labels is None or self.match is None:
            return None
        return self._keys(self.labels, self.match)

    def _keys(self, labels: Labels, match: Match) -> Iterator[pa.RecordBatch]:
        for start, batch in labels.batches([match.column]):
            key = match.apply(batch.column(match.column))
            at = pa.array(np.arange(start, start + len(batch), dtype=np.int64))
            yield pa.RecordBatch.from_pydict({"key": key, "at": at})

    def at_rows(self, shards: npt.NDArray[np.integer[Any]], rows: IntArray) -> IntArray:
        """Return which vector belongs to rows (n,) of shards (n,), where ``by`` is ``row``.

        Raises:
            ValueError: ``by`` is something else.
        """
        if self.by != "row":
            raise ValueError(f"these vectors are joined by {self.by}; expected by row")
        starts: IntArray = np.array(self.starts, np.int64)[shards]
        return starts + rows

    def take(self, at: IntArray) -> FloatArray:
        """Return vectors ``at`` (n,), in any order, as (n, D).

        A row is NaN for -1, and where its file ends early or its list has another length; rows of NaN or
        zeros stay as they are.
        """
        return self.rows.take(at)

    def fingerprint(self) -> dict[str, Any]:
        """Return what tells these vectors from others: shape, and size and sampled bytes of each file."""
        files = []
        if isinstance(self.rows, FileRows):
            parts = [place.part for place in self.rows.places if place.part is not None]
            files = [
                {"file": part.path.name, "size": part.path.stat().st_size, "sampled": sampled(part.path)}
                for part in parts
            ]
        return {
            **{"vectors": self.name, "side": self.side, "count": self.count, "width": self.width},
            **{"by": self.by, "files": files},
        }


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
    archives = [shard.path.with_suffix(".npz") for shard in source.shards]
    arrays: list[str] = []
    first = next((archive for archive in archives if archive.is_file()), None)
    if first is not None:
        arrays = list(open_npz(first))
        if name in arrays:
            return _from_archives(name, side, source, archives)
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


def check_widths(images: Vectors, texts: Vectors) -> None:
    """Refuse vectors of two sides that no product can compare.

    Raises:
        DataError: their widths differ.
    """
    if images.width != texts.width:
        raise DataError(
            f"the image vectors {images.name} have {images.width} numbers and the text vectors {texts.name} "
            f"{texts.width}; give both from one model"
        )


def unusable(vectors: FloatArray) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which rows (n,) of (n, D) hold a number that is not finite, and which are zero throughout."""
    return ~np.all(np.isfinite(vectors), 1), ~np.any(vectors, 1)


def sampled(path: Path, pieces: int = 16, size: int = 1 << 16) -> str:
    """Return a digest of evenly spaced pieces of a file, its beginning and end among them."""
    digest = hashlib.blake2b(digest_size=16)
    length = path.stat().st_size
    with path.open("rb") as file:
        for start in np.unique(np.linspace(0, max(0, length - size), pieces).astype(np.int64)):
            file.seek(int(start))
            digest.update(file.read(size))
    return digest.hexdigest()


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
    else:
        paths, named = _npy_files(path, side, source)
        places, says = _npy_places(paths)
        labels = named
    return _joined(str(path), side, source, FileRows(places), labels, says, made)


def _npy_files(path: Path, side: Side, source: Source) -> tuple[list[Path], Labels | None]:
    """Return the ``.npy`` files of a spec, and the names of their rows where these are written beside."""
    if path.is_file():
        return [path], None
    if source.format == "npy" and path.resolve() == source.root.resolve():
        return [array_files(shard.path).vectors(side) for shard in source.shards], None
    own = path / f"{side}s.npy"
    if own.is_file():
        names = own.with_suffix(".txt")
        return [own], LineLabels(str(names), names) if names.is_file() else None
    found = sorted(
        (file for file in path.iterdir() if file.suffix == ".npy"), key=lambda file: natural(file.name)
    )
    if not found:
        raise DataError(
            f"the folder {path} has no .npy file; expected vectors such as {side}s.npy, or the folders "
            "img_emb, text_emb and metadata of clip-retrieval"
        )
    by_stem = {file.stem: file for file in found}
    if all(shard.path.stem in by_stem for shard in source.shards):  # one beside each file of pairs
        found = [by_stem[shard.path.stem] for shard in source.shards]
    return found, None


def _npy_places(paths: Sequence[Path]) -> tuple[list[Place], tuple[str, ...]]:
    parts = [open_npy(path) for path in paths]
    says = tuple(
        f"{part.name} ends after {part.held:,} of the {part.shape[0]:,} rows that its header promises: the "
        "others have no vector"
        for part in parts
        if part.held < part.shape[0]
    )
    if says and not any(part.held for part in parts):
        raise DataError(f"{parts[0].name} ends before its first row; fetch or make it again")
    return [Place(part.shape[0], part) for part in parts], says


def _from_archives(name: str, side: Side, source: Source, archives: Sequence[Path]) -> Vectors:
    """Open an array in the archive beside each shard."""
    counts = Counts(source)
    places, says = [], []
    for shard, archive, rows in zip(source.shards, archives, counts.rows, strict=True):
        part, problem = None, ""
        try:
            part = open_npz(archive).get(name)
            if part is None:
                problem = f"{archive} has no array {name}"
            elif part.shape[0] != rows:
                problem = f"{part.name} has {part.shape[0]:,} rows and {shard.path.name} {rows:,}"
                part = None
        except DataError as error:
            problem = str(error)
        if problem:
            says.append(f"{problem}: the {rows:,} rows of {shard.path.name} have no {side} vector")
        places.append(Place(rows, part))
    if all(place.part is None for place in places):
        raise DataError(f"no array {name} can be used: {says[0]}")
    found = FileRows(places)
    said = f"{side} vectors: the array {name} of {len(places):,} .npz files, {found.width} numbers a row"
    return Vectors(name, side, found.count, found.width, "row", (said, *says), found, counts.starts)


def _joined(
    name: str,
    side: Side,
    source: Source,
    rows: Rows,
    labels: Labels | None,
    says: tuple[str, ...],
    by_id: bool = False,
) -> Vectors:
    """Choose how vectors belong to the pairs: by a key that both share, else by exact counts.

    ``by_id`` says that the labels are known to hold ids, of however few pairs.
    """
    made = f"{side} vectors: {rows.count:,} of {rows.width} numbers"
    if labels is not None:
        sample = sample_pairs(source)
        match = choose(labels, sample, ("id",), 0.0) if by_id else choose(labels, sample, _KEYS[side])
        if match is not None:
            said = (
                f"{made}, joined by {match.key} with the column {match.column} of {labels.name}; "
                f"{match.found:,} of {match.of:,} sampled ones were found there"
            )
            return Vectors(
                name, side, rows.count, rows.width, match.key, (said, *says), rows, (), labels, match
            )
    counts = Counts(source)
    total = sum(counts.rows)
    if rows.count == total:
        said = f"{made}, one a row of the source, in the same order"
        return Vectors(name, side, rows.count, rows.width, "row", (said, *says), rows, counts.starts)
    pairs, images = counts.pairs_and_images
    if rows.count == pairs:
        said = f"{made}, one a pair, in the same order"
        return Vectors(name, side, rows.count, rows.width, "position", (said, *says), rows)
    if side == "image" and rows.count == images:
        said = f"{made}, one a distinct image, in order of first appearance"
        return Vectors(name, side, rows.count, rows.width, "image position", (said, *says), rows)
    distinct = f" of {images:,} distinct images" if side == "image" else ""
    keys = "have no keys" if labels is None else "share no key with the pairs"
    raise DataError(
        f"the {side} vectors {name} {keys}, and there are {rows.count:,} of them for {pairs:,} "
        f"pairs{distinct}; give one a pair in the same order, or write their ids beside them"
    )
