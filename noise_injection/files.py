"""Reading and writing noise files.

Four layouts are recognised by content, not by name; nothing is ever unpickled.

    .npz   index (n_captions,) int64 and record         mismatched pairs, written by ``save_noise``
    .npz   labels (n, 1) or (n, 2) int64 and record     label noise, written by ``save_label_noise``
    .npy   one image per caption row                    published for mismatched pairs, without a record
    .npy   a permutation of the images                  published for mismatched pairs, without a record
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from noise_injection import checks
from noise_injection.atomic import atomic_file
from noise_injection.checks import Array, IntArray, NoiseError
from noise_injection.describe import describe, to_caption_rows
from noise_injection.reading import is_of_torch, load_arrays, parse_json, regular_file
from noise_injection.reasons import reason
from noise_injection.records import LabelNoiseRecord, NoiseRecord, counted, index_sha256

_TORCH_MARK = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # torch.save before its files were archives
LEAST_SHARE_OF_IMAGES = 0.5  # an index without a record that uses fewer images is taken for labels

AnyRecord = TypeVar("AnyRecord", NoiseRecord, LabelNoiseRecord)


@dataclass(frozen=True)
class NoiseFile:
    """A noise file at ``path`` as stored, not yet compared with any data.

    Its ``values`` are int64 in one of the layouts above; its ``record`` says whether they are images or
    labels, and is None for a ``.npy``.
    """

    path: Path
    values: IntArray
    record: NoiseRecord | LabelNoiseRecord | None


def read_noise_file(path: str | Path) -> NoiseFile:
    """Read a ``.npz`` of this package or a published ``.npy`` without comparing it with data."""
    path = Path(path)
    with _loaded(path, "noise file") as stored:
        if isinstance(stored, np.ndarray):
            return NoiseFile(path, checks.vector(stored, None, str(path)), None)
        key = "labels" if "labels" in stored.files else "index"
        if not {key, "record"} <= set(stored.files):
            raise NoiseError(
                f"{path} holds {', '.join(stored.files) or 'nothing'}; expected a noise file with index (or "
                "labels) and record"
            )
        record: NoiseRecord | LabelNoiseRecord
        if key == "labels":
            record = _record(path, stored["record"], LabelNoiseRecord)
            values = checks.given(stored[key], record.n_classes, str(path))
        else:
            record = _record(path, stored["record"], NoiseRecord)
            values = checks.vector(stored[key], None, str(path))
        if values.shape != record.shape:
            raise NoiseError(
                f"{path} holds {key} of shape {values.shape} and its record expects {record.shape}; it was "
                "altered, make it again"
            )
        return NoiseFile(path, values, record)


def load_noise(
    path: str | Path, truth: Array, n_images: int, data_fingerprint: str | None = None
) -> tuple[IntArray, NoiseRecord]:
    """Read mismatched pairs and check that they belong to the data.

    Args:
        path: a noise file of pairs. A ``.npy`` gets a record that names the protocol if it can be recognised;
            its seed and requested ratio are unknown.
        truth: (n_captions,) integers, the image each caption was written for.
        n_images: number of images.
        data_fingerprint: name of this data set; a file made for another is refused. It is entered in a record
            that names none.

    Returns:
        The image given to each caption row, (n_captions,) int64, and the record.

    Example:
        >>> import tempfile
        >>> from noise_injection import make_mismatch
        >>> truth = np.arange(20) // 5
        >>> index, record = make_mismatch(truth, 4, 0.4, "caption", seed=0)
        >>> save_noise(path := Path(tempfile.mkdtemp()) / "noise.npz", index, record)
        >>> load_noise(path, truth, 4)[1] == record
        True
    """
    truth = checks.truth(truth, n_images)
    noise = read_noise_file(path)
    if noise.record is None:
        return _without_record(noise, truth, n_images, data_fingerprint)
    if isinstance(noise.record, LabelNoiseRecord):
        raise NoiseError(f"{path} holds class labels; give a noise file of mismatched pairs")
    check_size(noise.path, noise.record, truth.size, n_images)
    index = to_caption_rows(noise.values, truth, n_images, str(path))
    wrong = int((index != truth).sum())
    return index, _accept(noise, noise.record, (noise.record.n_mismatched,), (wrong,), data_fingerprint)


def load_label_noise(
    path: str | Path, truth: Array, n_classes: int, data_fingerprint: str | None = None
) -> tuple[IntArray, LabelNoiseRecord]:
    """Read label noise and check that it belongs to the data.

    Args:
        path: a noise file of labels.
        truth: (n,) integers, the true labels.
        n_classes: number of classes.
        data_fingerprint: as for ``load_noise``.

    Returns:
        The given labels, (n, 1) or (n, 2) int64, and their record.

    Example:
        >>> import tempfile
        >>> from noise_injection import make_label_noise
        >>> given, record = make_label_noise(np.arange(20) % 4, 4, 0.4, "symmetric", seed=0)
        >>> save_label_noise(path := Path(tempfile.mkdtemp()) / "labels.npz", given, record)
        >>> load_label_noise(path, np.arange(20) % 4, 4)[1] == record
        True
    """
    noise = read_noise_file(path)
    record = noise.record
    if not isinstance(record, LabelNoiseRecord):
        raise NoiseError(
            f"{path} holds no class labels with a record; give a label noise file of this package"
        )
    truth = checks.labels(truth, n_classes)
    if record.n_classes != n_classes:
        raise NoiseError(
            f"{path} is for {record.n_classes} classes and the data has {n_classes}; choose the file made "
            "for this data"
        )
    checks.rows(noise.values, truth, str(path))
    wrong = tuple((noise.values != truth[:, None]).sum(axis=0).tolist())
    return noise.values, _accept(noise, record, record.n_wrong, wrong, data_fingerprint)


def check_size(path: Path, record: NoiseRecord, n_captions: int, n_images: int) -> None:
    """Refuse data of another size than the record names."""
    if (record.n_captions, record.n_images) != (n_captions, n_images):
        raise NoiseError(
            f"{path} is for {record.n_captions} captions of {record.n_images} images and the data has "
            f"{n_captions} captions of {n_images} images; choose the file made for this data"
        )


def save_noise(path: str | Path, index: Array, record: NoiseRecord) -> None:
    """Write the image given to each caption row, (n_captions,) integers, replacing an existing file.

    A ``.npz`` holds index and record; a ``.npy``, for other programs, the index in the published layout.
    """
    path = checks.suffix(path, (".npz", ".npy"), "a noise file")
    _save(path, checks.vector(np.asarray(index), None, "the noise index"), record)


def save_label_noise(path: str | Path, given: Array, record: LabelNoiseRecord) -> None:
    """Write given labels, (n, 1) or (n, 2) integers, with their record as ``.npz``, replacing a file."""
    path = checks.suffix(path, (".npz",), "a label noise file")
    given = checks.given(given, record.n_classes)
    if given.shape != record.shape:
        raise NoiseError(
            f"the labels have shape {given.shape} and their record expects {record.shape}; save labels with "
            "their own record"
        )
    _save(path, given, record)


def read_array(path: str | Path, what: str) -> Array:
    """Return the array of a ``.npy``; ``what`` names its role in errors, such as ``label file``."""
    with _loaded(Path(path), what) as stored:
        if not isinstance(stored, np.ndarray):
            raise NoiseError(f"the {what} {path} is an archive; expected a single array saved as .npy")
        return stored


@contextmanager
def _loaded(path: Path, what: str) -> Iterator[Array | np.lib.npyio.NpzFile]:
    """Open a NumPy file; anything raised while it is read becomes a ``NoiseError``."""
    try:
        with regular_file(path) as file:
            start = file.read(len(_TORCH_MARK))
            if start == _TORCH_MARK or (start.startswith(b"PK") and _is_torch_archive(file)):
                raise NoiseError(
                    f"{path} was written by torch.save, expected a {what} saved as .npy or .npz; save its "
                    "tensor with numpy.save, such as numpy.save('noise.npy', tensor.numpy())"
                )
            if not start.startswith((b"\x93NUMPY", b"PK")):
                raise NoiseError(f"{path} is not a NumPy file; expected a {what} saved as .npy or .npz")
            file.seek(0)
            yield load_arrays(file)
    except NoiseError:
        raise
    except FileNotFoundError as error:
        raise NoiseError(f"there is no {what} {path}; check the path") from error
    except Exception as error:  # a damaged archive or header can make its reader raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:
            raise NoiseError(f"cannot read {path}: {reason(error)}") from error
        if "Object arrays" in str(error):
            raise NoiseError(
                f"{path} holds pickled Python objects, which are never loaded; save plain numbers"
            ) from error
        raise NoiseError(f"{path} is damaged or incomplete; fetch or make it again") from error


def _is_torch_archive(file: BinaryIO) -> bool:
    with zipfile.ZipFile(file) as archive:
        return any(map(is_of_torch, archive.namelist()))


def _record(path: Path, text: Array, cls: type[AnyRecord]) -> AnyRecord:
    """Parse the record of an archive."""
    try:
        values = parse_json(str(text)) if text.dtype.kind == "U" and text.ndim == 0 else None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise NoiseError(f"{path} has an unreadable record; expected a noise file written by this package")
    try:
        return cls.from_dict(values)
    except NoiseError as error:
        raise NoiseError(f"{path} cannot be used: {error}") from error


def _accept(
    noise: NoiseFile,
    record: AnyRecord,
    counted: tuple[int, ...],
    found: tuple[int, ...],
    fingerprint: str | None,
) -> AnyRecord:
    """Return the record with the data's fingerprint, refusing altered files and those made for other data.

    ``counted`` are the wrong entries by column that the record counts, ``found`` those with this data.
    """
    if fingerprint is not None and record.data_fingerprint not in (None, fingerprint):
        raise NoiseError(
            f"{noise.path} was made for data with fingerprint {record.data_fingerprint} and this data has "
            f"{fingerprint}; choose the file made for this data"
        )
    if index_sha256(noise.values) != record.sha256:
        raise NoiseError(f"{noise.path} does not have the hash in its record; it was altered, make it again")
    if counted != found:
        first, second = (" and ".join(map(str, counts)) for counts in (counted, found))
        raise NoiseError(
            f"the record of {noise.path} counts {first} wrong entries and with this data there are {second}; "
            "choose the file made for this data"
        )
    if record.data_fingerprint is None:
        return dataclasses.replace(record, data_fingerprint=fingerprint)
    return record


def _save(path: Path, values: IntArray, record: NoiseRecord | LabelNoiseRecord) -> None:
    if index_sha256(values) != record.sha256:
        raise NoiseError(f"the hash in the record is not that of the {record.key}; save both as made")
    little = values.astype("<i8")
    with atomic_file(path) as file:
        if path.suffix == ".npy":
            np.save(file, little, allow_pickle=False)
        else:
            text = np.array(json.dumps(record.to_dict(), sort_keys=True))
            np.savez_compressed(file, **{record.key: little, "record": text})  # type: ignore[arg-type]


def _without_record(
    noise: NoiseFile, truth: IntArray, n_images: int, data_fingerprint: str | None
) -> tuple[IntArray, NoiseRecord]:
    """Return a published index as caption rows, and a record of what it shows."""
    index = to_caption_rows(noise.values, truth, n_images, str(noise.path))
    is_permutation = truth.size == n_images == np.unique(index).size
    if is_permutation and not np.array_equal(index[truth], index):
        raise NoiseError(
            f"{noise.path} has {index.size} entries, which may be one per caption or one per image, and the "
            "two differ for this data; save it with its record as .npz"
        )
    used, written = np.unique(index).size, np.unique(truth).size
    if used < LEAST_SHARE_OF_IMAGES * written:
        raise NoiseError(
            f"{noise.path} uses only {used} of {written} images; check that it is a noise file for this data "
            "and not, say, labels"
        )
    return index, NoiseRecord(
        protocol=describe(noise.values, truth, n_images).protocol,
        data_fingerprint=data_fingerprint,
        source=noise.path.name,
        **counted(index, truth, n_images),
    )
