"""Tar archives read from beginning to end, and copied member by member without a byte being changed.

Nothing is unpacked to disk. A sample is the members that follow one another under one key, which is their
name up to the first dot after the last slash. Members that belong to none, such as folders, are copied
always.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from robustcmr.errors import DataError
from robustcmr.files import reason
from robustcmr.sources.shards import size_of

BLOCK, RECORD = 512, 10_240
"""Bytes that members are padded to, and archives."""

SUFFIXES = (".tar", ".tar.gz", ".tgz")

_NAMED = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)", re.DOTALL)
_META = re.compile(r"__[^/]*__(?:$|/)")
_CHUNK = 1 << 20
_BROKEN = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, UnicodeError)

Reader = Callable[[str, BinaryIO], Any]
"""What is made of a member, from its suffix and content."""


@dataclass
class Sample:
    """Members of one key that follow one another.

    Attributes:
        key: of all of them; None for the rest of an archive that is damaged.
        parts: what was made of each member, by suffix in lower case.
        ranges: bytes of the archive that they take, headers and padding included.
        problem: why it cannot be used.
        damaged: whether that is because the archive is.
        other: whether this is no sample, but a member that belongs to none.
    """

    key: str | None
    ranges: list[tuple[int, int]]
    parts: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    damaged: bool = False
    other: bool = False


def split_name(name: str) -> tuple[str, str] | None:
    """Return key and suffix of a member; None for one that belongs to no sample.

    Example:
        >>> split_name("a/b.c/0017.seg.PNG")
        ('a/b.c/0017', 'seg.png')
    """
    found = None if _META.match(name) else _NAMED.fullmatch(name)
    return None if found is None else (found[1], found[2].lower())


@contextmanager
def opened_tar(path: Path) -> Iterator[BinaryIO]:
    """Open an archive to read its bytes, unpacked where it is compressed by gzip.

    Raises:
        DataError: it is missing, empty, or no tar.
    """
    size_of(path)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file: BinaryIO = cast(BinaryIO, _Forward(gzip.GzipFile(fileobj=raw))) if packed else raw
            try:
                start = file.read(BLOCK)
            except _BROKEN as error:
                raise DataError(
                    f"{path} cannot be unpacked: {error}; copy it again, or leave it out"
                ) from error
            if len(start) < BLOCK or not _is_header(start):
                raise DataError(
                    f"{path} is no tar: it starts with {start[:8]!r}; give tars, or name the format, such as "
                    "--format parquet"
                )
            file.seek(0)
            yield file
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error


def samples(file: BinaryIO, read: Reader) -> Iterator[Sample]:
    """Yield the samples of an archive in order, and its other members as they come.

    The last sample of an archive that is damaged or cut off has a problem unless it is whole; one more
    sample, without key, stands for all that cannot be read after it.

    Args:
        file: from :func:`opened_tar`, at its beginning.
        read: called with each member of a sample, in order.
    """
    current: Sample | None = None
    before: set[str] = set()  # suffixes of the sample before
    walk = _Walk(file)
    for member in walk:
        named = split_name(member.info.name)
        if named is None or not (member.info.isreg() or member.info.issym() or member.info.islnk()):
            if walk.is_whole(member):
                yield Sample(None, [(member.begin, member.end)], other=True)
            continue
        key, suffix = named
        if current is None or key != current.key:
            if current is not None:
                before = set(current.parts)
                yield current
            current = Sample(key, [])
        current.ranges.append((member.begin, member.end))
        try:
            _add(current, suffix, member.info, walk, read)
        except _BROKEN as error:
            walk.stop(member.begin, error)
        if not walk.is_whole(member):
            current.problem, current.damaged = f"the tar is damaged within its .{suffix}", True
    if current is not None:
        if walk.damage is not None and current.problem is None and not set(current.parts) >= before:
            current.problem, current.damaged = "the tar is damaged within this sample", True
        yield current
    if walk.damage is not None:
        problem = f"the tar is damaged at byte {walk.at:,} ({walk.damage}); nothing after it is read"
        yield Sample(None, [], problem=problem, damaged=True)


def _add(sample: Sample, suffix: str, info: tarfile.TarInfo, walk: _Walk, read: Reader) -> None:
    """Read a member into its sample."""
    if not info.isreg():
        sample.problem = f"its .{suffix} is a link, which is not followed"
    elif suffix in sample.parts:
        sample.problem = f"it has two members .{suffix}"
    else:
        content = walk.tar.extractfile(info)
        sample.parts[suffix] = read(suffix, cast(BinaryIO, content))
    path = str(sample.key)
    if path.startswith("/") or ".." in path.split("/"):
        sample.problem = "its name leads outside the folder of the tar"


@dataclass(frozen=True)
class _Member:
    info: tarfile.TarInfo
    begin: int
    end: int


class _Walk:
    """The members of an archive; ``damage`` and ``at`` say why and where they stop before its end."""

    def __init__(self, file: BinaryIO) -> None:
        self.damage: str | None = None
        self.at = 0
        self._file = file
        self._size = None  # of a compressed archive, which is known only at its end
        if not isinstance(file, _Forward):
            self._size = file.seek(0, io.SEEK_END)
            file.seek(0)
        try:
            self.tar = tarfile.open(fileobj=file, mode="r:", encoding="utf-8")  # noqa: SIM115 - of the caller
        except _BROKEN as error:
            self.stop(0, error)

    def __iter__(self) -> Iterator[_Member]:
        end = 0
        while self.damage is None:
            try:
                if (info := self.tar.next()) is None:
                    self._check_end(end)
                    return
                cast(Any, self.tar).members.clear()  # which would grow by every member
                if info.offset > end:  # a header for all that follow
                    yield _Member(tarfile.TarInfo(), end, info.offset)
                end = self.tar.offset
                yield _Member(info, info.offset, end)
            except _BROKEN as error:
                self.stop(end, error)

    def stop(self, at: int, error: BaseException | str) -> None:
        """End the walk by damage."""
        self.damage, self.at = " ".join(str(error).split())[:100] or "it is cut off", at

    def is_whole(self, member: _Member) -> bool:
        """Return whether the archive has all bytes of a member; end the walk where it has not."""
        if self.damage is not None:
            return False
        info = member.info
        plain = info.isreg() and not info.issparse() and member.end > info.offset_data > member.begin
        end = info.offset_data + info.size if plain else member.end  # padding may be cut off
        try:
            if not self._has(end):
                self.stop(member.begin, "it is cut off")
        except _BROKEN as error:
            self.stop(member.begin, error)
        return self.damage is None

    def _has(self, end: int) -> bool:
        """Return whether the archive has bytes up to ``end``."""
        if self._size is not None:
            return end <= self._size
        self._file.seek(end - 1)
        return len(self._file.read(1)) == 1

    def _check_end(self, end: int) -> None:
        """Tell the end of an archive from a damaged header, which tarfile takes for one."""
        self._file.seek(end)
        block = self._file.read(BLOCK)
        if len(block) < BLOCK:
            self.stop(end, "it is cut off: the zeros that end a tar are missing")
        elif block.strip(b"\0"):
            self.stop(end, "a header cannot be read")
        while self.damage is None and (block := self._file.read(_CHUNK)):
            if block.strip(b"\0"):
                self.stop(end, "other bytes follow its end, as after joining two tars")


class _Forward(io.RawIOBase):
    """A file that is unpacked as it is read: it seeks forward by reading, and back by a few bytes."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self._tail = b""  # bytes before the position of the file
        self._end = 0
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence or offset < self._end - len(self._tail):
            raise ValueError("a compressed tar is read forwards only")
        while offset > self._end and self._pull(min(_CHUNK, offset - self._end)):
            pass
        self._at = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        back = min(self._end - self._at, size)
        found = b""
        if back > 0:
            start = len(self._tail) - (self._end - self._at)
            found = self._tail[start : start + back]
        elif back < 0 and self._at > self._end:
            return b""  # behind the end
        while len(found) < size and (block := self._pull(size - len(found))):
            found += block
        self._at += len(found)
        return found

    def _pull(self, size: int) -> bytes:
        block = self._file.read(size)
        self._end += len(block)
        self._tail = (self._tail + block)[-4 * BLOCK :]
        return block


