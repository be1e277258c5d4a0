"""Read a source once and say what is in it: columns, counts, samples and every problem."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from robustcmr.errors import DataError
from robustcmr.files import reason
from robustcmr.sources.pairs import NO_TEXT, pairs
from robustcmr.sources.records import Shard, Source

SAMPLES = 5
ADDRESS, NO_FILE = "only an address is known", "missing picture file"
"""No problems of the data where vectors are given: nothing is fetched, and a name need be that of no file."""

MOST_PROBLEMS = 100
"""Kinds of problems that are told apart; all others are counted together."""

_TABLE = "CREATE TABLE pairs(id VARCHAR, image UBIGINT, caption UBIGINT)"
_ADD = "INSERT INTO pairs SELECT id, hash(image), hash(caption) FROM batch"
_COUNTS = "SELECT count(DISTINCT image), count(DISTINCT caption) FROM pairs"
_REPEATED = "FROM (SELECT id, count(*) AS n FROM pairs GROUP BY id HAVING n > 1)"


@dataclass(frozen=True)
class SourceProblem:
    """Pairs with one problem; ``first`` says where the first of them is."""

    problem: str
    pairs: int
    first: str


@dataclass(frozen=True)
class Sample:
    """A pair as it is read."""

    id: str
    image: str
    caption: str


@dataclass(frozen=True)
class SourceReport:
    """What is in a source.

    Attributes:
        format: name of its format.
        files: number of its files.
        bytes: of all files.
        columns: of a row: name, type and role (image, text, id or "").
        says: what was guessed or made, one sentence each.
        pairs: number of pairs, those with problems included.
        images: number of different images among the pairs without a problem.
        captions: number of different captions among them.
        addresses: pairs whose picture is known by its address alone.
        names: pairs whose picture is known by a name alone, where no picture of the source is a file.
        samples: the first pairs without a problem.
        problems: most pairs first; files that cannot be read come last, with 0 pairs.
    """

    format: str
    files: int
    bytes: int
    columns: tuple[tuple[str, str, str], ...]
    says: tuple[str, ...]
    pairs: int
    images: int
    captions: int
    addresses: int
    names: int
    samples: tuple[Sample, ...]
    problems: tuple[SourceProblem, ...]

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with ``ok``."""
        columns = [{"name": name, "type": kind, "role": role or None} for name, kind, role in self.columns]
        return {"ok": self.ok, **asdict(self), "columns": columns}


@dataclass
class _Found:
    """What has been seen so far."""

    pairs: int = 0
    addresses: int = 0
    files: int = 0
    missing: int = 0
    missing_first: str = ""
    samples: list[Sample] = field(default_factory=list)
    problems: dict[str, tuple[int, str]] = field(default_factory=dict)  # number of pairs, first place

    def add(self, problem: str, count: int, first: str) -> None:
        if problem not in self.problems and len(self.problems) >= MOST_PROBLEMS:
            problem = "other problems"
        before, place = self.problems.get(problem, (0, first))
        self.problems[problem] = before + count, place


def check_source(source: Source, where: str | None = None, samples: int = SAMPLES) -> SourceReport:
    """Read all pairs of a source and report everything found; a damaged file never raises.

    Memory is bounded: what must be compared across pairs lies in a temporary file.

    Args:
        source: opened.
        where: condition of SQL over its columns; all rows by default.
        samples: most pairs to show, >= 0.

    Raises:
        UserError: the condition or a named column does not fit.
    """
    found = _Found()
    with tempfile.TemporaryDirectory(prefix="robustcmr-check-") as folder:
        config: dict[str, Any] = {"temp_directory": folder, "preserve_insertion_order": "false"}
        with duckdb.connect(str(Path(folder) / "pairs.duckdb"), config=config) as connection:
            connection.execute(_TABLE)
            for shard in source.shards:
                for sound in _read(source, shard, where, samples, found):
                    connection.register("batch", sound)
                    connection.execute(_ADD)
            ((images, captions),) = connection.execute(_COUNTS).fetchall()
            ((ids, again, first),) = connection.execute(
                f"SELECT count(*), sum(n - 1), min(id) {_REPEATED}"
            ).fetchall()
    if ids:
        found.add("repeated id", int(again), f"id {first}")
    if found.missing and found.files:
        found.add(NO_FILE, found.missing, found.missing_first)
    problems = [SourceProblem(name, count, first) for name, (count, first) in found.problems.items()]
    return SourceReport(
        format=source.format,
        files=len(source.shards),
        bytes=sum(shard.size for shard in source.shards),
        columns=tuple(_columns(source)),
        says=source.says,
        pairs=found.pairs,
        images=images,
        captions=captions,
        addresses=found.addresses,
        names=0 if found.files else found.missing,
        samples=tuple(found.samples),
        problems=tuple(sorted(problems, key=lambda problem: -problem.pairs)),
    )


