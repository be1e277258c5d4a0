"""Pictures of somebody's own pairs in any order: from their files, or from a copy of what a source packs."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from noise_injection.reading import load_arrays
from robustcmr.data.cache import cache_root
from robustcmr.data.fingerprint import ends_of_file
from robustcmr.data.images import broken_pictures
from robustcmr.data.picture_files import (
    PictureError,
    decode_picture,
    find_picture,
    open_picture,
    unreadable,
)
from robustcmr.errors import DataError
from robustcmr.files import reason, regular_file, write_with
from robustcmr.sources.columns import is_text, value_type
from robustcmr.sources.fingerprint import fingerprint
from robustcmr.sources.records import Picture, Source
from robustcmr.types import IntArray

logger = logging.getLogger("robustcmr")

_AT_ONCE = 64  # pictures in memory while a source is copied


@dataclass(frozen=True)
class PictureFiles:
    """Pictures in files of their own.

    Attributes:
        folder: that all of them are below, resolved.
        names: of the n files, relative to it.
    """

    folder: Path
    names: Sequence[str]

    def __call__(self, image: int) -> Image.Image:
        """Return picture ``image``, upright and in RGB.

        Raises:
            DataError: it cannot be read.
        """
        try:
            return open_picture(self.folder, self.names[image])
        except PictureError as error:
            raise unreadable(self.names[image], error) from error

    def some(self, images: IntArray) -> PictureFiles:
        """Return some of the pictures, (k,)."""
        return PictureFiles(self.folder, [self.names[image] for image in images.tolist()])

    def digest(self, image: int) -> bytes:
        """Return a hash of a picture's file."""
        try:
            return ends_of_file(find_picture(self.folder, self.names[image]))
        except (PictureError, OSError) as error:
            raise unreadable(self.names[image], error) from error


@dataclass(frozen=True)
class PackedPictures:
    """Pictures in one file, one behind the other.

    Attributes:
        path: the file.
        places: (n, 2) int64, first byte and number of bytes of each picture.
    """

    path: Path
    places: IntArray

    def __call__(self, image: int) -> Image.Image:
        """Return picture ``image``, upright and in RGB.

        Raises:
            DataError: it cannot be read.
        """
        try:
            return decode_picture(self._read(image))
        except PictureError as error:
            raise unreadable(f"{image} of {self.path}", error) from error

    def some(self, images: IntArray) -> PackedPictures:
        """Return some of the pictures, (k,)."""
        return PackedPictures(self.path, self.places[images])

    def digest(self, image: int) -> bytes:
        """Return a hash of a picture's file."""
        return hashlib.sha256(self._read(image)).digest()

    def _read(self, image: int) -> bytes:
        start, size = self.places[image].tolist()
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(start)
                data = file.read(size)
        except OSError as error:
            raise DataError(
                f"cannot read {self.path}: {reason(error)}; train again to copy it anew"
            ) from error
        if len(data) < size:
            raise DataError(f"{self.path} became shorter while it was read; train again to copy it anew")
        return data


@dataclass(frozen=True)
class SinglePictures:
    """Pictures read one at a time from the source itself: for the few that a report shows.

    Attributes:
        source: the pairs.
        shards: (n,) shard of each picture.
        rows: (n,) row of each picture.
    """

    source: Source
    shards: IntArray
    rows: IntArray

    def __call__(self, image: int) -> Image.Image:
        """Return picture ``image``, upright and in RGB.

        Raises:
            DataError: it cannot be read.
        """
        shard = self.source.shards[int(self.shards[image])]
        row = self.rows[image : image + 1]
        name = f"of row {int(row[0])} of {shard.path}"
        found = next(iter(self.source.pictures(shard, row)), Picture(int(row[0]), None, "it is gone"))
        if found.data is None:
            raise unreadable(name, PictureError(found.problem or "it is missing"))
        try:
            return decode_picture(found.data)
        except PictureError as error:
            raise unreadable(name, error) from error

    def some(self, images: IntArray) -> SinglePictures:
        """Return some of the pictures, (k,)."""
        return SinglePictures(self.source, self.shards[images], self.rows[images])


Pictures = PictureFiles | PackedPictures | SinglePictures


def has_pictures(source: Source) -> bool:
    """Return whether a source brings the picture of one of its first rows, rather than addresses or none."""
    for shard in source.shards[:1]:
        known = 64 if shard.rows is None else min(shard.rows, 64)
        try:
            return any(found.data is not None for found in source.pictures(shard, np.arange(known)))
        except DataError:  # no column of images
            return False
    return False


def are_files(source: Source) -> bool:
    """Return whether the column of images names files."""
    column = source.columns.image
    if column is None or any(source.picture_folder(shard) is None for shard in source.shards):
        return False
    return is_text(value_type(source.schema().field(column).type))


