"""What the messages of an Arrow file say of its batches, read without their data.

Arrow's Python interface does not tell how a file is compressed, nor how many rows a batch has before it is
read. Both stand in the head of each message, a FlatBuffers table (``Message.fbs`` of Arrow).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3  # fields of a Message
_RECORD_BATCH = 3  # value of its header type
_LENGTH, _COMPRESSION = 0, 3  # fields of a RecordBatch
_CODEC = 0  # field of its BodyCompression
_CODECS = {0: "lz4", 1: "zstd"}

FILE_MAGIC = b"ARROW1"


@dataclass(frozen=True)
class Outline:
    """What the messages of a file say.

    Attributes:
        is_file: whether it is of the file format, with a footer, and not a stream.
        rows: of all batches.
        compression: ``lz4``, ``zstd`` or None.
        largest: bytes of the largest batch.
    """

    is_file: bool
    rows: int
    compression: str | None
    largest: int


def outline(path: Path) -> Outline:
    """Return the outline of an Arrow file or stream.

    Raises:
        OSError, pa.ArrowException: it cannot be read, or ends within a message.
    """
    rows, compression, largest = 0, None, 0
    with pa.memory_map(os.fsencode(path)) as source:
        is_file = source.read(len(FILE_MAGIC)) == FILE_MAGIC
        source.seek(8 if is_file else 0)  # a file is a stream between a magic number and a footer
        for message in _messages(source):
            if message.type == "record batch":
                length, size, codec = _batch(message.metadata)
                rows += length
                largest = max(largest, size)
                compression = compression or codec
    return Outline(is_file, rows, compression, largest)


def _messages(source: pa.NativeFile) -> Iterator[pa.Message]:
    reader = pa.ipc.MessageReader.open_stream(source)
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _batch(head: pa.Buffer) -> tuple[int, int, str | None]:
    """The rows and bytes of a batch, and how it is compressed."""
    data = memoryview(head)
    try:
        message = struct.unpack_from("<I", data)[0]
        if _number(data, message, _HEADER_TYPE, "<B") != _RECORD_BATCH:
            raise pa.ArrowInvalid("a message is not of the type that it states")
        batch = _table(data, message, _HEADER)
        compression = _table(data, batch, _COMPRESSION)
        codec = None if compression == 0 else _CODECS.get(_number(data, compression, _CODEC, "<b"))
        return _number(data, batch, _LENGTH, "<q"), _number(data, message, _BODY_LENGTH, "<q"), codec
    except struct.error as error:
        raise pa.ArrowInvalid("a message ends within its head") from error


def _at(data: memoryview, table: int, field: int) -> int:
    """Where a field of a table stands; 0 where it is absent and has its default."""
    fields = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, fields)[0]
    entry = 4 + 2 * field
    offset = struct.unpack_from("<H", data, fields + entry)[0] if entry < size else 0
    return table + offset if offset else 0


def _number(data: memoryview, table: int, field: int, code: str) -> int:
    at = _at(data, table, field)
    return int(struct.unpack_from(code, data, at)[0]) if at else 0


def _table(data: memoryview, table: int, field: int) -> int:
    at = _at(data, table, field)
    return at + int(struct.unpack_from("<I", data, at)[0]) if at else 0
