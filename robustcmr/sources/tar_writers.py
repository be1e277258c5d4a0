"""Writer of pairs as WebDataset tars: a picture, its caption and all else in JSON, under one key."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from robustcmr.errors import DataError
from robustcmr.files import atomic_file
from robustcmr.sources.text_writers import has_bytes, json_value

SAMPLES, TAR_BYTES = 10_000, 2**30
"""Samples of a tar, and bytes after which the next one begins."""

_MAGIC = (
    (0, b"\xff\xd8\xff", "jpg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (8, b"WEBP", "webp"),
    (0, b"GIF8", "gif"),
    (0, b"BM", "bmp"),
    (0, b"II*\0", "tif"),
    (0, b"MM\0*", "tif"),
    (4, b"ftypavif", "avif"),
)


def suffix_of(picture: bytes) -> str | None:
    r"""Return the suffix of a picture file by its first bytes; None if it is of no usual format.

    Example:
        >>> suffix_of(b"\xff\xd8\xff\xe0 and more")
        'jpg'
    """
    return next((name for at, magic, name in _MAGIC if picture[at:].startswith(magic)), None)


class TarPairs:
    """Writes pairs into tars ``00000.tar``, ``00001.tar`` and so on; see :func:`writer`."""

    def __init__(self, to: Path) -> None:
        self._to = to
        self._stack = ExitStack()
        self._tar: tarfile.TarFile | None = None
        self._samples = self._bytes = 0
        self.paths: list[Path] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Write the next pairs."""
        for row in batch.to_pylist():
            if self._tar is None or self._samples == SAMPLES or self._bytes >= TAR_BYTES:
                self._next()
            self._add(row)

    def files(self) -> tuple[Path, ...]:
        """Return the tars written, once all are complete."""
        return tuple(self.paths)

    def close(self, error: BaseException | None = None) -> None:
        """Complete the last tar; after an error, leave out that and all others."""
        if error is None and not self.paths:
            self._next()
        if error is None:
            self._stack.close()
            return
        self._stack.__exit__(type(error), error, error.__traceback__)
        for path in self.paths:
            path.unlink(missing_ok=True)

    def _next(self) -> None:
        self._stack.close()
        path = self._to / f"{len(self.paths):05}.tar"
        file = self._stack.enter_context(atomic_file(path))
        self.paths.append(path)
        tar = tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - on the stack
        self._tar = self._stack.enter_context(tar)
        self._samples = self._bytes = 0

    def _add(self, row: dict[str, Any]) -> None:
        value = row.pop("image")
        parts = value if isinstance(value, dict) else {"bytes": value}
        picture, name = parts.get("bytes"), parts.get("path")
        suffix = suffix_of(picture) if isinstance(picture, bytes) else None
        if suffix is None:
            raise DataError(
                f"the picture of {row['id']!r} is of no usual format, such as JPEG, PNG or WebP; leave that "
                "pair out, or write parquet"
            )
        key = f"{len(self.paths) - 1:05}{self._samples:06}"
        caption = row.pop("caption") or ""
        own = {"uid": row.pop("id"), "key": key, "image": name, "caption": caption}
        others = {f"{column}_of_source" if column in own else column: value for column, value in row.items()}
        notes = json_value({**own, **others})
        self._member(f"{key}.{suffix}", cast(bytes, picture))
        self._member(f"{key}.txt", caption.encode())
        self._member(f"{key}.json", json.dumps(notes, ensure_ascii=False).encode())
        self._samples += 1

    def _member(self, name: str, content: bytes) -> None:
        tar = cast(tarfile.TarFile, self._tar)
        info = tarfile.TarInfo(name)  # of no user and no time, so that equal pairs make equal tars
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        cast(Any, tar).members.clear()  # which would grow by every member
        self._bytes += len(content) + tarfile.BLOCKSIZE


@contextmanager
def writer(format: str, to: Path, schema: pa.Schema) -> Iterator[TarPairs]:
    """Open a writer of pairs as tars of at most 10,000 samples; after an error, none of them is left.

    A sample has the file of its picture as it is, its caption as ``.txt``, and id (as ``uid``), caption and
    all other columns as ``.json``; a column of a name used otherwise gets ``_of_source`` after it.

    Args:
        format: ``webdataset``.
        to: folder of the tars.
        schema: of the batches.

    Raises:
        DataError: a column beside the picture holds bytes, or a picture is of no usual format.
    """
    del format  # this module has one
    for field in schema:
        if field.name != "image" and has_bytes(field.type):
            raise DataError(
                f"the column {field.name!r} holds bytes, which JSON in a tar cannot; write parquet or hf "
                "instead, such as --format parquet"
            )
    pairs = TarPairs(to)
    try:
        yield pairs
        pairs.close()
    except BaseException as error:
        pairs.close(error)
        raise
