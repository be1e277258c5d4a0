"""Atomic file writing: fill a temporary file beside the target, then rename it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from noise_injection.checks import NoiseError


@contextmanager
def atomic_file(path: Path, error: type[Exception] = NoiseError) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that is moved there if the block ends without an error.

    A missing folder is created, an existing file replaced. If the file cannot be written (full disk, no
    permission), ``error`` is raised, the old file is kept, and no other is left.
    """
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:  # unlike tempfile's, it has the permissions the umask asks for
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as cause:
        raise error(
            f"cannot write {path}: {cause.strerror or cause}; free some space or choose another folder"
        ) from cause
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
