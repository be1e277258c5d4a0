"""Bounded reading: regular files of a stated size, JSON of a stated depth, arrays that fit their file.

A file that is no regular file or too large raises ``OSError``, unsuitable content ``ValueError``. Each says
in a few words what was found and what was expected, to stand in a sentence that names the file.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from noise_injection.checks import Array

LARGEST_TEXT = 2 * 2**30
"""Bytes of a text file or a table, at most."""

LARGEST_JSON = 64 * 2**20
"""Bytes of a JSON file, at most."""

DEEPEST = 64
"""Levels of lists and mappings inside each other in JSON or YAML, at most."""

TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"

INFLATED_BYTES, INFLATION = 2**30, 100
"""An array of a ``.npz`` above this size may take at most this many times its compressed size."""

_OTHERS = {
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


@contextmanager
def regular_file(path: Path, largest: float = math.inf) -> Iterator[io.BufferedReader]:
    """Open a file to read bytes; refuse folders, devices, pipes and files of more than ``largest`` bytes.

    Raises:
        OSError: it is none, is larger, or cannot be opened; ``strerror`` says why.
    """
    try:
        found = path.stat()
    except ValueError as error:  # NUL, or half of a surrogate pair
        raise OSError(errno.EINVAL, "no file can have such a name") from error
    check_kind(found)
    _check_size(found.st_size, largest)
    with path.open("rb") as file:
        yield file


def check_kind(found: os.stat_result) -> None:
    """Raise OSError for a device, named pipe or socket.

    Opening a pipe would wait, reading a device may never end, and a file in the place of either is a loss.
    """
    kind = stat.S_IFMT(found.st_mode)
    if kind in _OTHERS:
        raise OSError(errno.EINVAL, f"it is {_OTHERS[kind]}, expected a regular file")


def read_bytes(path: Path, largest: int = LARGEST_TEXT) -> bytes:
    """Return the content of a file; see :func:`regular_file`."""
    with regular_file(path, largest) as file:
        content = file.read(largest + 1)
    _check_size(len(content), largest)  # it grew, or its size was not known
    return content


def parse_json(text: str) -> Any:
    """Return the value of a JSON document.

    Raises:
        ValueError: it is no JSON, or :func:`check_plain` refuses it.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    check_plain(value)
    return value


def check_plain(value: Any) -> None:
    """Refuse nesting below :data:`DEEPEST` levels, half characters and whole numbers beyond 64 bits.

    Raises:
        ValueError: ``value``, of lists and mappings, holds one of them.
    """
    level, depth = [value], 0
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                if not item.isascii():
                    _check_characters(item)
            elif isinstance(item, int):
                if abs(item) >= 2**63:
                    raise ValueError("it holds a whole number beyond 64 bits")
            elif isinstance(item, (dict, list, tuple, set)):
                if depth == DEEPEST:
                    raise ValueError(TOO_DEEP)
                below += [*item, *item.values()] if isinstance(item, dict) else item
        level, depth = below, depth + 1


def _check_characters(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{text[:40]!a} in it holds a lone surrogate, which is no character") from error


def _check_size(size: int, largest: float) -> None:
    if size > largest:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, expected at most {largest:,}")


class ArrayHeader(NamedTuple):
    """What a ``.npy`` file says of its array."""

    shape: tuple[int, ...]
    fortran: bool  # whether it is stored column by column
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def npy_header(file: BinaryIO) -> ArrayHeader:
    """Read the header of a ``.npy`` file, up to the first number.

    Raises:
        ValueError: there is none, or its shape or type is impossible.
    """
    try:
        old = np.lib.format.read_magic(file) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        header = ArrayHeader(*read(file))
    except (OSError, ValueError):
        raise
    except Exception as error:  # NumPy's parser of headers raises nearly anything
        raise ValueError("its header cannot be read") from error
    if any(length < 0 for length in header.shape) or header.dtype.itemsize == 0:
        raise ValueError(f"its header says shape {header.shape} and type {header.dtype}")
    return header


def npz_headers(archive: zipfile.ZipFile) -> dict[str, ArrayHeader]:
    """Return the header of each array of a ``.npz``; no array is unpacked.

    Raises:
        ValueError: a member is no array, promises more bytes than it has, or would unpack to far more than
            the file holds; or the archive was written by ``torch.save``.
    """
    headers = {}
    for member in archive.infolist():
        if is_of_torch(member.filename):
            raise ValueError("it was written by torch.save")
        if member.file_size > max(INFLATED_BYTES, INFLATION * member.compress_size):
            raise ValueError(f"{member.compress_size:,} bytes in it unpack to {member.file_size:,}")
        with archive.open(member) as file:
            header = npy_header(file)  # type: ignore[arg-type]
            rest = member.file_size - file.tell()
        if header.nbytes > rest and not header.dtype.hasobject:
            raise ValueError(f"the header of {member.filename} promises more than its {rest:,} bytes")
        headers[member.filename.removesuffix(".npy")] = header
    return headers


def is_of_torch(member: str) -> bool:
    """Return whether a member of this name shows that ``torch.save`` wrote an archive."""
    return member.rpartition("/")[2] == "data.pkl"


def load_arrays(file: BinaryIO) -> Array | np.lib.npyio.NpzFile:
    """Return the array of a ``.npy``, or the open archive of a ``.npz``, once every header fits the file.

    Raises:
        ValueError: a header is impossible, or promises more than the file holds.
    """
    if file.read(2) == b"PK":
        with zipfile.ZipFile(file) as archive:
            npz_headers(archive)
    else:
        file.seek(0)
        header = npy_header(file)
        first = file.tell()
        rest = file.seek(0, 2) - first
        if header.nbytes > rest and not header.dtype.hasobject:
            raise ValueError(f"its header promises {header.nbytes:,} bytes and {rest:,} follow")
    file.seek(0)
    found: Array | np.lib.npyio.NpzFile = np.load(file, allow_pickle=False)
    return found
