"""Text files of one record after the other, whose kept records are written back byte for byte."""

from __future__ import annotations

import codecs
import gzip
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import numpy as np
import numpy.typing as npt

from robustcmr.errors import DataError
from robustcmr.files import atomic_file, regular_file
from robustcmr.sources.records import Shard
from robustcmr.sources.shards import copy_path, reading, size_of, starts
from robustcmr.sources.tables import MOST_BYTES, MOST_ROWS, Table, check_mask

T = TypeVar("T")

LONGEST_LINE = 64 * 2**20
"""Bytes of a line, at most."""

SAMPLE_LINES, SAMPLE_BYTES = 1000, 2**20
"""Lines and bytes from the start of a file that its layout is told from."""

_GZIP = b"\x1f\x8b"
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_TO_UTF8 = "convert it, such as with: iconv -f {} -t utf-8"


@dataclass(frozen=True)
class LineTable(Table):
    """A source of text files."""

    def records(self, shard: Shard) -> tuple[bytes, Iterator[bytes]]:
        """Return what comes before the first record, and the bytes of each record, line end included."""
        raise NotImplementedError

    def write(self, shard: Shard, keep: npt.NDArray[np.bool_], to: Path) -> tuple[Path, ...]:
        """Write the bytes of the records to keep; compressed if the file was."""
        path = copy_path(self, shard, to)
        count = 0
        with atomic_file(path) as target, _packed(target, is_packed(shard.path)) as file:
            before, records = self.records(shard)
            file.write(before)
            for record in records:
                if count < len(keep) and keep[count]:
                    file.write(record)
                count += 1
            check_mask(keep, count, shard.path)
        return (path,)


@contextmanager
def _packed(target: BinaryIO, packed: bool) -> Iterator[BinaryIO]:
    if not packed:
        yield target
        return
    with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as file:
        yield cast(BinaryIO, file)


def is_packed(path: Path) -> bool:
    """Return whether a file is compressed by gzip."""
    return starts(path, 2) == _GZIP


def lines_of(path: Path) -> Iterator[bytes]:
    r"""Read the lines of a file, each with its ``\n``; the first without a byte-order mark.

    Raises:
        DataError: the file cannot be read, or has a line of more than 64 MiB.
    """
    size_of(path)
    try:
        with reading(path, "gzip"), regular_file(path) as plain:
            packed = is_packed(path)
            file = cast(BinaryIO, gzip.GzipFile(fileobj=plain)) if packed else plain
            first = True
            while line := file.readline(LONGEST_LINE):
                if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                    raise DataError(
                        f"{path} has a line of more than {LONGEST_LINE:,} bytes, expected shorter ones; "
                        "check that it is a table of text"
                    )
                yield line.removeprefix(codecs.BOM_UTF8) if first else line
                first = False
    except zlib.error as error:
        raise DataError(f"{path} cannot be unpacked ({error}); copy it again, or leave it out") from error


def parts_of(records: Iterable[T], size_of_one: Callable[[T], int]) -> Iterator[list[T]]:
    """Divide records into parts of bounded number and bytes."""
    part: list[T] = []
    size = 0
    for record in records:
        part.append(record)
        size += size_of_one(record)
        if len(part) == MOST_ROWS or size >= MOST_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def mark_of(path: Path) -> bytes:
    """Return the byte-order mark of a file of UTF-8, or nothing."""
    if is_packed(path):
        with reading(path, "gzip"), gzip.open(path) as file:
            first = file.read(3)
    else:
        first = starts(path, 3)
    return codecs.BOM_UTF8 if first == codecs.BOM_UTF8 else b""


def sample(path: Path) -> list[bytes]:
    """Return the first lines of a file.

    Raises:
        DataError: it cannot be read, or is no text of UTF-8.
    """
    found: list[bytes] = []
    size = 0
    for line in itertools.islice(lines_of(path), SAMPLE_LINES):
        found.append(line)
        size += len(line)
        if size > SAMPLE_BYTES:
            break
    _check_utf8(path, found)
    if not any(line.strip() for line in found):
        raise DataError(f"{path} has no rows, expected lines of text; write it again, or leave it out")
    return found


def _check_utf8(path: Path, found: Sequence[bytes]) -> None:
    if found and found[0].startswith(_WIDE):
        raise DataError(f"{path} is UTF-16, expected UTF-8; {_TO_UTF8.format('utf-16')}")
    if any(b"\0" in line for line in found):
        raise DataError(f"{path} is no text: it holds zero bytes; expected lines of UTF-8")
    if b"\r" in found[0] and not found[0].endswith(b"\n") and found[0].count(b"\r") > 1:
        raise DataError(
            f"{path} ends its lines with CR alone, expected LF or CR LF; convert it, such as with: "
            "tr '\\r' '\\n'"
        )
    letters = [line for line in found if not line.isascii()]
    wrong = [line for line in letters if _is_wrong(line)]
    few = 20 * len(wrong) < len(found)  # damaged lines, which are counted as rows that cannot be read
    if wrong and (wrong[0] is found[0] or (len(wrong) == len(letters) and not few)):
        number = found.index(wrong[0]) + 1
        raise DataError(
            f"{path} is not UTF-8 (line {number}), which is expected; {_TO_UTF8.format('latin1')}"
        )


def _is_wrong(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False
