"""Arrays of numbers in ``.npz``, MATLAB and HDF5 files; nothing in a file is ever executed."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from noise_injection.reading import ArrayHeader, npz_headers
from robustcmr.data.hdf5_arrays import hdf5_names, read_hdf5
from robustcmr.data.mat_files import read_mat
from robustcmr.errors import DataError, some_of
from robustcmr.files import reason, regular_file

SUFFIXES = (".npz", ".mat", ".h5", ".hdf5", ".h5py")
"""Endings of the files that are looked up by the name of a split."""

NUMERIC = "biuf"
_KINDS = {"O": "objects", "U": "text", "S": "text", "c": "complex numbers", "V": "records"}
LISTED, LONGEST_NAME = 20, 80
HDF5_MARK = b"\x89HDF\r\n\x1a\n"
USER_BLOCK = 512  # MATLAB puts its own header in front of an HDF5 file

Kind = Literal["npz", "mat", "hdf5", "mat73"]
Array = npt.NDArray[Any]


def kind_of(path: Path) -> Kind:
    """Return ``npz``, ``mat`` (MATLAB 4 to 7), ``mat73`` (7.3, HDF5) or ``hdf5``, by the first bytes."""
    try:
        with regular_file(path) as file:
            start = file.read(USER_BLOCK + len(HDF5_MARK))
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; expected a .npz, .mat or HDF5 file") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    if start.startswith(b"PK"):
        return "npz"
    if start.startswith(HDF5_MARK):
        return "hdf5"
    if start[USER_BLOCK:] == HDF5_MARK:
        return "mat73" if start.startswith(b"MATLAB") else "hdf5"
    # version 4 has no mark of its own: the file's name decides
    if start.startswith(b"MATLAB 5.0") or (path.suffix.lower() == ".mat" and start):
        return "mat"
    state = "is of an unknown kind" if start else "is empty"
    raise DataError(f"{path} {state}; expected a .npz, .mat or HDF5 file")


def read_array(path: Path, key: str) -> Array:
    """Read one array of integers, booleans or floating-point numbers by name, with slashes for HDF5 groups.

    Arrays of ``.npz`` and MATLAB files are loaded. A large HDF5 array is memory-mapped if it is neither
    compressed nor chunked. An array of a MATLAB 7.3 file has the shape that MATLAB shows.

    Raises:
        DataError: the file is missing, of an unknown kind or damaged, has no such array, or the array holds
            something else than numbers; or the file is HDF5 and h5py is not installed.
    """
    kind = kind_of(path)
    with _damage_reported(path):
        mat = read_mat(path, key) if kind == "mat" else None
        names = _names(path, kind) if mat is None else _as_text(mat.shapes)
    if key not in names:
        raise DataError(f"{path} has no array {key!r}; it has {shown(names) or 'none'}")
    with _damage_reported(path):
        if kind == "npz":
            array, content = _from_npz(path, key)
        elif mat is not None:
            array, content = mat.array, _KINDS.get(mat.stored or "", f"a MATLAB {mat.kinds[key]}")
        else:
            array, content = read_hdf5(path, key, kind == "mat73"), ""
    if array is None or array.dtype.kind not in NUMERIC:
        if array is not None:
            content = _KINDS.get(array.dtype.kind, str(array.dtype))
        raise DataError(f"{path} holds {content} under {key!r}; expected an array of plain numbers")
    return array


def array_names(path: Path) -> dict[str, str]:
    """Return the name of each array of a file and its shape as text, such as ``{"image": "9x5"}``."""
    kind = kind_of(path)
    with _damage_reported(path):
        return _names(path, kind)


def shown(names: Mapping[str, str]) -> str:
    """Return the first of some arrays and their shapes, see :func:`array_names`, for a message."""
    safe = [name if name.isprintable() and len(name) <= LONGEST_NAME else ascii(name[:40]) for name in names]
    return some_of([f"{name} {shape}" for name, shape in zip(safe, names.values(), strict=True)], LISTED)


def _names(path: Path, kind: Kind) -> dict[str, str]:
    if kind == "npz":
        return _as_text({name: header.shape for name, header in _npz_headers(path).items()})
    return _as_text(read_mat(path).shapes) if kind == "mat" else hdf5_names(path, kind == "mat73")


def _as_text(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    return {name: "x".join(map(str, shape)) or "a single value" for name, shape in shapes.items()}


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # these libraries raise nearly any exception for a damaged file
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DataError(f"{path} is truncated or damaged ({reason}); copy it again") from error


def _npz_headers(path: Path) -> dict[str, ArrayHeader]:
    with zipfile.ZipFile(path) as archive:
        return npz_headers(archive)


def _from_npz(path: Path, key: str) -> tuple[Array | None, str]:
    if _npz_headers(path)[key].dtype.hasobject:
        return None, "Python objects, which are never unpickled,"
    with np.load(path, allow_pickle=False) as archive:
        return archive[key], ""
