"""Reading and writing noise files: our ``.npz`` with its record, and the ``.npy`` layouts others publish."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noise_injection.atomic import atomic_file
from noise_injection.checks import IntArray, check_integers, check_truth
from noise_injection.describe import describe, to_caption_rows
from noise_injection.errors import NoiseError
from noise_injection.records import NoiseRecord, index_sha256

KEYS = ("index", "record")
LEAST_SHARE_OF_IMAGES = 0.5  # an index that uses fewer of the images is taken for labels or another data set


@dataclass(frozen=True)
class NoiseFile:
    """A noise file as it lies on the disk, not yet held against any data.

    Attributes:
        path: where it lies.
        values: (n,) int64, as stored.
        record: its record; None for the ``.npy`` layouts, which have none.
    """

    path: Path
    values: IntArray
    record: NoiseRecord | None


def read_noise_file(path: str | Path) -> NoiseFile:
    """Read a noise file without holding it against data; nothing in it is ever unpickled.

    Args:
        path: a ``.npz`` written by ``save_noise`` or a published ``.npy``; told apart by content, not by
            name.

    Returns:
        Its numbers and its record.

    Raises:
        NoiseError: the file is missing, damaged or of another kind.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(6)
        if not start.startswith((b"\x93NUMPY", b"PK")):
            raise NoiseError(f"{path} is not a NumPy file; expected a noise index saved as .npz or .npy")
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return NoiseFile(path, check_integers(loaded, str(path)), None)
            return _from_archive(path, loaded)
    except NoiseError:
        raise
    except FileNotFoundError as error:
        raise NoiseError(f"there is no noise file {path}; check the path") from error
    except Exception as error:  # a damaged archive or header can raise nearly anything in its reader
        if isinstance(error, OSError) and error.errno is not None:
            raise NoiseError(f"cannot read {path}: {error.strerror}; check the path") from error
        if "Object arrays" in str(error):
            raise NoiseError(
                f"{path} holds pickled Python objects, which are never loaded; save the index as whole "
                "numbers"
            ) from error
        raise NoiseError(
            f"{path} is damaged or incomplete and cannot be read; fetch or make it again"
        ) from error


def load_noise(
    path: str | Path, truth: npt.NDArray[Any], n_images: int, data_fingerprint: str | None = None
) -> tuple[IntArray, NoiseRecord]:
    """Read a noise file and hold it against the data it shall be used on.

    Three layouts are known: our ``.npz`` (index and record), a ``.npy`` with one image a caption row, and a
    ``.npy`` with a permutation of the images. For the latter two a record is made: protocol as far as it
    shows, seed and ratio asked for unknown.

    Args:
        path: the file.
        truth: (n_captions,) whole numbers, the image each caption was written for.
        n_images: number of images.
        data_fingerprint: which data set this is; a file made for another is refused. It is entered in the
            record where the file names none.

    Returns:
        The image given to each caption row, (n_captions,) int64, and the record.

    Raises:
        NoiseError: the file is missing, damaged, of another kind, or does not fit the data.
    """
    truth = check_truth(truth, n_images)
    noise = read_noise_file(path)
    if noise.record is None:
        return _without_record(noise, truth, n_images, data_fingerprint)
    index, record = noise.values, noise.record
    check_size(noise, truth.size, n_images)
    if data_fingerprint is not None and record.data_fingerprint not in (None, data_fingerprint):
        raise NoiseError(
            f"{noise.path} was made for data with fingerprint {record.data_fingerprint} and this data has "
            f"{data_fingerprint}; choose the file made for this data"
        )
    if index_sha256(index) != record.index_sha256:
        raise NoiseError(
            f"{noise.path} does not have the hash its record names; it was altered, make it again"
        )
    to_caption_rows(index, truth, n_images, str(noise.path))
    found = int((index != truth).sum())
    if found != record.n_mismatched:
        raise NoiseError(
            f"{noise.path} names {record.n_mismatched} mismatched captions and with this data there are "
            f"{found}; choose the file made for this data"
        )
    if record.data_fingerprint is None:
        record = dataclasses.replace(record, data_fingerprint=data_fingerprint)
    return index, record


