"""Folders of arrays: vectors in ``.npy`` files, captions a line each in a text file beside them.

Two layouts are read. One is ``images.npy``, ``texts.npy`` and ``captions.txt``. The other is that of the
project's precomputed data, which may hold several splits: ``train_ims.npy`` (N, D) or (N, 1, D),
``train_txts.npy``, ``train_caps.txt`` and ``train_ids.txt``. Images may be one a caption, or one for the same
number of consecutive captions each; identifiers, one a caption, may say otherwise.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from robustcmr.errors import DataError
from robustcmr.files import atomic_file, reason, regular_file
from robustcmr.sources.array_files import check_held, open_npy, write_rows
from robustcmr.sources.clip_layout import Side
from robustcmr.sources.records import Columns, Picture, Shard, Source
from robustcmr.sources.shards import copy_path, natural

CAPTIONS = ("captions.txt", "texts.txt")
SUFFIX = "_caps.txt"
SCHEMA = pa.schema([("image", pa.string()), ("caption", pa.string())])

_LINES = 1 << 14  # rows of a batch
_NUMBERED = re.compile(r"(.+)#\d+")  # a caption of a picture, as in Flickr's files: 1000268201.jpg#0
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class ArrayFiles:
    """The files of one split.

    Attributes:
        captions: a caption a line.
        images, texts: vectors, which may be missing.
        ids: identifiers of the captions or of the images, a line each, which may be missing.
        name: of the split; empty where the folder has one set of files.
    """

    captions: Path
    images: Path
    texts: Path
    ids: Path
    name: str

    def vectors(self, side: Side) -> Path:
        """Return the file of the vectors of a side."""
        return self.images if side == "image" else self.texts


def array_files(captions: Path) -> ArrayFiles:
    """Return the files that go with a file of captions, whether they exist or not."""
    folder = captions.parent
    if captions.name in CAPTIONS:
        return ArrayFiles(captions, folder / "images.npy", folder / "texts.npy", folder / "images.txt", "")
    split = captions.name.removesuffix(SUFFIX)
    images, texts, ids = (folder / f"{split}{end}" for end in ("_ims.npy", "_txts.npy", "_ids.txt"))
    return ArrayFiles(captions, images, texts, ids, split)


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether the paths are one folder of this layout."""
    return len(paths) == 1 and paths[0].is_dir() and bool(_captions_of(paths[0]))


def open(paths: Sequence[Path], columns: Columns) -> Arrays:
    """Open a folder of arrays and captions.

    Raises:
        DataError: the folder has no captions, or the numbers of images and captions do not fit.
    """
    del columns  # the layout itself says
    if not recognises(paths):
        raise DataError(
            f"{paths[0]} is no folder of arrays; expected one with captions.txt, images.npy and texts.npy, "
            "or with train_caps.txt and train_ims.npy"
        )
    folder = paths[0]
    shards, says, each = [], list[str](), list[int]()
    for number, path in enumerate(_captions_of(folder)):
        try:
            shards.append(Shard(number, path, _count_lines(path), path.stat().st_size))
        except OSError as error:
            raise DataError(f"cannot read {path}: {reason(error)}") from error
        files = array_files(path)
        one, said = _captions_an_image(files, shards[-1].rows or 0)
        each.append(one)
        says += said
    options = {"each": tuple(each)}
    sides: tuple[Side, ...] = ("image", "text")
    for side in sides:
        if all(array_files(shard.path).vectors(side).is_file() for shard in shards):
            options[f"{side}_vectors"] = str(folder)  # type: ignore[assignment]
    return Arrays(folder, tuple(shards), Columns("image", "caption"), tuple(says), options)


