"""Read a source once: which pairs can be trained on, of which images, with which vectors and pictures."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from robustcmr.data.audited import Judged, read_judged
from robustcmr.data.source_pictures import (
    Pictures,
    SinglePictures,
    are_files,
    broken_files,
    file_pictures,
    has_pictures,
    packed_pictures,
)
from robustcmr.data.source_rows import BoolArray, SourceRows, read_rows, single
from robustcmr.data.source_vectors import positions, usable
from robustcmr.data.text_column import TextColumn
from robustcmr.sources.columns import is_text, value_type
from robustcmr.sources.pairs import pairs
from robustcmr.sources.records import Source
from robustcmr.sources.vectors import Vectors
from robustcmr.types import IntArray

logger = logging.getLogger("robustcmr")


@dataclass(frozen=True)
class ReadPairs:
    """The n pairs of a source that can be trained on, of m images.

    Attributes:
        ids: (n,) texts.
        captions: (n,) texts.
        shards: (n,) int64, shard of each pair.
        rows: (n,) int64, row of that shard.
        image_of_pair: (n,) int64, 0..m-1.
        keys: m keys of the images, by which they are split.
        names: m names of the images, for people: the key, or the id of the first pair where that is a hash.
        image_at: (m,) int64, the vector of each image; None where there are only pictures.
        text_at: (n,) int64, the vector of each caption; None without vectors.
        pictures: of the m images; None where the source brings none.
        judged: what an audit says of the n pairs; None without one.
    """

    ids: pa.Array
    captions: pa.Array
    shards: IntArray
    rows: IntArray
    image_of_pair: IntArray
    keys: TextColumn
    names: TextColumn
    image_at: IntArray | None
    text_at: IntArray | None
    pictures: Pictures | None
    judged: Judged | None


def read_pairs(
    source: Source,
    where: str | None,
    images: Vectors | None,
    texts: Vectors | None,
    audit: Path | None = None,
) -> ReadPairs:
    """Read the pairs of a source; those with a problem are left out, with a warning that counts them.

    Args:
        source: the pairs.
        where: SQL condition on its rows; all by default.
        images: vectors of the images. Without them every picture is decoded once.
        texts: vectors of the captions.
        audit: folder of an audit of these pairs.

    Raises:
        DataError: the source or the audit cannot be read, or no pair is left.
        ConfigError: the condition cannot be used.
        UserError: pictures in tars or tables cannot be copied to the cache.
    """
    files, with_pictures = are_files(source), has_pictures(source)
    rows = read_rows(source, where, need_pictures=images is None and files)
    judged = None if audit is None else read_judged(audit, rows.table["id"])
    own = _in_their_folders(rows) if files and with_pictures else single(rows.table["image"])
    images_of_rows, keys = _numbered(own)
    every = None if where is None else partial(_all_pairs, source)
    image_at = text_at = None
    if images is not None:
        image_at = _first_known(positions(images, rows, every), images_of_rows, len(keys))
        rows.leave_out(_of_rows(~usable(images, image_at), images_of_rows), "no image vector")
    if texts is not None:
        text_at = positions(texts, rows, every)
        rows.leave_out(~usable(texts, text_at), "no text vector")
    kept, numbers, first = _kept_images(rows, images_of_rows)
    pictures: Pictures | None = None
    broken: Mapping[int, str] = {}
    if with_pictures and len(kept):
        shards, places = rows.numbers("shard")[first], rows.numbers("row")[first]
        if files:
            pictures = found = file_pictures(source, TextColumn(single(rows.table["image"]), first), shards)
            broken = broken_files(found) if images is None else {}
        elif images is None:
            pictures, broken = packed_pictures(source, shards, places)
        else:
            pictures = SinglePictures(source, shards, places)
    if broken and pictures is not None:
        _leave_out_broken(rows, images_of_rows, numbers, broken, len(keys))
        kept, left, first = _kept_images(rows, images_of_rows)
        pictures, numbers = pictures.some(np.searchsorted(numbers, left)), left
    rows.report()
    table, place = rows.table, np.searchsorted(numbers, images_of_rows[kept])
    ids = single(table["id"])
    named = keys.take(pa.array(numbers)) if _has_names(source) else _plain(ids.take(pa.array(first)))
    return ReadPairs(
        ids.take(pa.array(kept)),
        single(table["caption"]).take(pa.array(kept)),
        rows.numbers("shard")[kept],
        rows.numbers("row")[kept],
        place.astype(np.int64),
        TextColumn(keys.take(pa.array(numbers))),
        TextColumn(named),
        None if image_at is None else image_at[numbers],
        None if text_at is None else text_at[kept],
        pictures,
        None if judged is None else judged.some(kept),
    )


def _all_pairs(source: Source) -> Iterator[pa.RecordBatch]:
    return chain.from_iterable(pairs(source, shard) for shard in source.shards)


def _in_their_folders(rows: SourceRows) -> pa.Array:
    """Return the names of picture files (n,), with their folder where several tables name files of their own.

    ``0.jpg`` of a table in ``train/`` is another picture than ``0.jpg`` of one in ``test/``.
    """
    images = single(rows.table["image"])
    folders = [rows.source.picture_folder(shard) for shard in rows.source.shards]
    if len(set(folders)) < 2:
        return images
    base = Path(os.path.commonpath([str(folder) for folder in folders]))
    names = ["" if folder in (None, base) else f"{os.path.relpath(str(folder), base)}/" for folder in folders]
    prefixes = pa.array(names, pa.large_string()).take(pa.array(rows.numbers("shard")))
    none = pa.scalar("", pa.large_string())
    elsewhere = pc.or_(pc.starts_with(images, "/"), pc.match_substring(images, "://"))
    return pc.binary_join_element_wise(pc.if_else(elsewhere, none, prefixes), images, none)


def _numbered(images: pa.Array) -> tuple[IntArray, pa.Array]:
    """Return the number of each pair's image (n,), by first appearance, -1 for none; and the keys."""
    encoded = pc.dictionary_encode(images)
    return np.asarray(encoded.indices.fill_null(-1)).astype(np.int64), encoded.dictionary


