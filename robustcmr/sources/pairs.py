"""Rows of any source as pairs of one form: filtered, captions one by one, problems named.

A problem is a kind, such as ``empty caption``, or a kind and what was found, such as ``unreadable row: 4
cells, expected 3``. Kinds: ``unreadable row``, ``missing id``, ``missing image``, ``missing caption``,
``empty caption``, ``missing picture file``, ``only an address is known``.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from robustcmr.errors import DataError
from robustcmr.sources.columns import is_bytes, is_list, is_picture_struct, is_text, value_type
from robustcmr.sources.names import listed, meant
from robustcmr.sources.records import PAIRS, PROBLEM, Shard, Source
from robustcmr.sources.shards import stem_of
from robustcmr.sources.tables import is_address, picture_path
from robustcmr.sources.where import Condition, condition_on

NO_TEXT = ("nan", "none", "null", "<na>", "n/a", "#n/a")
"""Captions, in lower case, that are how a program writes that there is none."""

_NUMBERED = re.compile(r"(.+\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif))#\d+\Z", re.IGNORECASE)


def pairs(
    source: Source, shard: Shard, start: int = 0, where: str | None = None, need_pictures: bool = False
) -> Iterator[pa.RecordBatch]:
    """Read the pairs of a shard from its row ``start`` on, as batches of the schema ``PAIRS``.

    The key of a picture is the text that names it, or the hash of its bytes (BLAKE2b, 128 bits). Names such
    as ``1000.jpg#3``, which number the captions of a picture, are cut at the ``#``. An id is that of the
    column, with ``#`` and the part where the column of captions holds lists; rows without one get the
    shard's name and their number, such as ``part-0:17``. Rows that cannot be read pass every condition, so
    that they are counted.

    Args:
        source: from :func:`robustcmr.sources.open_source`.
        shard: of the source.
        start: row of the shard, at least 0.
        where: condition of SQL over the columns of the source; all rows by default.
        need_pictures: also report pairs whose picture file is not there.

    Raises:
        ConfigError: the condition cannot be used.
        DataError: the source has no column of captions, or the shard cannot be read.
    """
    schema = source.schema()
    columns = source.columns
    if columns.text is None:
        raise DataError(
            f"{source.root} has no column of captions; name it, such as --text caption (columns: "
            f"{listed(schema.names)})"
        )
    for name in (columns.image, columns.text, columns.id):
        if name is not None and name not in schema.names:
            raise DataError(f"{source.root} has no column {name!r}{meant(name, schema.names)}")
    condition = None
    if where is not None:
        condition = condition_on(where, schema, tuple(source.options.get("numbers", ())))
    return _pairs(source, shard, start, condition, need_pictures)


def _pairs(
    source: Source, shard: Shard, start: int, condition: Condition | None, need_pictures: bool
) -> Iterator[pa.RecordBatch]:
    columns = source.columns
    named = {name for name in (columns.image, columns.text, columns.id) if name is not None}
    needed: Collection[str] = named.union(condition.names if condition else ())
    stem = stem_of(source, shard)
    folder = source.picture_folder(shard) if need_pictures else None
    files = _Files(folder) if folder is not None else None
    for batch in source.narrow(shard, start, needed):
        rows = np.arange(start, start + batch.num_rows, dtype=np.int64)
        start += batch.num_rows
        if condition is not None:
            chosen = condition.mask(batch)
            if PROBLEM in batch.schema.names:
                chosen = chosen | batch.column(PROBLEM).is_valid().to_numpy(zero_copy_only=False)
            rows, batch = rows[chosen], batch.filter(pa.array(chosen))
        if batch.num_rows:
            yield to_pairs(source, shard.number, stem, batch, rows, files)


def to_pairs(
    source: Source,
    shard: int,
    stem: str,
    batch: pa.RecordBatch,
    rows: npt.NDArray[np.int64],
    files: _Files | None = None,
) -> pa.RecordBatch:
    """Return the pairs of rows as a batch of the schema ``PAIRS``.

    Args:
        source: that the rows are of.
        shard: its number.
        stem: what starts the ids that are made.
        batch: (n,) rows with at least the columns of the pair.
        rows: (n,) their numbers.
        files: to report picture files that are not there; None where that does not matter.
    """
    columns = source.columns
    made = pc.binary_join_element_wise(stem, pa.array(rows).cast(pa.string()), ":")
    problems = _Problems(batch.num_rows)
    if PROBLEM in batch.schema.names:
        problems.add_texts(pc.binary_join_element_wise("unreadable row", batch.column(PROBLEM), ": "))
    ids = made
    if columns.id is not None:
        ids = _words(batch.column(columns.id))
        none = _is_empty(ids)
        problems.add(none, "missing id")
        ids = pc.if_else(none, made, ids)
    image = made
    if columns.image is not None:
        image, keys_are_names = image_keys(batch.column(columns.image))
        problems.add(_is_empty(image), "missing image")
        if files is not None and keys_are_names:
            problems.add_texts(files.problems(image))
    captions, parents, parts, are_lists = _one_by_one(batch.column(str(columns.text)))
    problem = problems.texts
    if are_lists:
        ids, image, problem = (array.take(parents) for array in (ids, image, problem))
        ids = pc.binary_join_element_wise(ids, pa.array(parts).cast(pa.string()), "#")
        rows = rows[parents.to_numpy()]
    problem = pc.coalesce(problem, _problems_of(captions))
    number = np.full(len(parts), shard, dtype=np.int32)
    arrays = (ids, image, captions, number, rows, parts, problem)
    return pa.record_batch([_as(array, kind) for array, kind in zip(arrays, PAIRS.types, strict=True)], PAIRS)


def _problems_of(captions: pa.Array) -> pa.Array:
    """What is wrong with captions."""
    trimmed = pc.utf8_trim_whitespace(captions)
    is_short = pc.less_equal(pc.binary_length(trimmed), max(map(len, NO_TEXT)))
    short = pc.utf8_lower(pc.if_else(is_short, trimmed, "a longer text"))
    missing = pc.or_kleene(pc.is_null(captions), pc.is_in(short, pa.array(NO_TEXT)))
    found = pc.if_else(missing, "missing caption", pa.scalar(None, pa.string()))
    return pc.if_else(pc.equal(short, "").fill_null(False), "empty caption", found)


def _as(array: Any, kind: pa.DataType) -> pa.Array:
    array = pa.array(array) if isinstance(array, np.ndarray) else array
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array.cast(kind)


class _Problems:
    """The first problem of each row."""

    def __init__(self, rows: int) -> None:
        self.texts = pa.nulls(rows, pa.string())

    def add(self, where: pa.Array, text: str) -> None:
        self.add_texts(pc.if_else(where, pa.scalar(text), pa.scalar(None, pa.string())))

    def add_texts(self, texts: pa.Array) -> None:
        self.texts = pc.coalesce(self.texts, texts.cast(pa.string()))


def _is_empty(words: pa.Array) -> pa.Array:
    """Where a text is null or nothing but spaces."""
    return pc.or_kleene(pc.is_null(words), pc.equal(pc.utf8_trim_whitespace(words), "").fill_null(True))


def image_keys(column: pa.Array) -> tuple[pa.Array, bool]:
    """Return (n,) texts that are equal for equal pictures, and whether they name files or addresses."""
    kind = value_type(column.type)
    if is_picture_struct(kind):
        column = column.cast(kind) if column.type != kind else column
        names = [kind.field(number).name for number in range(kind.num_fields)]
        data = pc.struct_field(column, names.index("bytes")) if "bytes" in names else None
        path = pc.struct_field(column, names.index("path")) if "path" in names else None
        hashes = _hashes(data) if data is not None else pa.nulls(len(column), pa.string())
        words = _words(path) if path is not None else pa.nulls(len(column), pa.string())
        return pc.coalesce(hashes, words), data is None or data.null_count == len(data)
    if is_bytes(kind):
        return _hashes(column), False
    words = _words(column)
    if pc.any(pc.match_substring(words, "#")).as_py():
        words = pa.array([None if word is None else _NUMBERED.sub(r"\1", word) for word in words.to_pylist()])
        words = words.cast(pa.string())
    return words, is_text(kind)


def _hashes(column: pa.Array) -> pa.Array:
    """The hash of each value's bytes; null where there are none."""
    found = [
        hashlib.blake2b(memoryview(value), digest_size=16).hexdigest() if value else None
        for value in (scalar.as_buffer() if scalar.is_valid else None for scalar in column)
    ]
    return pa.array(found, pa.string())


