"""A folder of pictures with the caption of each in a ``.txt`` of the same name beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from robustcmr.errors import DataError
from robustcmr.files import read_bytes, reason
from robustcmr.sources.picture_files import copy_file, first_picture, folders_below, is_picture, leads_outside
from robustcmr.sources.records import PROBLEM, Columns, Picture, Shard, Source
from robustcmr.sources.shards import natural
from robustcmr.sources.tables import check_mask, read_picture

SCHEMA = pa.schema([("id", pa.string()), ("image", pa.string()), ("caption", pa.string())])

_ROWS = 4096  # of a batch
_LARGEST = 1 << 20  # bytes of a caption


@dataclass(frozen=True)
class Beside:
    """A picture and its caption, names in one folder; either may be missing."""

    picture: str | None
    text: str | None

    @property
    def name(self) -> str:
        """Of the picture, or of the caption without one."""
        return str(self.picture or self.text)


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether the paths are one folder, and the first picture in it has its caption beside it."""
    if len(paths) != 1 or not paths[0].is_dir() or (picture := first_picture(paths[0])) is None:
        return False
    return any(one.picture and one.text for one in itertools.islice(_listed(picture.parent), 100))


def open(paths: Sequence[Path], columns: Columns) -> PictureTexts:
    """Open a folder of pictures and captions; each folder below it is a shard.

    Raises:
        DataError: no picture has a caption beside it.
    """
    del columns  # the names of the files say
    root = paths[0]
    shards: list[Shard] = []
    texts = 0
    for folder in folders_below(root):
        found = _listed(folder)
        if any(one.picture for one in found):
            sizes = [(folder / one.name).stat().st_size for one in found]
            shards.append(Shard(len(shards), folder, len(found), sum(sizes)))
            texts += sum(one.text is not None for one in found)
    if not texts:
        raise DataError(
            f"{root} has pictures and no captions; expected a table such as captions.csv in it, or a .txt "
            "beside each picture"
        )
    says = ("The caption of each picture is the text of the .txt beside it.",)
    return PictureTexts(root, tuple(shards), Columns("image", "caption", "id"), says)


@dataclass(frozen=True)
class PictureTexts(Source):
    """A folder of pictures and captions, a row a picture."""

    format: ClassVar[str] = "picture-folder"

    def schema(self) -> pa.Schema:
        """Return id and image, which are the path of the picture, and caption."""
        return SCHEMA

    def batches(self, shard: Shard, start: int = 0) -> Iterator[pa.RecordBatch]:
        """See :meth:`Source.batches`."""
        rows = iter(_listed(shard.path)[start:])
        below = shard.path.relative_to(self.root)
        while part := list(itertools.islice(rows, _ROWS)):
            texts = [_caption(shard.path, one.text) for one in part]
            columns: list[list[str | None]] = [
                [str(below / one.name) for one in part],
                [None if one.picture is None else str(below / one.picture) for one in part],
                [text for text, _ in texts],
            ]
            problems = [problem for _, problem in texts]
            arrays = [pa.array([_encoded(value) for value in column], pa.string()) for column in columns]
            schema = SCHEMA
            if any(problem is not None for problem in problems):
                arrays.append(pa.array(problems, pa.string()))
                schema = SCHEMA.append(pa.field(PROBLEM, pa.string()))
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def picture_folder(self, shard: Shard) -> Path:
        """Return the folder of all pictures."""
        del shard
        return self.root

    def pictures(self, shard: Shard, rows: npt.NDArray[np.int64] | None = None) -> Iterator[Picture]:
        """See :meth:`Source.pictures`; links that leave the folder are not followed."""
        found, root = _listed(shard.path), self.root.resolve()
        for row in range(len(found)) if rows is None else rows.tolist():
            name = found[row].picture
            if name is None:
                yield Picture(row, None, "missing image")
            elif leads_outside(name, shard.path, root):
                yield Picture(row, None, "it is a link that leads outside the folder")
            else:
                yield read_picture(row, name, shard.path)

    def write(self, shard: Shard, keep: npt.NDArray[np.bool_], to: Path) -> tuple[Path, ...]:
        """Copy the pictures to keep, and their captions.

        Raises:
            DataError: a picture to keep is a link that leads outside the folder.
        """
        found, root = _listed(shard.path), self.root.resolve()
        check_mask(keep, len(found), shard.path)
        target = to / shard.path.relative_to(self.root)
        kept = [one for one, here in zip(found, keep.tolist(), strict=True) if here]
        names = dict.fromkeys(name for one in kept for name in (one.picture, one.text) if name is not None)
        for name in names:
            if leads_outside(name, shard.path, root):
                raise DataError(
                    f"{shard.path / name} is a link that leads outside {self.root}, and only files inside "
                    "are copied; leave it out, or replace it by the file"
                )
        for name in names:
            copy_file(shard.path / name, target / name)
        return tuple(target / name for name in names)


def _listed(folder: Path) -> list[Beside]:
    """Return the pictures of a folder with their captions, and captions without one, by natural order."""
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    texts = {name.rpartition(".")[0]: name for name in names if name.lower().endswith(".txt")}
    pictures = [name for name in names if is_picture(name)]
    found = [Beside(name, texts.get(name.rpartition(".")[0])) for name in pictures]
    used = {name.rpartition(".")[0] for name in pictures}
    found += [Beside(None, name) for stem, name in texts.items() if stem not in used and pictures]
    return sorted(found, key=lambda one: natural(one.name))


def _caption(folder: Path, name: str | None) -> tuple[str | None, str | None]:
    """Return the text of a caption, and why it cannot be read."""
    if name is None:
        return None, None
    try:
        return read_bytes(folder / name, _LARGEST).decode("utf-8-sig").strip(), None
    except OSError as error:
        return None, f"its caption cannot be read ({reason(error)})"
    except UnicodeDecodeError:
        return None, "its caption is not UTF-8 text"


def _encoded(text: str | None) -> str | None:
    """Return a name with bytes that are not UTF-8 as escapes."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()
