"""Atomic file writing: fill a temporary file beside the target, then rename it.

A writer locks its temporary file. The next writer of the same target removes those that nobody has locked, as
their writers were killed.
"""

from __future__ import annotations

import glob
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from noise_injection.checks import NoiseError
from noise_injection.reading import check_kind
from noise_injection.reasons import reason

try:
    import fcntl
except ImportError:  # Windows: leftovers stay
    fcntl = None  # type: ignore[assignment]


@contextmanager
def atomic_file(path: Path, error: type[Exception] = NoiseError) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that is moved there if the block ends without an error.

    A missing folder is created, an existing file replaced. If the file cannot be written (full disk, no
    permission, a device such as ``/dev/stdout`` in its place), ``error`` is raised, the old file is kept, and
    no other is left.
    """
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    locks: list[int] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            check_kind(path.stat())
        _remove_leftovers(path)
        with _create(temporary, locks) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as cause:
        raise error(f"cannot write {path}: {reason(cause)}") from cause
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        for lock in locks:
            os.close(lock)


def _create(temporary: Path, locks: list[int]) -> BinaryIO:
    """Open a new file with a lock that lasts until the descriptors added to ``locks`` are closed."""
    while True:
        file = temporary.open("xb")  # unlike tempfile's, it has the permissions the umask asks for
        if fcntl is None:
            return file
        locks.append(os.dup(file.fileno()))
        with suppress(OSError):  # a file system without locks, where no leftover is removed either
            fcntl.flock(locks[-1], fcntl.LOCK_EX)
        if temporary.exists():
            return file
        file.close()  # removed as a leftover before it was locked


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of a target whose writers no longer live."""
    if fcntl is None:
        return
    named = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{32}}\.tmp")
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if named.fullmatch(left.name) and not left.is_symlink():
            with suppress(OSError), left.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
