"""Which column says whose each vector is: chosen by what a sample of the pairs finds in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robustcmr.errors import DataError
from robustcmr.files import reason

Key = Literal["id", "image", "caption"]

LIKELY = ("uid", "id", "key", "__key__", "image_path", "image", "url", "caption", "text", "name")
"""Columns of other tools that hold ids, pictures and captions, best first."""

SAMPLED_ROWS = 1_000_000
"""Rows of vectors that are searched for a prefix of the names of pictures."""


class Labels(Protocol):
    """A table beside vectors: row i says what vector i is of."""

    @property
    def name(self) -> str:
        """What to call it in a message."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that can be read as text."""

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield these columns as strings, each batch with the number of its first vector."""


@dataclass(frozen=True)
class ParquetLabels:
    """Labels in parquet files, each of which goes with a run of vectors.

    Attributes:
        name: of the folder or file.
        files: with the number of the first vector that each goes with.
    """

    name: str
    files: tuple[tuple[int, Path], ...]
    columns: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        schema = read_schema(self.files[0][1])
        columns = tuple(column.name for column in schema if is_key(column.type))
        object.__setattr__(self, "columns", columns)

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """See :meth:`Labels.batches`."""
        for start, path in self.files:
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(1 << 16, columns=list(columns)):
                        yield start, as_strings(batch.select(list(columns)))
                        start += len(batch)
            except (OSError, KeyError, pa.ArrowException) as error:
                raise DataError(f"cannot read {path}: {in_words(error)}") from error


@dataclass(frozen=True)
class LineLabels:
    """Labels in a text file, a name a line."""

    name: str
    path: Path
    columns: tuple[str, ...] = ("line",)

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """See :meth:`Labels.batches`."""
        del columns
        start, lines = 0, list[str]()
        with self.path.open(encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            for line in file:
                lines.append(line.rstrip("\r\n"))
                if len(lines) == 1 << 16:
                    yield start, pa.RecordBatch.from_pydict({"line": pa.array(lines, pa.string())})
                    start, lines = start + len(lines), []
        yield start, pa.RecordBatch.from_pydict({"line": pa.array(lines, pa.string())})


@dataclass(frozen=True)
class Match:
    """A key of the pairs, and how the labels of the vectors become that key.

    Attributes:
        key: of the pairs.
        column: of the labels.
        strip: what is taken off the front of each label.
        add: what is put before it.
        found: sampled pairs that a label was found for.
        of: sampled pairs.
    """

    key: Key
    column: str
    strip: str
    add: str
    found: int
    of: int

    def apply(self, labels: pa.Array) -> pa.Array:
        """Return labels as keys of the pairs."""
        if self.strip:
            inside = pc.starts_with(labels, self.strip)
            labels = pc.if_else(inside, pc.utf8_slice_codeunits(labels, len(self.strip)), labels)
        return pc.binary_join_element_wise(pa.scalar(self.add), labels, "") if self.add else labels


def choose(labels: Labels, sample: Mapping[Key, Sequence[str | None]], keys: Sequence[Key]) -> Match | None:
    """Return the key that most of the sampled pairs share with the labels; None where there is none to try.

    Args:
        labels: beside the vectors.
        sample: some pairs, by key.
        keys: that may be used, best first.
    """
    columns = tuple(name for name in LIKELY if name in labels.columns)
    columns += tuple(name for name in labels.columns if name not in columns)
    values = {key: {value for value in sample[key] if value is not None} for key in keys}
    values = {key: found for key, found in values.items() if found}
    ways = {(key, column): ("", "") for key in values for column in columns}
    if "image" in values:
        folders = _prefixes(labels, columns, values["image"])
        ways |= {("image", column): way for column, way in folders.items()}
    hits: dict[tuple[Key, str], set[str]] = {way: set() for way in ways}
    sets = {key: pa.array(sorted(found), pa.string()) for key, found in values.items()}
    for _, batch in labels.batches(columns):
        for (key, column), (strip, add) in ways.items():
            found = hits[key, column]
            if len(found) < len(values[key]):
                made = Match(key, column, strip, add, 0, 0).apply(batch.column(column))
                found.update(made.filter(pc.is_in(made, value_set=sets[key])).to_pylist())
        if any(len(found) == len(values[key]) for (key, _), found in hits.items() if key == keys[0]):
            break
    best: Match | None = None
    for (key, column), (strip, add) in ways.items():  # ties: the first key and column
        found = hits[key, column]
        better = best is None or len(found) * best.of > best.found * len(values[key])
        if better:
            best = Match(key, column, strip, add, len(found), len(values[key]))
    return best


def _prefixes(labels: Labels, columns: Sequence[str], images: set[str]) -> dict[str, tuple[str, str]]:
    """Return, by column, the folder to take off or put before labels that name the same pictures otherwise.

    Tools that read a folder note where it was, such as ``/data/flickr/7.jpg`` for ``7.jpg``.
    """
    by_name: dict[str, list[str]] = {}
    for image in images:
        by_name.setdefault(image.rpartition("/")[2], []).append(image)
    found: dict[str, tuple[str, str]] = {}
    exact: set[str] = set()
    seen = 0
    for _, batch in labels.batches(columns):
        for column in columns:
            if column in found or column in exact:
                continue
            for label in batch.column(column).to_pylist():
                for image in by_name.get((label or "").rpartition("/")[2], ()):
                    if label == image:
                        exact.add(column)
                    elif label.endswith("/" + image):
                        found.setdefault(column, (label[: -len(image)], ""))
                    elif image.endswith("/" + label):
                        found.setdefault(column, ("", image[: -len(label)]))
        seen += len(batch)
        if seen >= SAMPLED_ROWS or len(found) + len(exact) == len(columns):
            break
    return {column: way for column, way in found.items() if column not in exact}


def is_key(kind: pa.DataType) -> bool:
    """Return whether values of a type can be the key of a pair: text or whole numbers."""
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    coded = pa.types.is_dictionary(kind) and is_key(kind.value_type)
    return bool(text or coded or pa.types.is_integer(kind))


def as_strings(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with all columns as strings."""
    columns = {name: batch.column(name).cast(pa.string()) for name in batch.schema.names}
    return pa.RecordBatch.from_pydict(columns)


def read_schema(path: Path) -> pa.Schema:
    """Return the columns of a parquet file.

    Raises:
        DataError: the file is missing or is no parquet.
    """
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path}: {in_words(error)}; expected a parquet file") from error


def in_words(error: Exception) -> str:
    """Return the reason of an error on one line."""
    if isinstance(error, OSError) and error.errno is not None:
        return reason(error)
    return " ".join(str(error).split())[:300] or type(error).__name__
