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
from robustcmr.data.folder import SPLIT_ORDER, listing
from robustcmr.errors import DataError, UserError
from robustcmr.files import write_json
from robustcmr.options import Options

CAPTIONS_SUFFIX = "_caps.tsv"
PICTURES = "images"
NAMED = 5  # broken pictures named in a message

logger = logging.getLogger("robustcmr")


class Images(PairsData):
    """A folder with ``images/`` and ``{split}_caps.tsv``: a picture's file name, a tab and a caption a line.

    A picture with several captions has several lines. Every picture is looked at once, when its split is
    first opened; what was found is remembered as long as the file does not change.

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
            description="a picture that is missing or cannot be decoded stops the run, or is left out with "
            "its captions",
        )
        trusted: bool = Field(
            True,
            description="whether the training pairs are known to be right as written; set false for pairs "
            "harvested from the web, so that nothing is judged against them",
        )

    def __init__(self, config: Config) -> None:
        self.config = config
        self._opened: dict[str, PairsSplit] = {}
        root = config.root
        layout = f"expected {PICTURES}/ and {{split}}{CAPTIONS_SUFFIX} for train, dev and test"
        if not root.is_dir():
            state = "is no folder" if root.exists() else "does not exist"
            raise DataError(f"the data folder {root} {state}; {layout}; name the folder with --data-root")
        if not (root / PICTURES).is_dir() or not self.splits():
            raise DataError(
                f"the data folder {root} has {listing(root)}; {layout}; name the folder with --data-root"
            )

    def splits(self) -> tuple[str, ...]:
        """Names of the splits that have captions, ``train`` first."""
        names = [
            path.name.removesuffix(CAPTIONS_SUFFIX) for path in self.config.root.glob(f"*{CAPTIONS_SUFFIX}")
        ]
        known = [name for name in SPLIT_ORDER if name in names]
        return (*known, *sorted(set(names) - set(known) - {""}))

    def split(self, name: str) -> PairsSplit:
        """Open a split; pictures stay on disk.

        Raises:
            DataError: there is no such split, its captions are damaged, or pictures are broken.
        """
        if name not in self._opened:
            if name not in self.splits():
                raise DataError(
                    f"{self.config.root} has no split {name!r}; it has {', '.join(self.splits())}"
                )
            self._opened[name] = self._open(name)
        return self._opened[name]

    def fingerprint(self, split: str) -> str:
        """A short hash of captions, names of pictures and the bytes of some of them."""
        opened = self.split(split)
        names = opened.image_names or ()
        digest = hashlib.sha256(json.dumps([list(opened.captions), list(names)]).encode())
        digest.update(opened.image_of_caption.astype("<i8").tobytes())
        for image in np.unique(np.linspace(0, len(names) - 1, min(16, len(names))).round().astype(int)):
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
                f"{path} names {outside[0]!r}, which lies outside {self.config.root / PICTURES}; give names "
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
                raise DataError(f"{found}; repair them, or leave them out by --set data.broken=skip")
            logger.warning("%s; they are left out with their captions", found)
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
    """Decode every picture and say which cannot be, and why; what was found is kept in the user's cache.

    Args:
        paths: the files.
        root: the data folder, which the memory is kept for.

    Returns:
        Reason by position in ``paths``, in order.
    """
    memory = cache_root() / "images" / f"{hashlib.sha256(str(root).encode()).hexdigest()[:16]}.json"
    try:
        known: dict[str, list[object]] = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    stamps = [_stamp(path) for path in paths]
    fresh = [
        row
        for row, (path, stamp) in enumerate(zip(paths, stamps, strict=True))
        if known.get(str(path), [None])[0] != stamp
    ]
    if fresh:
        if len(fresh) > 1000:
            logger.info("looking at %d pictures", len(fresh))
        with ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
            for row, reason in zip(fresh, pool.map(_reason, [paths[row] for row in fresh]), strict=True):
                known[str(paths[row])] = [stamps[row], reason]
        try:
            write_json(memory, known)
        except UserError as error:
            logger.warning("what was found cannot be remembered: %s", error)
    reasons = ((row, known[str(path)][1]) for row, path in enumerate(paths))
    return {row: str(reason) for row, reason in reasons if reason is not None}


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def _reason(path: Path) -> str | None:
    """Why a picture cannot be decoded; None if it can."""
    if not path.is_file():
        return "there is no such file"
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (64, 64))  # a JPEG is decoded much faster at a fraction of its size
            picture.load()
    except Image.DecompressionBombError as error:
        return str(error)
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        return str(error).replace(str(path), path.name)
    return None
