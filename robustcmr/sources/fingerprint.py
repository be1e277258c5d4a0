"""What tells that a source is the one that was audited: sizes and hashes of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustcmr.errors import DataError
from robustcmr.files import reason, regular_file
from robustcmr.sources.records import Source
from robustcmr.sources.shards import below_root

WHOLE = 64 * 2**20
"""Bytes of a file that is hashed as a whole, at most."""

WHOLE_TOGETHER = 4 * 2**30
"""Bytes of the files of a source that are hashed as a whole, at most."""

BLOCKS, BLOCK = 16, 2**20
"""Number and bytes of the blocks of a larger file that are hashed, the first and the last among them."""


def fingerprint(source: Source) -> dict[str, Any]:
    """Return what tells a source from one with other files or other rows, as plain values for JSON.

    A file of at most 64 MiB is known by its size and the SHA-256 of its bytes; a larger one by its size, the
    time of its last change and the SHA-256 of 16 blocks of 1 MiB, spread evenly. After 4 GiB of small files
    the others of more than 16 MiB are known as large ones are.

    Raises:
        DataError: a file cannot be read.
    """
    files: dict[str, dict[str, Any]] = {}
    left = WHOLE_TOGETHER
    for shard in source.shards:
        found = file_fingerprint(shard.path, whole=WHOLE if left > 0 else BLOCKS * BLOCK)
        left -= found["size"] if "sha256" in found else 0
        files[below_root(source, shard).as_posix()] = found
    return {"format": source.format, "files": files}


def changed(source: Source, known: Mapping[str, Any]) -> str | None:
    """Return how a source differs from the one of a fingerprint, in one sentence; None if it does not.

    Args:
        source: as it is now.
        known: what :func:`fingerprint` returned.

    Raises:
        DataError: a file cannot be read.
    """
    if source.format != known["format"]:
        return f"{source.root} is read as {source.format}, and was audited as {known['format']}"
    before: Mapping[str, Any] = known["files"]
    now = {below_root(source, shard).as_posix(): shard.path for shard in source.shards}
    for name in before:
        if name not in now:
            return f"{name} is no longer part of {source.root}"
    for name, path in now.items():
        if name not in before:
            return f"{name} is new in {source.root}"
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DataError(f"cannot read {path}: {reason(error)}") from error
        if size != before[name]["size"] and not path.is_dir():
            return f"{path} has {size:,} bytes, and had {before[name]['size']:,} when it was audited"
        whole = WHOLE if "sha256" in before[name] else 0
        if file_fingerprint(path, whole=whole) != before[name]:
            return f"{path} has changed since it was audited"
    if list(before) != list(now):
        return f"the files of {source.root} come in another order than when they were audited"
    return None


def file_fingerprint(path: Path, times: bool = True, whole: int | None = None) -> dict[str, Any]:
    """Return size and hash of a file, and the time of its last change if it is large.

    A folder that is read as one, such as pictures with their captions beside them, is known by the names,
    sizes and times of its files.

    Args:
        path: of the file or folder.
        times: whether the time counts.
        whole: bytes of a file that is hashed as a whole, at most; :data:`WHOLE` by default.

    Raises:
        DataError: the file cannot be read.
    """
    if path.is_dir():
        return _folder_fingerprint(path)
    try:
        with regular_file(path) as file:
            found = path.stat()
            if found.st_size <= (WHOLE if whole is None else whole):
                return {"size": found.st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
            digest = hashlib.sha256()
            for number in range(BLOCKS):
                file.seek((found.st_size - BLOCK) * number // (BLOCKS - 1))
                digest.update(file.read(BLOCK))
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    stated = {"size": found.st_size, "blocks_sha256": digest.hexdigest()}
    return {**stated, "mtime_ns": found.st_mtime_ns} if times else stated


def _folder_fingerprint(path: Path) -> dict[str, Any]:
    """Return number and bytes of the files of a folder, and a hash of their names, sizes and times."""
    digest = hashlib.sha256()
    count = total = 0
    try:
        for file in sorted(path.iterdir()):
            if file.is_file():
                found = file.stat()
                digest.update(
                    f"{file.name}\0{found.st_size}\0{found.st_mtime_ns}\0".encode("utf-8", "surrogateescape")
                )
                count, total = count + 1, total + found.st_size
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    return {"size": total, "files": count, "sha256": digest.hexdigest()}
