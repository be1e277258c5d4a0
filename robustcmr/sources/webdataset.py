"""WebDataset tars: a sample is a picture, a caption and notes in JSON under one key.

Archives are read from beginning to end, never unpacked. The caption is that of ``.txt`` or ``.caption``, or a
field of ``.json``; the key of a picture is the hash of its bytes, so that equal pictures are known as such.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from robustcmr.errors import DataError
from robustcmr.files import LARGEST_JSON, atomic_file, parse_json
from robustcmr.sources import parquet
from robustcmr.sources.columns import choose
from robustcmr.sources.records import PROBLEM, Columns, Picture, Shard, Source
from robustcmr.sources.shards import copy_path, files_below, make_shards, root_of
from robustcmr.sources.tables import LARGEST_PICTURE, check_mask
from robustcmr.sources.tar_files import SUFFIXES, Sample, copy_ranges, merged, opened_tar, samples

PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
CAPTIONS = ("txt", "caption", "text")
KEY, IMAGE, TEXT = "__key__", "__image__", "txt"

_ROWS = 4096  # of a batch
_SAMPLED = 64  # samples whose notes tell which fields there are


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether the paths are tars, or folders with tars."""
    return all(bool(files_below([path], SUFFIXES)) if path.is_dir() else _is_tar(path) for path in paths)


def open(paths: Sequence[Path], columns: Columns) -> WebDataset:
    """Open tars of samples.

    Args:
        paths: tars, plain or compressed by gzip, or folders of them.
        columns: fields of the notes in JSON may be named, and ``txt``, ``__key__`` and ``__image__``.

    Raises:
        DataError: there is none, the first cannot be read, or a named field does not exist.
    """
    files = files_below(paths, SUFFIXES)
    if not files:
        raise DataError(f"{paths[0]} has no tars; expected names that end in {' or '.join(SUFFIXES)}")
    fields, has_text = _fields(files[0])
    schema = _schema(fields)
    if columns.text is None and has_text:
        columns = Columns(columns.image, TEXT, columns.id)
    chosen, says = choose(schema, columns, files[0])
    beside = [path for path in files if _sidecar(path).is_file()]
    if beside:
        says += (
            "Tables beside the tars, as of img2dataset, are written back with the rows of the keys kept; "
            "statistics (_stats.json) are not, as they no longer hold.",
        )
    shards = make_shards(files, [None] * len(files))
    return WebDataset(root_of(paths, files), shards, chosen, says, {"fields": fields})