def _words(column: pa.Array) -> pa.Array:
    """A column of text, numbers or hashes as text; null where it is not UTF-8 or not a number."""
    column = column.cast(value_type(column.type)) if column.type != value_type(column.type) else column
    if pa.types.is_fixed_size_binary(column.type):  # hashes and the like
        return pa.array([None if value is None else value.hex() for value in column.to_pylist()], pa.string())
    if pa.types.is_floating(column.type):  # whole numbers with gaps, as pandas holds them
        values = pc.if_else(pc.is_nan(column), None, column)
        whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2.0**63))
        digits = values.cast(pa.int64(), safe=False).cast(pa.string())
        return pc.if_else(whole, digits, values.cast(pa.string()))
    try:
        words = column.cast(pa.string())
        words.validate(full=True)
    except pa.ArrowInvalid:  # bytes of some row are not UTF-8
        words = pa.array([_decoded(scalar) for scalar in column], pa.string())
    return words


def _decoded(scalar: pa.Scalar) -> str | None:
    if not scalar.is_valid:
        return None
    try:
        return str(scalar.as_buffer().to_pybytes(), "utf-8")
    except UnicodeDecodeError:
        return None


def _one_by_one(column: pa.Array) -> tuple[pa.Array, pa.Array, npt.NDArray[np.int32], bool]:
    """Each caption, the position of its row, its number within the row, and whether rows hold lists.

    A row of no captions gives one of null, so that it is counted.
    """
    kind = value_type(column.type)
    if not is_list(kind):
        n = len(column)
        return _words(column), pa.array(np.arange(n)), np.zeros(n, dtype=np.int32), False
    column = column.cast(kind) if column.type != kind else column
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    counts = np.maximum(lengths, 1)
    parents = np.repeat(np.arange(len(column)), counts)
    parts = np.arange(len(parents)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = np.repeat(np.cumsum(lengths) - lengths, counts) + parts
    none = np.repeat(lengths == 0, counts)
    captions = _words(pc.list_flatten(column)).take(pa.array(at, mask=none))
    return captions, pa.array(parents), parts.astype(np.int32), True


@dataclass
class _Files:
    """Which picture files of a folder are there."""

    folder: Path

    def __post_init__(self) -> None:
        self._known: dict[str, str | None] = {}

    def problems(self, names: pa.Array) -> pa.Array:
        """Return why the picture of each name cannot be read, null where it can."""
        return pa.array(
            [None if name is None else self._problem(name) for name in names.to_pylist()], pa.string()
        )

    def _problem(self, name: str) -> str | None:
        if name not in self._known:
            if len(self._known) > 100_000:
                self._known.clear()
            self._known[name] = self._look(name)
        return self._known[name]

    def _look(self, name: str) -> str | None:
        if is_address(name):
            return "only an address is known"
        try:
            found = os.stat(picture_path(name, self.folder))  # noqa: PTH116 - a name may hold NUL
        except (OSError, ValueError):
            return "missing picture file"
        return None if stat.S_ISREG(found.st_mode) and found.st_size else "missing picture file"