def copy_ranges(
    source: BinaryIO, ranges: Sequence[tuple[int, int]], target: BinaryIO, to_the_end: bool
) -> None:
    """Copy ranges of bytes of an archive.

    Args:
        source: the archive, unpacked, at its beginning.
        ranges: of whole members, ascending.
        target: the copy.
        to_the_end: also copy what follows the last range; blocks of zeros end the copy otherwise.
    """
    written = 0
    for begin, end in ranges:
        source.seek(begin)
        left = end - begin
        while left and (block := source.read(min(left, _CHUNK))):
            target.write(block)
            left -= len(block)
        target.write(bytes(left))  # padding that was cut off
        written += end - begin
    while to_the_end and (block := source.read(_CHUNK)):
        target.write(block)
    if not to_the_end:
        zeros = 2 * BLOCK
        target.write(bytes(zeros + -(written + zeros) % RECORD))


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in ascending order, those that touch made one.

    Example:
        >>> merged([(512, 1024), (0, 512), (2048, 2560)])
        [(0, 1024), (2048, 2560)]
    """
    found: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if found and found[-1][1] == begin:
            found[-1] = found[-1][0], end
        else:
            found.append((begin, end))
    return found


def _is_header(block: bytes) -> bool:
    """Return whether a block is a tar header by its checksum, or the zeros that end an empty archive."""
    if not block.strip(b"\0"):
        return True
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