def file_pictures(source: Source, keys: Sequence[str], shards: IntArray) -> PictureFiles:
    """Return pictures of a source whose images name files.

    Args:
        source: the pairs.
        keys: names of n images.
        shards: (n,) shard that names each of them first.
    """
    folders = {shard.number: source.picture_folder(shard) or Path() for shard in source.shards}
    # tables may name any file of the machine; a folder of pictures only files in it
    base = source.root.resolve() if source.format == "picture-folder" else Path(Path.cwd().anchor)
    names = [_relative(folders[shard] / key, base) for key, shard in zip(keys, shards.tolist(), strict=True)]
    return PictureFiles(base, names)


def _relative(path: Path, base: Path) -> str:
    """Return a path relative to a folder above it, or as it is where it leads elsewhere."""
    whole = os.path.normpath(path.absolute())
    try:
        return str(Path(whole).relative_to(base))
    except ValueError:  # through a link, or outside
        return os.path.relpath(Path(whole).resolve(), base)


def broken_files(pictures: PictureFiles) -> dict[int, str]:
    """Return why some of the pictures cannot be read, by number; see :func:`broken_pictures`."""
    broken = broken_pictures(pictures.folder, pictures.names)
    return {image: broken[name] for image, name in enumerate(pictures.names) if name in broken}


def packed_pictures(
    source: Source, shards: IntArray, rows: IntArray
) -> tuple[PackedPictures, dict[int, str]]:
    """Copy pictures that lie in tars or tables to one file in the user's cache, where training reads any.

    The copy takes as many bytes as the pictures do, and is made once. Each picture is decoded on the way.

    Args:
        source: the pairs.
        shards: (n,) shard of each picture.
        rows: (n,) row of each picture.

    Returns:
        The pictures, and why some of them cannot be read, by number.

    Raises:
        DataError: the source cannot be read.
        UserError: the copy cannot be written.
    """
    about = json.dumps([fingerprint(source), source.columns.image], sort_keys=True, default=str)
    places = np.stack([shards, rows]).astype("<i8").tobytes()
    folder = cache_root() / "pictures" / hashlib.sha256(about.encode() + places).hexdigest()[:24]
    data, index = folder / "pictures.bin", folder / "index.npz"
    known = _known(data, index, len(rows))
    if known is None:
        logger.info(
            "copying the pictures of %s to %s, as training reads them in random order", source.root, data
        )
        known = _copy(source, shards, rows, data, index)
    where, problems = known
    return PackedPictures(data, where), problems


def _known(data: Path, index: Path, count: int) -> tuple[IntArray, dict[int, str]] | None:
    """Return the places and problems of a copy that is whole; None of any other."""
    try:
        with regular_file(index) as file:
            arrays: Any = load_arrays(file)
            places, problems = arrays["places"], json.loads(bytes(arrays["problems"]))
        if places.shape != (count, 2) or data.stat().st_size != int(places[:, 1].sum()):
            return None
        return places.astype(np.int64), {int(image): str(why) for image, why in problems.items()}
    except Exception:  # none yet, or damaged: it is made again
        return None


def _copy(
    source: Source, shards: IntArray, rows: IntArray, data: Path, index: Path
) -> tuple[IntArray, dict[int, str]]:
    places = np.zeros((len(rows), 2), np.int64)
    problems: dict[int, str] = {}

    def write(file: Any) -> None:
        at = 0
        with ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
            found = _in_order(source, shards, rows)
            while some := list(islice(found, _AT_ONCE)):
                reasons = pool.map(_why, [picture for _, picture in some])
                for (image, picture), why in zip(some, reasons, strict=True):
                    if why is not None or picture.data is None:
                        problems[image] = why or "it is missing"
                        continue
                    file.write(picture.data)
                    places[image] = at, len(picture.data)
                    at += len(picture.data)

    data.parent.mkdir(parents=True, exist_ok=True)
    write_with(data, write)
    named: Mapping[int, str] = problems
    words = np.frombuffer(json.dumps(named).encode(), np.uint8)
    write_with(index, lambda file: np.savez(file, places=places, problems=words))  # last: the copy is whole
    return places, problems


def _in_order(source: Source, shards: IntArray, rows: IntArray) -> Iterator[tuple[int, Picture]]:
    """Yield the pictures in the order of the source, each with its number."""
    for shard in source.shards:
        here = np.flatnonzero(shards == shard.number)
        here = here[np.argsort(rows[here], kind="stable")]
        if here.size:
            yield from zip(here.tolist(), source.pictures(shard, rows[here]), strict=True)


def _why(picture: Picture) -> str | None:
    """Return why a picture cannot be used; None if it can."""
    if picture.data is None:
        return picture.problem or "it is missing"
    try:
        decode_picture(picture.data)
    except PictureError as error:
        return str(error)
    return None
