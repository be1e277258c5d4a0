"""A folder of pictures with captions, for matchers that read pixels."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import PIL
from PIL import Image
from pydantic import Field

import robustcmr
from robustcmr.data.base import PairsData, PairsSplit
from robustcmr.data.cache import cache_root
from robustcmr.data.captions import read_captions_tsv
from robustcmr.data.fingerprint import SAMPLED, ends_of_file
from robustcmr.data.folder import TRUSTED_PAIRS, splits_by_suffix, wrong_root
from robustcmr.data.picture_files import (
    MAX_PIXELS,
    PictureError,
    find_picture,
    open_picture,
    shown,
    unreadable,
)
from robustcmr.data.store import evenly_spaced
from robustcmr.errors import DataError, UserError
from robustcmr.files import read_json, write_json
from robustcmr.options import Options

CAPTIONS_SUFFIX = "_caps.tsv"
PICTURES = "images"
NAMED = 5  # broken pictures named in a message

logger = logging.getLogger("robustcmr")


class Images(PairsData):
    """A folder of pictures with captions, for matchers that read pixels.

    Expected files; a picture with several captions has several lines::

        ROOT/
          images/            AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PPM, TIFF or WebP, also in subfolders
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
            description="stop at a picture that is missing or cannot be read, or leave it out with its "
            "captions",
        )
        max_pixels: int = Field(MAX_PIXELS, ge=1, description="pixels of the largest picture that is read")
        trusted: bool = Field(True, description=TRUSTED_PAIRS)

    chooses_matcher = True
    usual_matcher = "clip"

    def __init__(self, config: Config) -> None:
        self.config = config
        self._opened: dict[str, PairsSplit] = {}
        if not (config.root / PICTURES).is_dir() or not self.splits():
            raise wrong_root(config.root, f"{PICTURES}/", CAPTIONS_SUFFIX)
        self._folder = (config.root / PICTURES).resolve()

    def matcher(self) -> tuple[str, str]:
        """Return CLIP, which reads pictures; see :class:`robustcmr.data.base.DataSet`."""
        return "clip", "there are pictures"

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
        """Hash captions, pairing, names of pictures, and size, first and last 4 KiB of every picture."""
        return self._hash(split, ends_of_file)

    def older_fingerprints(self, split: str) -> tuple[str, ...]:
        """Return the hash with all bytes of 16 pictures that versions before 0.2 recorded."""
        few = evenly_spaced(self.split(split).n_images, SAMPLED)
        return (self._hash(split, lambda path: hashlib.sha256(path.read_bytes()).digest(), few),)

    def _hash(self, split: str, content: Callable[[Path], bytes], chosen: Iterable[int] | None = None) -> str:
        opened = self.split(split)
        names = opened.image_names or ()
        digest = hashlib.sha256(json.dumps([list(opened.captions), list(names)]).encode())
        digest.update(opened.image_of_caption.astype("<i8").tobytes())
        for image in range(len(names)) if chosen is None else chosen:
            try:
                digest.update(content(find_picture(self._folder, names[image])))
            except (PictureError, OSError) as error:
                raise unreadable(names[image], error) from error
        return digest.hexdigest()[:16]

    def _open(self, name: str) -> PairsSplit:
        path = self.config.root / f"{name}{CAPTIONS_SUFFIX}"
        files, captions = read_captions_tsv(path)
        keys = [unicodedata.normalize("NFC", str(Path(file))) for file in files]
        pictures: dict[str, str] = {}  # the first name of each picture
        for key, file in zip(keys, files, strict=True):
            pictures.setdefault(key, file)
        broken = broken_pictures(self._folder, list(pictures.values()), self.config.max_pixels)
        if broken:
            named = "; ".join(f"{shown(file)}: {reason}" for file, reason in list(broken.items())[:NAMED])
            found = (
                f"{len(broken)} of {len(pictures)} pictures of {path} cannot be read "
                f"({named}{'; ...' if len(broken) > NAMED else ''})"
            )
            if self.config.broken == "error":
                raise DataError(f"{found}; repair them, or leave them out with --set data.broken=skip")
            logger.warning("%s; they are skipped with their captions", found)
        kept = [row for row, key in enumerate(keys) if pictures[key] not in broken]
        if not kept:
            raise DataError(
                f"no picture of {path} can be read; expected files in {self.config.root / PICTURES}"
            )
        names = [file for file in pictures.values() if file not in broken]
        place = {file: image for image, file in enumerate(names)}
        return PairsSplit(
            name,
            None,
            [captions[row] for row in kept],
            np.array([place[pictures[keys[row]]] for row in kept], dtype=np.int64),
            picture=partial(_load, self._folder, tuple(names), self.config.max_pixels),
            image_names=names,
            trusted=self.config.trusted or name != "train",
        )


def _load(folder: Path, names: Sequence[str], max_pixels: int, image: int) -> Image.Image:
    try:
        return open_picture(folder, names[image], max_pixels)
    except PictureError as error:
        raise unreadable(names[image], error) from error


def broken_pictures(folder: Path, names: Sequence[str], max_pixels: int = MAX_PIXELS) -> dict[str, str]:
    """Open every picture of a folder as training does; return why some cannot be opened, by name.

    The pictures that can be opened are kept in the user's cache and not opened again until they change.

    Args:
        folder: of all pictures, as ``Path.resolve`` returns it.
        names: of files, relative to the folder.
        max_pixels: see :func:`robustcmr.data.picture_files.open_picture`.
    """
    # another version of Pillow, or of the rules, may judge otherwise
    rules = json.dumps([str(folder), max_pixels, PIL.__version__, robustcmr.__version__])
    cached = cache_root() / "images" / f"{hashlib.sha256(rules.encode()).hexdigest()[:16]}.json"
    try:
        known: dict[str, str] = read_json(cached, dict[str, str])
    except (OSError, ValueError):  # none yet, or damaged
        known = {}
    stamps = {name: _stamp(folder, name) for name in names}
    fresh = [name for name in names if stamps[name] is None or known.get(name) != stamps[name]]
    if len(fresh) > 1000:
        logger.info("decoding %d pictures once", len(fresh))
    with ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
        reasons = dict(
            zip(fresh, pool.map(partial(_reason, folder, max_pixels=max_pixels), fresh), strict=True)
        )
    sound = {name: stamp for name in fresh if reasons[name] is None and (stamp := stamps[name]) is not None}
    if sound:
        try:
            write_json(cached, known | sound)
        except UserError as error:
            logger.warning("cannot cache which pictures are sound: %s", error)
    return {name: reason for name in names if (reason := reasons.get(name)) is not None}


def _stamp(folder: Path, name: str) -> str | None:
    """What changes with a file; None if there is no such picture."""
    try:
        status = find_picture(folder, name).stat()
    except (PictureError, OSError):
        return None
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _reason(folder: Path, name: str, max_pixels: int) -> str | None:
    """Return why a picture cannot be opened; None if it can."""
    try:
        open_picture(folder, name, max_pixels)
    except PictureError as error:
        return str(error)
    return None
