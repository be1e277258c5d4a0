"""Splits of somebody's own pairs: named by a column of the source, or drawn by a seeded hash of the image."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from robustcmr.data.folder import SPLIT_ORDER, in_order
from robustcmr.data.source_rows import single
from robustcmr.errors import DataError
from robustcmr.sources.names import listed, meant
from robustcmr.sources.records import Source
from robustcmr.sources.shards import below_root
from robustcmr.types import IntArray

logger = logging.getLogger("robustcmr")

USUAL = {"val": "dev", "valid": "dev", "validation": "dev", "training": "train", "testing": "test"}
"""Names that others give to the splits."""

DRAWN = "drawn"
"""What is given instead of a column to have splits drawn, whatever names say."""

COLUMN = "split"
"""Column that names splits where it holds ``train`` and nothing says otherwise."""

_MOST_NAMES = 20  # of splits; a column of more names something else


def drawn_splits(
    images: Iterable[str], shares: Mapping[str, float], most: int, seed: int
) -> dict[str, IntArray]:
    """Draw the images of each split by a hash of their keys: the same on every machine.

    Images stand in the order of BLAKE2b(seed, key), which is as good as random. The first belong to the
    first split, and so on; the rest belongs to ``train``. All captions of an image thus stay together, and
    adding pairs moves few images.

    Args:
        images: keys of m different images.
        shares: of the images by split, each in [0, 1), less than 1 in all.
        most: images that a split gets, at most.
        seed: >= 0.

    Returns:
        Ascending numbers of the images by split, ``train`` first.

    Raises:
        DataError: there are fewer images than splits.
    """
    start = hashlib.blake2b(f"{seed}\n".encode(), digest_size=8)

    def place(key: str) -> int:
        digest = start.copy()
        digest.update(key.encode("utf-8", "surrogatepass"))
        return int.from_bytes(digest.digest(), "big")

    places = np.fromiter((place(key) for key in images), np.uint64)
    order, found, at = np.argsort(places, kind="stable"), {}, 0
    asked = [name for name, share in shares.items() if share > 0]
    if len(order) <= len(asked):
        raise DataError(
            f"there are {len(order)} images for the splits train, {' and '.join(asked)}; give more pairs, or "
            "leave a split out, such as --set data.test=0"
        )
    for name in asked:
        size = min(most, max(1, round(shares[name] * len(order))))
        found[name] = np.sort(order[at : at + size])
        at += size
    if at >= len(order):
        raise DataError(
            f"no image of {len(order)} is left to train on with {_shown(shares)}; lower them, such as "
            "--set data.dev=0.1"
        )
    return {"train": np.sort(order[at:]), **found}


def _shown(shares: Mapping[str, float]) -> str:
    return " and ".join(f"data.{name}={share:g}" for name, share in shares.items())


def split_column(source: Source, given: str | None) -> str | None:
    """Return the column that names the split of each row: the one given, or a usual one; None without one.

    ``drawn`` asks for none.

    Raises:
        DataError: there is no such column.
    """
    names = source.schema().names
    if given == DRAWN and given not in names:
        return None
    if given is not None and given not in names:
        raise DataError(
            f"{source.root} has no column {given!r} of splits{meant(given, names)} (columns: {listed(names)})"
        )
    return given if given is not None or COLUMN not in names else COLUMN


def named_splits(
    source: Source, column: str, shards: IntArray, rows: IntArray, required: bool
) -> dict[str, IntArray] | None:
    """Return the pairs of each split that a column names.

    Args:
        source: the pairs.
        column: of texts such as ``train``; ``val``, ``valid`` and ``validation`` mean ``dev``.
        shards: (n,) shard of each pair.
        rows: (n,) row of each pair.
        required: whether the user named the column; otherwise one without ``train`` is no such column.

    Returns:
        Ascending numbers of the pairs by split, ``train`` first; None where the column is none of splits.

    Raises:
        DataError: ``required``, and the column does not name splits.
    """
    codes = np.empty(len(rows), np.int64)
    names: dict[str | None, int] = {}
    for shard in source.shards:
        parts = [batch.column(column) for batch in source.narrow(shard, 0, (column,))]
        here = np.flatnonzero(shards == shard.number)
        if not here.size:
            continue
        try:
            encoded = pc.dictionary_encode(pa.chunked_array(parts).cast(pa.string()), null_encoding="encode")
        except pa.ArrowException as error:
            if not required:
                return None
            raise DataError(
                f"the column {column!r} of {source.root} holds no text; expected names of splits, such as "
                "train, dev and test"
            ) from error
        encoded = single(encoded)
        own = encoded.dictionary.to_pylist()
        if len(own) > _MOST_NAMES:
            own, encoded = own[: _MOST_NAMES + 1], None
        place = np.array([names.setdefault(_meaning(name), len(names)) for name in own], np.int64)
        if encoded is None or len(names) > _MOST_NAMES:
            if not required:
                return None
            raise DataError(
                f"the column {column!r} of {source.root} holds more than {_MOST_NAMES} values, such as "
                f"{own[0]!r}; expected names of splits, such as train, dev and test"
            )
        codes[here] = place[encoded.indices.to_numpy(zero_copy_only=False)][rows[here]]
    if "train" not in names or None in names:
        if not required:
            return None
        lacks = "rows without a value" if None in names else "no 'train'"
        there = listed([str(name) for name in names if name is not None])
        raise DataError(
            f"the column {column!r} of {source.root} has {lacks} (it has {there}); expected a split in every "
            "row, 'train' among them"
        )
    known = [name for name in names if name is not None]
    return {name: np.flatnonzero(codes == names[name]) for name in in_order(known)}


def folder_splits(source: Source, shards: IntArray) -> dict[str, IntArray] | None:
    """Return the pairs of each split that the names of folders or files tell; None unless all tell one.

    ``web/train/0.parquet``, ``data/train-00000-of-00002.parquet`` and ``train_caps.txt`` are of ``train``.

    Args:
        source: the pairs.
        shards: (n,) shard of each pair.
    """
    names = [_of_path(below_root(source, shard)) for shard in source.shards]
    if None in names or "train" not in names or len(set(names)) < 2:
        return None
    known = in_order({str(name) for name in names})
    number = np.array([known.index(str(name)) for name in names], np.int64)[shards]
    found = {name: np.flatnonzero(number == place) for place, name in enumerate(known)}
    return {name: pairs for name, pairs in found.items() if len(pairs)}


def _of_path(path: Path) -> str | None:
    words = [*path.parts[:-1], re.split(r"[-_.]", path.name)[0]]
    told = {split for word in words if (split := _meaning(word)) in SPLIT_ORDER}
    return told.pop() if len(told) == 1 else None


def with_dev(
    splits: dict[str, IntArray],
    image_of_pair: IntArray,
    keys: Sequence[str],
    share: float,
    most: int,
    seed: int,
) -> dict[str, IntArray]:
    """Return named splits with a ``dev`` split, drawn from the images of ``train`` where there is none.

    Args:
        splits: pairs by split.
        image_of_pair: (n,) of all pairs.
        keys: of all images.
        share: of the training images; 0 draws none.
        most: images that it gets, at most.
        seed: of the draw.
    """
    if "dev" in splits or share == 0:
        return splits
    train = splits["train"]
    images, own = np.unique(image_of_pair[train], return_inverse=True)
    drawn = drawn_splits([keys[image] for image in images.tolist()], {"dev": share}, most, seed)
    is_dev = np.isin(own, drawn["dev"])
    rest = {name: pairs for name, pairs in splits.items() if name != "train"}
    return {"train": train[~is_dev], "dev": train[is_dev], **rest}


def _meaning(name: str | None) -> str | None:
    if name is None or not name.strip():
        return None
    plain = name.strip().lower()
    return USUAL.get(plain, plain)


def warn_of_leaks(root: object, splits: Mapping[str, IntArray], image_of_pair: IntArray, n: int) -> None:
    """Warn where an image belongs to several splits, so that what is measured is too good."""
    seen = np.zeros(n, np.int64)
    for pairs in splits.values():
        seen[np.unique(image_of_pair[pairs])] += 1
    if leaks := int((seen > 1).sum()):
        logger.warning(
            "%d images of %s are in more than one split, so the model is measured on images it has seen",
            leaks,
            root,
        )


def sizes(splits: Mapping[str, Sequence[int] | IntArray]) -> str:
    """Return how large splits are, such as ``train 900, dev 50``."""
    return ", ".join(f"{name} {len(found):,}" for name, found in splits.items())