def _read(
    source: Source, shard: Shard, where: str | None, samples: int, found: _Found
) -> Iterator[pa.RecordBatch]:
    """Yield the pairs of a shard without a problem, and note the others."""
    try:
        for batch in pairs(source, shard, where=where, need_pictures=True):
            found.pairs += batch.num_rows
            batch = _without_pictures(source, shard, batch, found)
            fits = pc.is_null(batch.column("problem"))
            _note_problems(source, shard, batch.filter(pc.invert(fits)), found)
            sound = batch.filter(fits)
            for row in sound.slice(0, samples - len(found.samples)).to_pylist():
                found.samples.append(Sample(row["id"], row["image"] or "", row["caption"]))
            yield sound
    except DataError as error:
        found.add(str(error), 0, _name(source, shard))
    except OSError as error:
        found.add(f"{shard.path}: {reason(error)}", 0, _name(source, shard))


def _without_pictures(source: Source, shard: Shard, batch: pa.RecordBatch, found: _Found) -> pa.RecordBatch:
    """Count pictures that are no files, and name only what else is wrong with their pairs."""
    problem = batch.column("problem")
    address = pc.equal(problem, ADDRESS).fill_null(False)
    missing = pc.equal(problem, NO_FILE).fill_null(False)
    found.addresses += pc.sum(address).as_py() or 0
    found.files += problem.null_count
    if count := pc.sum(missing).as_py() or 0:
        first = batch.filter(missing).column("row")[0]
        found.missing_first = found.missing_first or f"{_name(source, shard)} row {first}"
        found.missing += count
    captions = pc.utf8_trim_whitespace(batch.column("caption"))
    absent = pc.or_(pc.is_null(captions), pc.is_in(pc.utf8_lower(captions), pa.array(NO_TEXT)))
    none = pa.scalar(None, pa.string())
    other = pc.if_else(pc.equal(captions, "").fill_null(False), "empty caption", none)
    other = pc.if_else(absent, "missing caption", other)
    index = batch.schema.get_field_index("problem")
    changed = pc.if_else(pc.or_(address, missing), other, problem).cast(pa.string())
    return batch.set_column(index, batch.schema.field(index), changed)


def _note_problems(source: Source, shard: Shard, batch: pa.RecordBatch, found: _Found) -> None:
    if not batch.num_rows:
        return
    kinds = [text.partition(": ")[0] for text in batch.column("problem").to_pylist()]
    rows = batch.column("row").to_pylist()
    for kind in dict.fromkeys(kinds):
        first = rows[kinds.index(kind)]
        found.add(kind, kinds.count(kind), f"{_name(source, shard)} row {first}")


def _name(source: Source, shard: Shard) -> str:
    path, root = shard.path, source.root
    return path.relative_to(root).as_posix() if path != root and path.is_relative_to(root) else path.name


def _columns(source: Source) -> Iterator[tuple[str, str, str]]:
    chosen = source.columns
    roles = {chosen.image: "image", chosen.text: "text", chosen.id: "id"}
    for column in source.schema():
        yield column.name, str(column.type), roles.get(column.name, "")
