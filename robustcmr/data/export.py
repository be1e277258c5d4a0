"""Write a split as a folder of pictures with a captions table, as people's own pairs often come.

The table is grouped by picture, in the order of the pictures. Beside the folder lie the truth, which nobody
who audits it should see, and what ``robustcmr embed`` reads: region features and captions, in the same order.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noise_injection.mismatch import make_mismatch
from robustcmr.data.base import PairsSplit
from robustcmr.errors import DataError, UserError
from robustcmr.files import reason, write_text, write_with
from robustcmr.types import IntArray

PICTURES = "images"
TABLE = "captions.csv"

_BLOCK = 256  # features copied at once


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: of the pictures and the table.
        truth: CSV of ids and whether each pair is right, beside the folder.
        captions: text file beside the folder, a caption a line in the order of the table.
        regions: ``.npy`` of region features beside the folder, one entry a picture; None without features.
        images: number of pictures.
        pairs: number of rows of the table.
        wrong: how many of them are wrong.
    """

    folder: Path
    truth: Path
    captions: Path
    regions: Path | None
    images: int
    pairs: int
    wrong: int


def export_pictures(split: PairsSplit, folder: Path, noise: float = 0.0, seed: int = 0) -> Exported:
    """Write pictures as PNG, ``captions.csv`` with the columns id, image and caption, and the truth beside.

    The folder appears when all of it is written.

    Args:
        split: with pictures.
        folder: must not exist, or be empty.
        noise: share of the captions to give to another picture, in [0, 1).
        seed: of the noise.

    Raises:
        DataError: the split has no pictures.
        UserError: there are files already, or they cannot be written.
        NoiseError: the share or the seed is out of range.
    """
    picture = split.picture
    if picture is None:
        raise DataError(f"the {split.name} split has no pictures to write; expected such as scenes")
    folder = folder.expanduser()
    beside = [
        folder.with_name(f"{folder.name}.{end}") for end in ("truth.csv", "captions.txt", "regions.npy")
    ]
    _refuse_existing(folder, beside)
    truth = split.image_of_caption
    given, _ = make_mismatch(truth, split.n_images, noise, seed=seed, derange=noise > 0)
    rows = np.argsort(given, kind="stable").astype(np.int64)  # so that rows stand by picture
    ids = [f"pair-{row:06d}" for row in range(len(rows))]
    names = [f"{PICTURES}/{split.name}-{image:05d}.png" for image in range(split.n_images)]
    captions = [split.captions[row] for row in rows.tolist()]
    table = [
        [key, names[given[row]], text] for key, row, text in zip(ids, rows.tolist(), captions, strict=True)
    ]
    right = (given == truth)[rows]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise UserError(f"cannot write {folder}: {reason(error)}; choose another folder") from error
    try:
        (partial / PICTURES).mkdir()
        for image, name in enumerate(names):
            picture(image).save(partial / name, "PNG")
        (partial / TABLE).write_text(_csv([["id", "image", "caption"], *table]), encoding="utf-8")
        stated = [
            [key, names[truth[row]], int(fits)]
            for key, row, fits in zip(ids, rows.tolist(), right.tolist(), strict=True)
        ]
        write_text(beside[0], _csv([["id", "true_image", "right"], *stated]))
        write_text(beside[1], "".join(f"{' '.join(text.split())}\n" for text in captions))
        if split.features is not None:
            write_with(beside[2], lambda file: np.save(file, _features(split)))
        partial.chmod(0o755)
        partial.replace(folder)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {reason(error)}; choose another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if not folder.is_dir() or not any(os.scandir(folder)):  # it did not come so far
            for path in beside:
                path.unlink(missing_ok=True)
    regions = None if split.features is None else beside[2]
    return Exported(folder, beside[0], beside[1], regions, split.n_images, len(rows), int((~right).sum()))


def _features(split: PairsSplit) -> npt.NDArray[np.float32]:
    """Region features of all pictures, (n, R, F)."""
    store = split.features
    if store is None:
        raise ValueError("there are no features")
    images: IntArray = np.arange(store.shape[0], dtype=np.int64)
    return np.concatenate([store.take(images[at : at + _BLOCK]) for at in range(0, len(images), _BLOCK)])


def _refuse_existing(folder: Path, beside: list[Path]) -> None:
    if folder.exists() and (not folder.is_dir() or any(os.scandir(folder))):
        raise UserError(f"{folder} is already there; name a folder that is new or empty, such as {folder}-2")
    for path in beside:
        if path.exists():
            raise UserError(f"{path} is already there; name another folder, such as {folder}-2")


def _csv(rows: list[list[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
