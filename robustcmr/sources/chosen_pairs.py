"""Chosen pairs of any source as rows of one form, to be written in another format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from robustcmr.errors import DataError, UserError
from robustcmr.sources.columns import is_bytes, is_picture_struct
from robustcmr.sources.pairs import to_pairs
from robustcmr.sources.records import PROBLEM, Picture, Shard, Source
from robustcmr.sources.shards import stem_of

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""A picture: its encoded file, and what names it."""

OWN = ("id", "image", "caption")
"""Columns that come first."""

_MOST_PICTURES = 256  # rows of a batch with pictures


class Chosen(Protocol):
    """Chosen pairs of a shard.

    Attributes:
        shard: its number.
        rows: (n,) ascending; a row of several captions may come several times.
        parts: (n,) which caption of the row, ascending within a row.
    """

    @property
    def shard(self) -> int:
        """Number of the shard."""

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Rows of the pairs."""

    @property
    def parts(self) -> npt.NDArray[np.int32]:
        """Parts of the pairs."""


def holds_pictures(source: Source) -> bool:
    """Return whether the files of a source hold pictures other than in the image column, as tars do."""
    if source.picture_folder(source.shards[0]) is not None:
        return False
    try:
        for _, picture in zip(range(16), source.pictures(source.shards[0]), strict=False):
            if picture.data is not None:
                return True
    except (UserError, NotImplementedError):  # there are none
        return False
    return False


def written_schema(source: Source, pictures: bool) -> pa.Schema:
    """Return the columns of :func:`chosen_batches`: id, image, caption, then all others of the source.

    A column of pictures stays as it is, with ``pictures`` too, where it holds bytes. Columns that hold id,
    caption, or what names the picture are not written twice; others of the names of the first three get
    ``_of_source`` after their name. The schema's metadata is that of the source; the features that the
    ``datasets`` library keeps there are those of columns that stay as they are.
    """
    schema = source.schema()
    image = _image_field(source, schema, pictures)
    own = [pa.field("id", pa.string()), image, pa.field("caption", pa.string())]
    others = [schema.field(name).with_name(written) for name, written in _others(source, schema).items()]
    metadata = {key: value for key, value in (schema.metadata or {}).items() if key != b"pandas"}
    result = pa.schema([*own, *(_filled(field) for field in others)])
    features = _features(source, schema, result)
    if features or b"huggingface" in metadata:
        metadata[b"huggingface"] = json.dumps({"info": {"features": features}}).encode()
    return result.with_metadata(metadata or None)


def _image_field(source: Source, schema: pa.Schema, pictures: bool) -> pa.Field:
    name = source.columns.image
    if name is not None and _holds_bytes(schema.field(name).type):
        return schema.field(name).with_name("image")
    return pa.field("image", PICTURE if pictures else pa.string())


def _holds_bytes(kind: pa.DataType) -> bool:
    return is_bytes(kind) or is_picture_struct(kind)


def _others(source: Source, schema: pa.Schema) -> dict[str, str]:
    """Names of the columns that are written beside the first three, in the source and as written."""
    columns = source.columns
    used = {columns.image, columns.text, columns.id, PROBLEM}
    return {name: f"{name}_of_source" if name in OWN else name for name in schema.names if name not in used}


def _filled(field: pa.Field) -> pa.Field:
    """A column without any value has a type that not every format knows; text is as good."""
    return field.with_type(pa.string()) if pa.types.is_null(field.type) else field


def _features(source: Source, before: pa.Schema, after: pa.Schema) -> dict[str, Any]:
    stated = json.loads((before.metadata or {}).get(b"huggingface", b"{}"))
    known = stated.get("info", {}).get("features", {}) if isinstance(stated, dict) else {}
    names = {written: name for name, written in _others(source, before).items()}
    if source.columns.image is not None and after.field("image").type != pa.string():
        names["image"] = source.columns.image
    features = {
        written: known[name]
        for written, name in names.items()
        if name in known and after.field(written).type == before.field(name).type
    }
    if after.field("image").type == PICTURE:
        features.setdefault("image", {"_type": "Image"})
    return features


def chosen_batches(
    source: Source, chosen: Iterable[Chosen], pictures: bool = False
) -> Iterator[pa.RecordBatch]:
    """Read chosen pairs as rows of :func:`written_schema`, in order.

    Args:
        source: that they are of.
        chosen: pairs, a shard at a time.
        pictures: whether to read the picture of each row where the image column does not hold it.

    Raises:
        DataError: a shard cannot be read, a chosen pair is not in it or has no picture, or a column has
            values of another type than in the first shard.
    """
    schema = written_schema(source, pictures)
    wanted = pictures and schema.field("image").type == PICTURE
    column = source.columns.image
    if column is not None and _holds_bytes(source.schema().field(column).type):
        wanted = False
    for one in chosen:
        if len(one.rows):
            yield from _of_shard(source, source.shards[one.shard], one, schema, wanted)


def _of_shard(
    source: Source, shard: Shard, one: Chosen, schema: pa.Schema, wanted: bool
) -> Iterator[pa.RecordBatch]:
    stem = stem_of(source, shard)
    opened = source.pictures(shard, np.unique(one.rows)) if wanted else None
    start, found = 0, 0
    for whole in source.batches(shard):
        for batch in _slices(whole, _MOST_PICTURES if wanted else len(whole)):
            low, high = np.searchsorted(one.rows, (start, start + len(batch)))
            rows = np.unique(one.rows[low:high])
            if len(rows):
                kept = batch.take(pa.array(rows - start))
                pairs = to_pairs(source, shard.number, stem, kept, rows)
                at = _positions(pairs, one.rows[low:high], one.parts[low:high])
                files = None if opened is None else [next(opened) for _ in rows]
                yield _written(source, shard, kept, rows, pairs.take(pa.array(at)), schema, files)
                found += len(at)
            start += len(batch)
    if found != len(one.rows):
        raise DataError(
            f"{shard.path} has {found:,} of the {len(one.rows):,} pairs to write; it has changed since it "
            "was audited, audit it again"
        )


def _slices(batch: pa.RecordBatch, size: int) -> Iterator[pa.RecordBatch]:
    for at in range(0, len(batch), max(1, size)):
        yield batch.slice(at, size)


def _positions(
    pairs: pa.RecordBatch, rows: npt.NDArray[np.int64], parts: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """Where chosen pairs stand in a batch."""
    there = np.stack([pairs.column("row").to_numpy(), pairs.column("part").to_numpy()], axis=1)
    scale = 1 + int(max(there[:, 1].max(), parts.max(initial=0)))
    return np.flatnonzero(np.isin(there[:, 0] * scale + there[:, 1], rows * scale + parts))


def _written(
    source: Source,
    shard: Shard,
    kept: pa.RecordBatch,
    rows: npt.NDArray[np.int64],
    pairs: pa.RecordBatch,
    schema: pa.Schema,
    files: list[Picture] | None,
) -> pa.RecordBatch:
    parents = pa.array(np.searchsorted(rows, pairs.column("row").to_numpy()))
    columns = {"id": pairs.column("id"), "image": pairs.column("image"), "caption": pairs.column("caption")}
    name = source.columns.image
    if files is not None:
        columns["image"] = _pictures(shard, pairs, files, parents)
    elif name is not None and schema.field("image").type != pa.string():
        columns["image"] = kept.column(name).take(parents)
    for before, written in _others(source, source.schema()).items():
        columns[written] = kept.column(before).take(parents)
    try:
        arrays = [columns[field.name].cast(field.type) for field in schema]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        said = str(error).splitlines()[0]
        raise DataError(
            f"{shard.path} has columns of other types than {source.shards[0].path} ({said}); write them in "
            "the format of the source, or give files of the same types"
        ) from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _pictures(shard: Shard, pairs: pa.RecordBatch, files: list[Picture], parents: pa.Array) -> pa.Array:
    """The pictures of pairs; one that cannot be read is an error, as a pair without it is none."""
    for file in files:
        if file.data is None:
            raise DataError(
                f"row {file.row} of {shard.path} has no picture ({file.problem}), which this format holds; "
                "leave that pair out, or write parquet, csv or jsonl"
            )
    data = pa.array([file.data for file in files], pa.binary()).take(parents)
    return pa.StructArray.from_arrays([data, pairs.column("image")], fields=list(PICTURE))
