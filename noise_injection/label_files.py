"""Reading and writing label noise, ``.npz`` with labels and record; reading the ``.npy`` it is made from."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noise_injection.atomic import atomic_file
from noise_injection.checks import IntArray
from noise_injection.errors import NoiseError
from noise_injection.label_checks import check_given, check_labels
from noise_injection.label_describe import check_rows
from noise_injection.label_records import LabelNoiseRecord
from noise_injection.records import index_sha256

LABEL_KEYS = ("labels", "record")


@dataclass(frozen=True)
class LabelNoiseFile:
    """A label noise file as it lies on the disk, not yet held against any data.

    Attributes:
        path: where it lies.
        given: (n, 1) or (n, 2) int64, as stored; classes in the range its record names.
        record: its record.
    """

    path: Path
    given: IntArray
    record: LabelNoiseRecord


def save_label_noise(path: str | Path, given: npt.NDArray[Any], record: LabelNoiseRecord) -> None:
    """Write given labels with their record.

    Args:
        path: name ending in ``.npz``; a file there is replaced.
        given: (n, 1) or (n, 2) whole numbers, the given labels.
        record: their record.

    Raises:
        NoiseError: the record belongs to other labels, the name ends otherwise, or the file cannot be
            written.
    """
    path = check_label_name(path)
    given = check_given(given, record.n_classes)
    if given.shape != (record.n, record.n_columns) or index_sha256(given) != record.labels_sha256:
        raise NoiseError("the record belongs to other labels; save the labels together with their own record")
    text = json.dumps(record.to_dict(), sort_keys=True)
    with atomic_file(path) as file:
        np.savez_compressed(file, labels=given.astype("<i8"), record=np.array(text))


def load_label_noise(
    path: str | Path, truth: npt.NDArray[Any], n_classes: int, data_fingerprint: str | None = None
) -> tuple[IntArray, LabelNoiseRecord]:
    """Read a label noise file and hold it against the data it shall be used on.

    Args:
        path: the file.
        truth: (n,) whole numbers, the true labels.
        n_classes: number of classes.
        data_fingerprint: which data set this is; a file made for another is refused. It is entered in the
            record where the file names none.

    Returns:
        The given labels, (n, 1) or (n, 2) int64, and their record.

    Raises:
        NoiseError: the file is missing, damaged, of another kind, altered, or does not fit the data.
    """
    noise = read_label_file(path)
    record = noise.record
    truth = check_labels(truth, n_classes)
    if record.n_classes != n_classes:
        raise NoiseError(
            f"{noise.path} is for {record.n_classes} classes and the data has {n_classes}; choose the file "
            "made for this data"
        )
    check_rows(noise.given, truth, str(noise.path))
    if data_fingerprint is not None and record.data_fingerprint not in (None, data_fingerprint):
        raise NoiseError(
            f"{noise.path} was made for data with fingerprint {record.data_fingerprint} and this data has "
            f"{data_fingerprint}; choose the file made for this data"
        )
    if index_sha256(noise.given) != record.labels_sha256:
        raise NoiseError(
            f"{noise.path} does not have the hash its record names; it was altered, make it again"
        )
    wrong = tuple((noise.given != truth[:, None]).sum(axis=0).tolist())
    if wrong != record.n_wrong:
        raise NoiseError(
            f"{noise.path} names {_and(record.n_wrong)} wrong labels and with this data there are "
            f"{_and(wrong)}; choose the file made for this data"
        )
    if record.data_fingerprint is None:
        record = dataclasses.replace(record, data_fingerprint=data_fingerprint)
    return noise.given, record


def read_label_file(path: str | Path) -> LabelNoiseFile:
    """Read a label noise file without holding it against data; nothing in it is ever unpickled.

    Args:
        path: a ``.npz`` written by ``save_label_noise``.

    Returns:
        Its labels and its record.

    Raises:
        NoiseError: the file is missing, damaged or of another kind, or its labels do not fit its record.
    """
    path = Path(path)
    parts = _read(path, "label noise file")
    if isinstance(parts, np.ndarray):
        raise NoiseError(f"{path} holds an array without a record; expected label noise saved as .npz")
    if "index" in parts and "labels" not in parts:
        raise NoiseError(
            f"{path} holds mismatched pairs, not labels; give a file of label noise, or use it as noise of "
            "pairs"
        )
    missing = [key for key in LABEL_KEYS if key not in parts]
    if missing:
        raise NoiseError(
            f"{path} has no {' and no '.join(missing)}, it holds {', '.join(parts) or 'nothing'}; expected "
            "label noise written by this package"
        )
    record = _record(path, parts["record"])
    given = check_given(parts["labels"], record.n_classes, f"the labels in {path}")
    if given.shape != (record.n, record.n_columns):
        raise NoiseError(
            f"{path} holds labels of shape {given.shape} and its record is of ({record.n}, "
            f"{record.n_columns}); it was altered, make it again"
        )
    return LabelNoiseFile(path, given, record)


def read_array(path: str | Path, what: str) -> npt.NDArray[Any]:
    """Read a ``.npy``.

    Args:
        path: the file; told by content, not by name.
        what: what it is, such as ``label file``, for error messages.

    Returns:
        The array, as stored.

    Raises:
        NoiseError: the file is missing, damaged, or no single array.
    """
    found = _read(Path(path), what)
    if not isinstance(found, np.ndarray):
        raise NoiseError(f"the {what} {path} is an archive; expected a single array saved as .npy")
    return found


def is_label_file(path: str | Path) -> bool:
    """Whether a file is a NumPy archive with labels in it; False where there is none or it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "labels.npy" in archive.namelist()
    except Exception:  # a damaged archive can raise nearly anything in its reader
        return False


def check_label_name(path: str | Path) -> Path:
    """Return a path that label noise can be saved under.

    Raises:
        NoiseError: it does not end in ``.npz``.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise NoiseError(f"{path} ends in {path.suffix or 'nothing'}; name a file of label noise .npz")
    return path


def _read(path: Path, what: str) -> npt.NDArray[Any] | dict[str, npt.NDArray[Any]]:
    """The array in a ``.npy``, or those in a ``.npz`` by name."""
    try:
        with path.open("rb") as file:
            start = file.read(6)
            if not start.startswith((b"\x93NUMPY", b"PK")):
                raise NoiseError(f"{path} is not a NumPy file; expected a {what} saved by NumPy")
            file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except NoiseError:
        raise
    except FileNotFoundError as error:
        raise NoiseError(f"there is no {what} {path}; check the path") from error
    except Exception as error:  # a damaged archive or header can raise nearly anything in its reader
        if isinstance(error, OSError) and error.errno is not None:
            raise NoiseError(f"cannot read {path}: {error.strerror}; check the path") from error
        if "Object arrays" in str(error):
            raise NoiseError(
                f"{path} holds pickled Python objects, which are never loaded; save plain numbers"
            ) from error
        raise NoiseError(f"{path} is damaged or incomplete and cannot be read; make it again") from error


def _record(path: Path, text: npt.NDArray[Any]) -> LabelNoiseRecord:
    try:
        values = json.loads(str(text)) if text.dtype.kind == "U" and text.ndim == 0 else None
    except json.JSONDecodeError:
        values = None
    if not isinstance(values, dict):
        raise NoiseError(f"{path} has a record that cannot be read; expected label noise of this package")
    try:
        return LabelNoiseRecord.from_dict(values)
    except NoiseError as error:
        raise NoiseError(f"{path} cannot be used: {error}") from error


def _and(counts: tuple[int, ...]) -> str:
    return " and ".join(str(count) for count in counts)