@dataclass(frozen=True)
class WebDataset(Source):
    """Tars of samples, a row a sample."""

    format: ClassVar[str] = "webdataset"

    def schema(self) -> pa.Schema:
        """Return key, picture and caption of samples, and the fields of the notes of the first ones."""
        return _schema(self.options["fields"])

    def batches(self, shard: Shard, start: int = 0) -> Iterator[pa.RecordBatch]:
        """See :meth:`Source.batches`; fields of another type than in the first samples are null."""
        return self.narrow(shard, start, self.schema().names)

    def narrow(self, shard: Shard, start: int, names: Collection[str]) -> Iterator[pa.RecordBatch]:
        """See :meth:`Source.narrow`; pictures are read only for the column ``__image__``."""
        fields = [field for field in self.schema() if field.name in names]
        notes = any(field.name not in (KEY, IMAGE, TEXT) for field in fields)
        wanted = {*(CAPTIONS if TEXT in names else ()), *(("json",) if notes else ())}

        def read(suffix: str, content: BinaryIO) -> Any:
            if _is_picture(suffix):
                return _hash(content) if IMAGE in names else None
            return content.read(LARGEST_JSON + 1) if suffix in wanted else None

        with opened_tar(shard.path) as file:
            rows = itertools.islice(_rows(file, read), start, None)
            while part := list(itertools.islice(rows, _ROWS)):
                yield _batch(part, fields)

    def pictures(self, shard: Shard, rows: npt.NDArray[np.int64] | None = None) -> Iterator[Picture]:
        """See :meth:`Source.pictures`."""
        wanted = None if rows is None else iter(rows.tolist())
        row, following = 0, 0 if wanted is None else next(wanted, -1)

        def read(suffix: str, content: BinaryIO) -> bytes | None:
            return content.read(LARGEST_PICTURE + 1) if row == following and _is_picture(suffix) else None

        with opened_tar(shard.path) as file:
            for sample in _rows(file, read):
                if row == following:
                    yield _picture(row, sample)
                    following = row + 1 if wanted is None else next(wanted, -1)
                row += 1
                if following < 0:
                    return

    def write(self, shard: Shard, keep: npt.NDArray[np.bool_], to: Path) -> tuple[Path, ...]:
        """Write the members of samples to keep, byte for byte, and the table beside the tar for their keys.

        Members that belong to no sample are written too.

        Raises:
            DataError: a sample to keep is damaged, or the tar has changed.
        """
        path = copy_path(self, shard, to)
        ranges: list[tuple[int, int]] = []
        keys: list[str] = []
        row, whole = 0, True
        with opened_tar(shard.path) as file:
            for sample in samples(file, _skip):
                if sample.other:
                    ranges += sample.ranges
                    continue
                if row < len(keep) and keep[row]:
                    if sample.damaged:
                        raise DataError(
                            f"cannot keep row {row} of {shard.path}: {sample.problem}; leave it out"
                        )
                    ranges += sample.ranges
                    keys.append(str(sample.key))
                whole &= row < len(keep) and bool(keep[row])
                row += 1
        check_mask(keep, row, shard.path)
        with opened_tar(shard.path) as file, atomic_file(path) as target:
            if path.suffix == ".tar":
                copy_ranges(file, merged(ranges), target, whole)
            else:
                with gzip.GzipFile("", "wb", 6, target, 0) as packed:
                    copy_ranges(file, merged(ranges), cast(BinaryIO, packed), whole)
        sidecar = _sidecar(shard.path)
        return (path, *(_write_sidecar(self, sidecar, keys, to) if sidecar.is_file() else ()))


def _rows(file: BinaryIO, read: Any) -> Iterator[Sample]:
    return (sample for sample in samples(file, read) if not sample.other)


def _skip(suffix: str, content: BinaryIO) -> None:
    """Read nothing of a member."""
    del suffix, content


def _is_picture(suffix: str) -> bool:
    return suffix.rpartition(".")[2] in PICTURES


def _hash(content: BinaryIO) -> str | None:
    """Return the hash of a picture's bytes; None where there are none."""
    digest, size = hashlib.blake2b(digest_size=16), 0
    while block := content.read(1 << 20):
        digest.update(block)
        size += len(block)
    return digest.hexdigest() if size else None


def _picture(row: int, sample: Sample) -> Picture:
    found = _first(sample, PICTURES, inner=True)
    if sample.problem is not None:
        return Picture(row, None, sample.problem)
    if not found:
        return Picture(row, None, "missing image" if found is None else "empty picture file")
    if len(found) > LARGEST_PICTURE:
        return Picture(row, None, f"its picture has more than {LARGEST_PICTURE:,} bytes")
    return Picture(row, found)


def _first(sample: Sample, suffixes: Sequence[str], inner: bool = False) -> Any:
    """Return what the first of these suffixes holds; with ``inner`` also those such as ``left.jpg``."""
    for suffix in suffixes:
        if suffix in sample.parts:
            return sample.parts[suffix]
    inside = (part for suffix, part in sample.parts.items() if suffix.rpartition(".")[2] in suffixes)
    return next(inside, None) if inner else None


def _batch(part: Sequence[Sample], fields: Sequence[pa.Field]) -> pa.RecordBatch:
    """Return samples as rows."""
    rows = [_row(sample) for sample in part]
    arrays = [
        pa.array([_fitting(row.get(field.name), field.type) for row in rows], field.type) for field in fields
    ]
    problems = pa.array([row[PROBLEM] for row in rows], pa.string())
    if not fields and problems.null_count == len(problems):  # rows are only counted
        return pa.record_batch([problems], [PROBLEM]).select([])
    schema = pa.schema(list(fields))
    if problems.null_count < len(problems):
        arrays.append(problems)
        schema = schema.append(pa.field(PROBLEM, pa.string()))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _row(sample: Sample) -> dict[str, Any]:
    problem = sample.problem
    notes, text = _first(sample, ("json",)), _first(sample, CAPTIONS)
    row: dict[str, Any] = {}
    if notes is not None:
        try:
            row = _notes(notes)
        except ValueError as error:
            problem = problem or f"its .json cannot be read ({str(error)[:80]})"
    if text is not None:
        try:
            row[TEXT] = text.decode("utf-8-sig")
        except UnicodeDecodeError:
            problem = problem or "its caption is not UTF-8 text"
    key = None if sample.key is None else sample.key.encode("utf-8", "backslashreplace").decode()
    return {**row, KEY: key, IMAGE: _first(sample, PICTURES, inner=True), PROBLEM: problem}