def check_size(noise: NoiseFile, n_captions: int, n_images: int) -> None:
    """Refuse data of another size than a file's record names; a file without a record is not checked here.

    Args:
        noise: the file.
        n_captions: number of captions of the data.
        n_images: number of images of the data.

    Raises:
        NoiseError: the file is for another number of captions or images.
    """
    record = noise.record
    if record is not None and (record.n_captions, record.n_images) != (n_captions, n_images):
        raise NoiseError(
            f"{noise.path} is for {record.n_captions} captions of {record.n_images} images and the data has "
            f"{n_captions} captions of {n_images} images; choose the file made for this data"
        )


def save_noise(path: str | Path, index: IntArray, record: NoiseRecord) -> None:
    """Write an index, as ``.npz`` with its record or as ``.npy`` for other programs.

    Args:
        path: name ending in ``.npz``, or in ``.npy`` for the published layout of one int64 image a caption
            row.
        index: (n_captions,) int64, the image given to each caption row.
        record: its record; a ``.npy`` does not keep it.

    Raises:
        NoiseError: the record belongs to another index, the name ends otherwise, or the file cannot be
            written.
    """
    path = check_noise_name(path)
    index = check_integers(np.asarray(index), "the noise index")
    if index_sha256(index) != record.index_sha256:
        raise NoiseError(
            "the record names the hash of another index; save the index together with its own record"
        )
    values = index.astype("<i8")
    with atomic_file(path) as file:
        if path.suffix == ".npy":
            np.save(file, values, allow_pickle=False)
        else:
            text = json.dumps(record.to_dict(), sort_keys=True)
            np.savez_compressed(file, index=values, record=np.array(text))


def check_noise_name(path: str | Path) -> Path:
    """Return a path whose ending says how to write noise to it.

    Raises:
        NoiseError: it ends neither in ``.npz`` nor in ``.npy``.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".npy"):
        raise NoiseError(
            f"{path} ends in {path.suffix or 'nothing'}; name a noise file .npz (index and record) or .npy "
            "(index alone)"
        )
    return path


def _from_archive(path: Path, archive: np.lib.npyio.NpzFile) -> NoiseFile:
    if "labels" in archive.files:
        raise NoiseError(
            f"{path} holds wrong class labels, where mismatched pairs were expected; give a file of those"
        )
    missing = [key for key in KEYS if key not in archive.files]
    if missing:
        raise NoiseError(
            f"{path} has no {' and no '.join(missing)}, it holds {', '.join(archive.files) or 'nothing'}; "
            "expected a noise file written by this package"
        )
    text = archive["record"]
    if text.dtype.kind != "U" or text.ndim != 0:
        raise NoiseError(
            f"{path} has a record that is no text; expected a noise file written by this package"
        )
    values = json.loads(str(text))
    if not isinstance(values, dict):
        raise NoiseError(f"{path} has a record without names; expected a noise file written by this package")
    try:
        record = NoiseRecord.from_dict(values)
    except NoiseError as error:
        raise NoiseError(f"{path} cannot be used: {error}") from error
    return NoiseFile(path, check_integers(archive["index"], str(path)), record)


def _without_record(
    noise: NoiseFile, truth: IntArray, n_images: int, data_fingerprint: str | None
) -> tuple[IntArray, NoiseRecord]:
    """A published index, brought to caption rows, and what can be said of it."""
    index = to_caption_rows(noise.values, truth, n_images, str(noise.path))
    if truth.size == n_images:
        permutation = np.unique(index).size == n_images
        if permutation and not np.array_equal(index[truth], index):
            raise NoiseError(
                f"{noise.path} has {index.size} entries, which may be one a caption or one an image, and "
                "the two differ for this data; save it with its record as .npz"
            )
    used, written = np.unique(index).size, np.unique(truth).size
    if used < LEAST_SHARE_OF_IMAGES * written:
        raise NoiseError(
            f"{noise.path} uses only {used} of {written} images; check that it is a noise file for this data "
            "and not, say, labels"
        )
    found = describe(noise.values, truth, n_images)
    return index, NoiseRecord(
        kind="mismatch",
        protocol=found.protocol,
        ratio_asked=None,
        ratio_realised=found.ratio_realised,
        seed=None,
        derange=None,
        data_fingerprint=data_fingerprint,
        index_sha256=found.index_sha256,
        n_captions=found.n_captions,
        n_images=found.n_images,
        n_chosen=None,
        n_mismatched=found.n_mismatched,
        source=noise.path.name,
    )