@dataclass(frozen=True)
class Arrays(Source):
    """A folder of arrays and captions, a row a caption."""

    format: ClassVar[str] = "npy"

    def schema(self) -> pa.Schema:
        """See :meth:`Source.schema`."""
        return SCHEMA

    def batches(self, shard: Shard, start: int = 0) -> Iterator[pa.RecordBatch]:
        """See :meth:`Source.batches`."""
        split = array_files(shard.path).name
        before = (
            f"{split}/" if split and len(self.shards) > 1 else ""
        )  # names may come again in another split
        images = (before + name for name in self._images(shard))
        named = zip(images, _lines(shard.path), strict=False)
        rows = itertools.islice(named, start, None)
        while part := list(itertools.islice(rows, _LINES)):
            names, captions = zip(*part, strict=True)
            yield pa.RecordBatch.from_arrays(
                [pa.array(names, pa.string()), pa.array(map(_text, captions), pa.string())], schema=SCHEMA
            )

    def _images(self, shard: Shard) -> Iterator[str]:
        """Name the image of each caption: by its identifier, or by its number."""
        files, each = array_files(shard.path), self.options["each"][shard.number]
        if files.ids.is_file():
            names = map(_text, _lines(files.ids))
            yield from (map(_picture, names) if each < 2 else (name for name in names for _ in range(each)))
            return
        yield from (str(row // each) for row in itertools.count())

    def pictures(self, shard: Shard, rows: npt.NDArray[np.int64] | None = None) -> Iterator[Picture]:
        """Report of each row that this format has no picture files."""
        wanted = range(shard.rows or 0) if rows is None else rows.tolist()
        for row in wanted:
            yield Picture(row, None, "a folder of arrays holds no pictures")

    def write(self, shard: Shard, keep: npt.NDArray[np.bool_], to: Path) -> tuple[Path, ...]:
        """Write the captions to keep byte for byte, and the vectors that go with them.

        Images of which no caption is kept are left out. Where images then differ in their number of captions,
        an identifier a caption says which image each belongs to.
        """
        files, each = array_files(shard.path), self.options["each"][shard.number]
        target = copy_path(self, shard, to)
        copies = array_files(target)
        written = [target]
        images = open_npy(files.images) if files.images.is_file() else None
        texts = open_npy(files.texts) if files.texts.is_file() else None
        kept_images = keep
        if images is not None and images.shape[0] != len(keep):
            kept_images = self._kept_images(shard, keep, images.shape[0])
        with atomic_file(target) as file:
            _copy_lines(shard.path, keep, file)
        for part, kept, path in ((images, kept_images, copies.images), (texts, keep, copies.texts)):
            if part is not None:
                check_held(part, kept)
                with atomic_file(path) as file:
                    write_rows(part, kept, file)
                written.append(path)
        if files.ids.is_file() or (each > 1 and not keep.all()):
            with atomic_file(copies.ids) as file:
                self._write_ids(shard, keep, file)
            written.append(copies.ids)
        return tuple(written)

    def _write_ids(self, shard: Shard, keep: npt.NDArray[np.bool_], file: BinaryIO) -> None:
        files, each = array_files(shard.path), self.options["each"][shard.number]
        if each < 2:
            _copy_lines(files.ids, keep, file)
        elif keep.all():
            _copy_lines(files.ids, keep[::each], file)
        else:
            for image, kept in zip(self._images(shard), keep.tolist(), strict=False):
                if kept:
                    file.write(f"{image}\n".encode("utf-8", "backslashreplace"))

    def _kept_images(self, shard: Shard, keep: npt.NDArray[np.bool_], rows: int) -> npt.NDArray[np.bool_]:
        """Return which images have a caption to keep."""
        kept = np.zeros(rows, np.bool_)
        number, last = -1, None
        each = self.options["each"][shard.number]
        for row, image in enumerate(itertools.islice(self._images(shard), len(keep))):
            number = row // each if each else number + (image != last)
            last = image
            kept[number] |= keep[row]
        return kept


def _captions_of(folder: Path) -> list[Path]:
    plain = [folder / name for name in CAPTIONS if (folder / name).is_file()]
    if plain and any((folder / name).is_file() for name in ("images.npy", "texts.npy")):
        return plain[:1]
    splits = [path for path in folder.glob(f"*{SUFFIX}") if array_files(path).images.is_file()]
    return sorted(splits, key=lambda path: natural(path.name))


def _captions_an_image(files: ArrayFiles, captions: int) -> tuple[int, list[str]]:
    """Return how many captions each image has, 0 where identifiers say it, and what to tell of it."""
    images = open_npy(files.images).shape[0] if files.images.is_file() else captions
    ids = _count_lines(files.ids) if files.ids.is_file() else 0
    if ids and ids == captions:
        return (1 if images == captions else 0), [f"{files.captions.name}: images named by {files.ids.name}"]
    each, rest = divmod(captions, ids or images) if ids or images else (0, 1)
    if rest or not each or images not in (captions, captions // each):
        raise DataError(
            f"{files.images} has {images:,} images and {files.captions} {captions:,} captions; expected one "
            "image a caption, or the same number of captions for each, or their identifiers in "
            f"{files.ids.name}"
        )
    if each > 1:
        return each, [f"{files.captions.name}: {each} consecutive captions for each image"]
    return 1, []


def _picture(name: str) -> str:
    found = _NUMBERED.fullmatch(name)
    return name if found is None else found[1]


def _lines(path: Path) -> Iterator[bytes]:
    """Read the lines of a text file, with their ends, without a byte-order mark."""
    with regular_file(path) as file:
        for number, line in enumerate(file):
            yield line.removeprefix(_BOM) if number == 0 else line


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").strip()


def _count_lines(path: Path) -> int:
    with regular_file(path) as file:
        return sum(1 for _ in file)


def _copy_lines(path: Path, keep: npt.NDArray[np.bool_], file: BinaryIO) -> None:
    """Write the lines to keep as they are."""
    with regular_file(path) as lines:
        for number, line in enumerate(lines):
            if keep[number]:
                file.write(line)
