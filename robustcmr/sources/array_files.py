"""Arrays of one row a pair or picture in ``.npy`` files and in the members of ``.npz`` files.

Rows are read where they lie: a file is mapped into memory, and a member of an archive too unless it is
compressed. A file that ends before the rows that its header promises keeps those that it has.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from noise_injection.reading import ArrayHeader, npy_header, npz_headers
from robustcmr.errors import DataError
from robustcmr.files import reason, regular_file

BLOCK_BYTES = 1 << 24
"""Bytes of rows that are copied at once."""


@dataclass(frozen=True)
class ArrayPart:
    """An array in a file, opened but not read.

    Attributes:
        path: of the file.
        member: of the ``.npz`` that the file is; None for a ``.npy``.
        offset: of the first number in the file, in bytes; None where the member is compressed.
        shape: that the header states, at least one axis.
        held: rows that the file holds, at most those of the shape.
        dtype: of the numbers.
        fortran: whether the array is stored column by column.
    """

    path: Path
    member: str | None
    offset: int | None
    shape: tuple[int, ...]
    held: int
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def name(self) -> str:
        """The file, and the member in it, for a message."""
        return str(self.path) if self.member is None else f"{self.member} in {self.path}"

    def load(self) -> npt.NDArray[Any]:
        """Return the rows that are there, mapped into memory, or unpacked where compressed.

        Raises:
            DataError: the file is gone or damaged.
        """
        shape = (self.held, *self.shape[1:])
        try:
            if self.offset is None:
                with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.member}.npy") as file:
                    return np.lib.format.read_array(file, allow_pickle=False)
            if 0 in shape:
                return np.empty(shape, self.dtype)  # nothing can be mapped
            order = "F" if self.fortran else "C"
            return np.memmap(self.path, self.dtype, "r", self.offset, shape, order)  # type: ignore[call-overload, no-any-return]
        except OSError as error:
            raise DataError(f"cannot read {self.name}: {reason(error)}") from error
        except Exception as error:  # a damaged archive raises nearly anything
            raise DataError(f"{self.name} is damaged: {error}; fetch or make it again") from error


def release(array: npt.NDArray[Any]) -> None:
    """Drop the pages of a mapped array from memory; they are read again when needed.

    The memory of the process would otherwise grow by all rows that were ever read.
    """
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        with suppress(OSError, ValueError):
            mapped.madvise(mmap.MADV_DONTNEED)


def open_npy(path: Path) -> ArrayPart:
    """Read the header of a ``.npy``; a file that is shorter than it promises has fewer rows held.

    Raises:
        DataError: the file is missing, is no ``.npy``, or holds no array of rows of numbers.
    """
    try:
        with regular_file(path) as file:
            header = npy_header(file)
            offset = file.tell()
            rest = file.seek(0, 2) - offset
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    except ValueError as error:
        raise DataError(f"{path} is no .npy file: {error}; save an array with numpy.save") from error
    if not header.shape or header.dtype.hasobject:
        raise DataError(
            f"{path} holds {_shown(header)}; expected rows of numbers, such as (1000, 512) float16"
        )
    return ArrayPart(path, None, offset, header.shape, _held(header, rest), header.dtype, header.fortran)


def open_npz(path: Path) -> dict[str, ArrayPart]:
    """Read the headers of all arrays of a ``.npz`` with at least one axis, by name.

    Raises:
        DataError: the file is missing or damaged.
    """
    parts = {}
    try:
        with regular_file(path) as file, zipfile.ZipFile(file) as archive:
            headers = npz_headers(archive)
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                header = headers[name]
                if not header.shape or header.dtype.hasobject:
                    continue
                offset = _offset(file, archive, member)
                parts[name] = ArrayPart(
                    path, name, offset, header.shape, header.shape[0], header.dtype, header.fortran
                )
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    except Exception as error:  # a damaged archive raises nearly anything
        raise DataError(f"{path} is damaged: {error}; fetch or make it again") from error
    return parts


def kept_blocks(
    array: npt.NDArray[Any], keep: npt.NDArray[np.bool_], block_bytes: int = BLOCK_BYTES
) -> Iterator[npt.NDArray[Any]]:
    """Yield the kept rows of an array in order, some at a time."""
    size = max(1, block_bytes // max(1, array[:1].nbytes))
    for start in range(0, len(array), size):
        yield np.asarray(array[start : start + size])[keep[start : start + size]]
        release(array)


def check_held(part: ArrayPart, keep: npt.NDArray[np.bool_]) -> None:
    """Raise DataError where rows to keep are not in a file that ends early or has other rows."""
    if part.shape[0] != len(keep):
        raise DataError(
            f"{part.name} has {part.shape[0]:,} rows for {len(keep):,} pairs; make it again before pairs are "
            "written with it"
        )
    if lost := int(keep[part.held :].sum()):
        raise DataError(
            f"{part.name} ends before {lost:,} of the rows to keep; leave those pairs out, or make it again"
        )


def write_rows(part: ArrayPart, keep: npt.NDArray[np.bool_], file: BinaryIO) -> None:
    """Write the kept rows of an array as ``.npy``, in the same type and order of axes.

    Args:
        part: rows that are missing at its end are written as none.
        keep: (rows,) which of them.
        file: written from where it stands.
    """
    kept = int(keep[: part.held].sum())
    write_header(part, kept, file)
    array = part.load()
    if part.fortran:  # stored column by column, each column is written whole
        flat = array.reshape(len(array), -1, order="F")
        for column in range(flat.shape[1]):
            file.write(np.ascontiguousarray(flat[:, column][keep[: part.held]]).tobytes())
        return
    for block in kept_blocks(array, keep[: part.held]):
        file.write(np.ascontiguousarray(block).tobytes())


def write_header(part: ArrayPart, rows: int, file: BinaryIO) -> None:
    """Write the header of a ``.npy`` with so many rows as the array that ``part`` describes."""
    described = {
        "descr": np.lib.format.dtype_to_descr(part.dtype),
        "fortran_order": part.fortran,
        "shape": (rows, *part.shape[1:]),
    }
    np.lib.format.write_array_header_1_0(file, described)


def write_npz(path: Path, keep: npt.NDArray[np.bool_], file: BinaryIO) -> None:
    """Write a ``.npz`` again with the kept rows of each of its arrays, compressed where it was.

    Arrays of another number of rows than ``keep`` are copied whole.

    Raises:
        DataError: the file is damaged.
    """
    parts = open_npz(path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(file, "w") as new:
        for member in old.infolist():
            info = zipfile.ZipInfo(member.filename, member.date_time)
            info.compress_type, info.external_attr = member.compress_type, member.external_attr
            with new.open(info, "w", force_zip64=True) as target:
                part = parts.get(member.filename.removesuffix(".npy"))
                if part is not None and part.shape[0] == len(keep):
                    write_rows(part, keep, cast(BinaryIO, target))
                    continue
                with old.open(member) as source:
                    while block := source.read(BLOCK_BYTES):
                        target.write(block)


def _held(header: ArrayHeader, rest: int) -> int:
    """Return how many rows of an array ``rest`` bytes hold."""
    rows = header.shape[0]
    if header.nbytes <= rest:
        return rows
    if header.fortran and len(header.shape) > 1:
        return 0  # the last columns are missing of every row
    return rest // max(1, header.nbytes // max(1, rows))


def _offset(file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int | None:
    """Return where the numbers of a member begin in the archive; None where they are compressed."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        return None
    with archive.open(member) as content:
        npy_header(cast(BinaryIO, content))
        header_bytes = content.tell()
    file.seek(member.header_offset + 26)  # of the local header: lengths of the name and of what follows it
    name, extra = struct.unpack("<HH", file.read(4))
    return int(member.header_offset + 30 + name + extra + header_bytes)


def _shown(header: ArrayHeader) -> str:
    kind = "objects" if header.dtype.hasobject else str(header.dtype)
    return f"an array of shape {header.shape} of {kind}"