def _notes(content: bytes) -> dict[str, Any]:
    if len(content) > LARGEST_JSON:
        raise ValueError(f"it has more than {LARGEST_JSON:,} bytes")
    value = parse_json(content.decode("utf-8-sig"))
    if not isinstance(value, dict):
        raise ValueError("it is no mapping of names to values")
    return value


def _fitting(value: Any, kind: pa.DataType) -> Any:
    """Return a value of the notes as one of a type; None where it is of another."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else json.dumps(value)
    if pa.types.is_list(kind):
        return value if _kind(value) == kind else None
    if pa.types.is_boolean(kind):
        return value if isinstance(value, bool) else None
    numbers = int if pa.types.is_integer(kind) else (int, float)
    return value if isinstance(value, numbers) and not isinstance(value, bool) else None


def _kind(value: Any) -> pa.DataType:
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64()
    if isinstance(value, float):
        return pa.float64()
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return pa.list_(pa.string())
    if isinstance(value, list) and value and {type(each) for each in value} <= {int, float}:
        return pa.list_(pa.float64())  # a vector
    return pa.string()


def _fields(path: Path) -> tuple[dict[str, pa.DataType], bool]:
    """Return the fields of the notes of the first samples, and whether captions are members of their own."""
    kinds: dict[str, set[pa.DataType]] = {}
    has_text = False

    def read(suffix: str, content: BinaryIO) -> Any:
        return content.read(LARGEST_JSON + 1) if suffix == "json" else None

    with opened_tar(path) as file:
        for sample in itertools.islice(_rows(file, read), _SAMPLED):
            has_text |= any(suffix in sample.parts for suffix in CAPTIONS)
            try:
                notes = _notes(_first(sample, ("json",)) or b"{}")
            except ValueError:
                continue
            for name, value in notes.items():
                found = kinds.setdefault(name, set())
                if value is not None:
                    found.add(_kind(value))
    fields = {
        name: _common(found) for name, found in kinds.items() if name not in (KEY, IMAGE, TEXT, PROBLEM)
    }
    return fields, has_text


def _common(kinds: set[pa.DataType]) -> pa.DataType:
    if len(kinds) == 1:
        return next(iter(kinds))
    return pa.float64() if kinds == {pa.int64(), pa.float64()} else pa.string()


def _schema(fields: Mapping[str, pa.DataType]) -> pa.Schema:
    own = [(KEY, pa.string()), (IMAGE, pa.string()), (TEXT, pa.string())]
    return pa.schema([*own, *fields.items()])


def _is_tar(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def _sidecar(path: Path) -> Path:
    """Return the table that img2dataset writes beside a tar."""
    return path.with_name(path.name.partition(".tar")[0] + ".parquet")


def _write_sidecar(source: WebDataset, path: Path, keys: Sequence[str], to: Path) -> tuple[Path, ...]:
    """Write the rows of the table beside a tar whose keys are kept; none where it has no keys."""
    table = parquet.open([path], Columns(text="key"))
    if "key" not in table.schema().names:
        return ()
    names = pa.array([key.rpartition("/")[2] for key in keys], pa.string())
    shard = table.shards[0]
    found = [
        pc.is_in(batch.column(0).cast(pa.string()), value_set=names).to_numpy(zero_copy_only=False)
        for batch in table.narrow(shard, 0, ("key",))
    ]
    keep = np.concatenate([np.empty(0, np.bool_), *found])
    root = source.root if source.root.is_dir() else source.root.parent
    return parquet.Parquet(root, table.shards, table.columns).write(shard, keep, to)