def _first_known(at: IntArray, images: IntArray, count: int) -> IntArray:
    """Return the vector of each image (count,): that of its first pair that has one; -1 where none has."""
    known = np.flatnonzero((at >= 0) & (images >= 0))
    numbers, first = np.unique(images[known], return_index=True)
    found = np.full(count, -1, np.int64)
    found[numbers] = at[known[first]]
    return found


def _of_rows(of_image: BoolArray, images: IntArray) -> BoolArray:
    """Return what holds for the image of each pair (n,); False where it has none."""
    found = np.zeros(len(images), np.bool_)
    found[images >= 0] = of_image[images[images >= 0]]
    return found


def _kept_images(rows: SourceRows, images: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return the pairs that are kept, their images in ascending order, and the first pair of each."""
    kept = np.flatnonzero(rows.kept)
    numbers, first = np.unique(images[kept], return_index=True)
    return kept, numbers, kept[first]


def _leave_out_broken(
    rows: SourceRows, images: IntArray, numbers: IntArray, broken: Mapping[int, str], count: int
) -> None:
    """Leave out the pairs whose picture cannot be read; the first reason is said."""
    wrong = np.zeros(count, np.bool_)
    wrong[numbers[list(broken)]] = True
    why = next(iter(broken.values()))
    rows.leave_out(_of_rows(wrong, images), f"unreadable picture, such as: {why}")


def _has_names(source: Source) -> bool:
    """Return whether keys of images say something to people; otherwise they are hashes of the pictures."""
    column = source.columns.image
    if column is None:
        return True
    return source.format != "webdataset" and is_text(value_type(source.schema().field(column).type))


def _plain(ids: pa.Array) -> pa.Array:
    """Ids of pairs without the number of the caption, as names of their images."""
    return pc.replace_substring_regex(ids, r"#\d+$", "")
