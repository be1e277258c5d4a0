"""A folder of pictures with captions, for matchers that read pixels."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from robustcmr.data.base import PairsData, PairsSplit
from robustcmr.data.cache import cache_root
from robustcmr.data.captions import read_captions_tsv
from robustcmr.data.folder import TRUSTED_PAIRS, splits_by_suffix, wrong_root
from robustcmr.data.store import evenly_spaced
from robustcmr.errors import DataError, UserError
from robustcmr.files import write_json
from robustcmr.options import Options

CAPTIONS_SUFFIX = "_caps.tsv"
PICTURES = "images"
NAMED = 5  # broken pictures named in a message

logger = logging.getLogger("robustcmr")


class Images(PairsData):
    """A folder of pictures with captions, for matchers that read pixels.

    Expected files; a picture with several captions has several lines::

        ROOT/
          images/            pictures in any format that Pillow reads, also in subfolders
          train_caps.tsv     lines of file name<TAB>caption, the name relative to images/
          dev_caps.tsv ...   the same for dev, test and any other split

    Every picture is decoded when its split is first opened; the outcome is cached until the file changes.

    Args:
        config: where the folder is, and what to do about broken pictures.

    Raises:
        DataError: there is no such folder, or it has no file of this layout.
    """

    class Config(Options):
        """Where the folder is, and what to do about broken pictures."""

        root: Path = Field(description="folder with images/ and {split}_caps.tsv")
        broken: Literal["error", "skip"] = Field(
            "error",
            description="stop at a picture that is missing or cannot be decoded, or leave it out with its "
            "captions",
        )
        trusted: bool = Field(True, description=TRUSTED_PAIRS)

    def __init__(self, config: Config) -> None:
        self.config = config
        self._opened: dict[str, PairsSplit] = {}
        if not (config.root / PICTURES).is_dir() or not self.splits():
            raise wrong_root(config.root, f"{PICTURES}/", CAPTIONS_SUFFIX)

    def splits(self) -> tuple[str, ...]:
        """Return the names of the splits that have captions, ``train`` first."""
        return splits_by_suffix(self.config.root, CAPTIONS_SUFFIX)

    def split(self, name: str) -> PairsSplit:
        """Open a split; pictures stay on disk. See :class:`robustcmr.data.base.DataSet`."""
        if name not in self._opened:
            if name not in self.splits():
                raise DataError(
                    f"{self.config.root} has no split {name!r}; it has {', '.join(self.splits())}"
                )
            self._opened[name] = self._open(name)
        return self._opened[name]

    def fingerprint(self, split: str) -> str:
        """Return a short hash of captions, names of pictures and the bytes of some pictures."""
        opened = self.split(split)
        names = opened.image_names or ()
        digest = hashlib.sha256(json.dumps([list(opened.captions), list(names)]).encode())
        digest.update(opened.image_of_caption.astype("<i8").tobytes())
        for image in evenly_spaced(len(names), 16):
            digest.update(hashlib.sha256(self._path(names[image]).read_bytes()).digest())
        return digest.hexdigest()[:16]

    def _path(self, name: str) -> Path:
        return self.config.root / PICTURES / name

    def _open(self, name: str) -> PairsSplit:
        path = self.config.root / f"{name}{CAPTIONS_SUFFIX}"
        files, captions = read_captions_tsv(path)
        pictures = list(dict.fromkeys(files))
        outside = [file for file in pictures if Path(file).is_absolute() or ".." in Path(file).parts]
        if outside:
            raise DataError(
                f"{path} names {outside[0]!r}, which is outside {self.config.root / PICTURES}; give names "
                "relative to that folder"
            )
        broken = broken_pictures([self._path(file) for file in pictures], self.config.root)
        reasons = {pictures[row]: reason for row, reason in broken.items()}
        if reasons:
            named = "; ".join(f"{file}: {reason}" for file, reason in list(reasons.items())[:NAMED])
            found = (
                f"{len(reasons)} of {len(pictures)} pictures of {path} cannot be read "
                f"({named}{'; ...' if len(reasons) > NAMED else ''})"
            )
            if self.config.broken == "error":
                raise DataError(f"{found}; repair them, or leave them out with --set data.broken=skip")
            logger.warning("%s; they are skipped with their captions", found)
        kept = [row for row, file in enumerate(files) if file not in reasons]
        if not kept:
            raise DataError(
                f"no picture of {path} can be read; expected files in {self.config.root / PICTURES}"
            )
        names = [file for file in pictures if file not in reasons]
        place = {file: image for image, file in enumerate(names)}
        return PairsSplit(
            name,
            None,
            [captions[row] for row in kept],
            np.array([place[files[row]] for row in kept], dtype=np.int64),
            picture=partial(_load, tuple(self._path(file) for file in names)),
            image_names=names,
            trusted=self.config.trusted or name != "train",
        )


def _load(paths: Sequence[Path], image: int) -> Image.Image:
    with Image.open(paths[image]) as picture:
        picture.load()
        return picture


def broken_pictures(paths: Sequence[Path], root: Path) -> dict[int, str]:
    """Decode every picture and return why some cannot be, by position in ``paths``.

    Outcomes are kept in the user's cache, in one file for each data folder ``root``.
    """
    cached = cache_root() / "images" / f"{hashlib.sha256(str(root).encode()).hexdigest()[:16]}.json"
    try:
        known: dict[str, list[object]] = json.loads(cached.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    stamps = {path: _stamp(path) for path in paths}
    fresh = [path for path in paths if known.get(str(path), [None])[0] != stamps[path]]
    if fresh:
        if len(fresh) > 1000:
            logger.info("decoding %d pictures once", len(fresh))
        with ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
            for path, reason in zip(fresh, pool.map(_reason, fresh), strict=True):
                known[str(path)] = [stamps[path], reason]
        try:
            write_json(cached, known)
        except UserError as error:
            logger.warning("cannot cache which pictures are broken: %s", error)
    reasons = ((row, known[str(path)][1]) for row, path in enumerate(paths))
    return {row: str(reason) for row, reason in reasons if reason is not None}


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def _reason(path: Path) -> str | None:
    """Return why a picture cannot be decoded; None if it can."""
    if not path.is_file():
        return "there is no such file"
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (64, 64))  # JPEGs are decoded much faster at a fraction of their size
            picture.load()
    except Image.DecompressionBombError as error:
        return str(error)
    except (OSError, SyntaxError, ValueError) as error:  # raised by Pillow for damaged files
        return str(error).replace(str(path), path.name)
    return None
