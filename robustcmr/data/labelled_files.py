"""Reading arrays of numbers out of ``.npz``, MATLAB and HDF5 files; nothing in them is ever executed."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.io
import scipy.sparse

from robustcmr.errors import DataError

SUFFIXES = (".npz", ".mat", ".h5", ".hdf5", ".h5py")
"""Endings of the files that are looked for by the name of a split."""

MAPPED_BYTES = 64 * 2**20
"""From this size on an uncompressed HDF5 array stays on disk; smaller ones are loaded."""

NUMERIC = "biuf"
LISTED = 20
HDF5_MARK = b"\x89HDF\r\n\x1a\n"
USER_BLOCK = 512  # MATLAB puts its own header in front of an HDF5 file

Kind = Literal["npz", "mat", "hdf5", "mat73"]
Array = npt.NDArray[Any]


def kind_of(path: Path) -> Kind:
    """What a file is, by its first bytes.

    Returns:
        ``npz``, ``mat`` (MATLAB 4 to 7), ``mat73`` (MATLAB 7.3, an HDF5 file) or ``hdf5``.

    Raises:
        DataError: the file is missing, empty or of no such kind.
    """
    try:
        with path.open("rb") as file:
            start = file.read(USER_BLOCK + len(HDF5_MARK))
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; expected a .npz, .mat or HDF5 file") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if start.startswith(b"PK"):
        return "npz"
    if start.startswith(HDF5_MARK):
        return "hdf5"
    if start[USER_BLOCK:] == HDF5_MARK:
        return "mat73" if start.startswith(b"MATLAB") else "hdf5"
    # version 4 has no mark of its own, so there the name has to tell
    if start.startswith(b"MATLAB 5.0") or (path.suffix.lower() == ".mat" and start):
        return "mat"
    state = "is empty" if not start else "is of no known kind"
    raise DataError(f"{path} {state}; expected a .npz, .mat or HDF5 file")


def read_array(path: Path, key: str) -> Array:
    """Read one array.

    Arrays of ``.npz`` and MATLAB files are loaded; a large HDF5 array that is neither compressed nor cut into
    chunks is memory-mapped. An array of a MATLAB 7.3 file is given as MATLAB shows it, not as it is stored.

    Args:
        path: a ``.npz``, ``.mat`` or HDF5 file.
        key: name of the array; with slashes for HDF5 groups.

    Returns:
        The array, of whole or floating-point numbers.

    Raises:
        DataError: the file is missing, of no known kind, truncated or damaged, has no such array, or the
            array holds something else than numbers; or the file is HDF5 and h5py is not installed.
    """
    kind = kind_of(path)
    try:
        if kind == "npz":
            array = _from_npz(path, key)
        elif kind == "mat":
            array = _from_mat(path, key)
        else:
            array = _from_hdf5(path, key, kind == "mat73")
    except DataError:
        raise
    except Exception as error:  # damaged files make these libraries raise nearly anything
        raise _damaged(path, error) from error
    if array.dtype.kind not in NUMERIC:
        raise DataError(
            f"{path} holds {_what(array.dtype)} under {key!r}; expected an array of plain numbers"
        )
    return array


def array_names(path: Path) -> dict[str, str]:
    """What a file holds: the name of each entry and, as text, its shape or what it is instead.

    Raises:
        DataError: as for :func:`read_array`.
    """
    kind = kind_of(path)
    try:
        if kind == "npz":
            return _names_npz(path)
        if kind == "mat":
            return {name: _text(shape) for name, shape, _ in scipy.io.whosmat(str(path))}
        return _names_hdf5(path, kind == "mat73")
    except DataError:
        raise
    except Exception as error:  # see read_array
        raise _damaged(path, error) from error


def _from_npz(path: Path, key: str) -> Array:
    with np.load(path, allow_pickle=False) as archive:
        if key not in archive.files:
            raise _no_such_array(path, key, _names_npz(path))
        # the header alone tells; reading an array of objects would mean unpickling it
        with archive.zip.open(f"{key}.npy") as member:
            dtype = _npy_header(member)[1]
        if dtype.hasobject:
            raise DataError(
                f"{path} holds Python objects under {key!r}, which are not unpickled for safety; save plain "
                "numbers instead"
            )
        array: Array = archive[key]
    return array


def _names_npz(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        names = {}
        for name in archive.namelist():
            with archive.open(name) as member:
                names[name.removesuffix(".npy")] = _text(_npy_header(member)[0])
        return names


def _npy_header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    shape, _, dtype = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
    return shape, dtype


def _from_mat(path: Path, key: str) -> Array:
    entries = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(str(path))}
    if key not in entries:
        raise _no_such_array(path, key, {name: _text(shape) for name, (shape, _) in entries.items()})
    kind = entries[key][1]
    if kind in ("cell", "struct", "object", "function", "opaque", "char", "unknown"):
        raise DataError(f"{path} holds a MATLAB {kind} under {key!r}; expected an array of plain numbers")
    value = scipy.io.loadmat(str(path), variable_names=[key])[key]
    return np.asarray(value.toarray() if scipy.sparse.issparse(value) else value)


def _from_hdf5(path: Path, key: str, matlab: bool) -> Array:
    h5py = _h5py(path)
    with h5py.File(path, "r") as file:
        found = file.get(key)
        if found is None:
            raise _no_such_array(path, key, _walk(h5py, file, matlab))
        if not isinstance(found, h5py.Dataset):
            inside = ", ".join(found) or "nothing"
            raise DataError(f"{path} holds a group under {key!r}, with {inside} in it; name an array")
        if found.dtype.kind not in NUMERIC:
            raise DataError(
                f"{path} holds {_what(found.dtype)} under {key!r}; expected an array of plain numbers"
            )
        offset = found.id.get_offset()  # None unless all of it lies in one uncompressed piece
        if offset is not None and found.external is None and found.nbytes >= MAPPED_BYTES and not matlab:
            return np.memmap(path, found.dtype, "r", offset, found.shape)
        array: Array = np.asarray(found[()])
    return array.T if matlab else array


def _names_hdf5(path: Path, matlab: bool) -> dict[str, str]:
    h5py = _h5py(path)
    with h5py.File(path, "r") as file:
        return _walk(h5py, file, matlab)


def _walk(h5py: ModuleType, file: Any, matlab: bool) -> dict[str, str]:
    names: dict[str, str] = {}

    def visit(name: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset) and not name.startswith("#"):  # MATLAB's own bookkeeping
            names[name] = _text(found.shape[::-1] if matlab else found.shape)

    file.visititems(visit)
    return names


def _h5py(path: Path) -> ModuleType:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise DataError(
            f"{path} is an HDF5 file, which needs the package h5py; it comes with "
            "pip install 'robustcmr[labels]'"
        ) from error


def _no_such_array(path: Path, key: str, names: dict[str, str]) -> DataError:
    shown = [f"{name} {shape}" for name, shape in list(names.items())[:LISTED]]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return DataError(f"{path} has no array {key!r}; it has {', '.join(shown) or 'none'}{more}")


def _damaged(path: Path, error: Exception) -> DataError:
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    return DataError(f"{path} is truncated or damaged ({reason}); copy it again")


def _what(dtype: np.dtype[Any]) -> str:
    if dtype.hasobject:
        return "objects"
    return {"U": "text", "S": "text", "c": "complex numbers", "V": "records"}.get(dtype.kind, f"{dtype}")


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape) or "a single value"
