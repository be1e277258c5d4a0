"""File locks that the system releases when the process that holds them dies, however it dies."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from robustcmr.errors import SweepError

try:
    import fcntl
except ImportError as missing:  # pragma: no cover - not on a tested system
    raise SweepError(
        "sweeps need the file locks of Linux or macOS; train the trials one by one with 'robustcmr train'"
    ) from missing

PATIENCE = 1.0
"""Seconds to wait for a lock, as :func:`is_held` takes it for a moment."""


def take(path: Path, patience: float = PATIENCE) -> int | None:
    """Take a lock, trying for some seconds.

    Its file is created if missing, and never removed, as others may have opened it.

    Returns:
        A file descriptor that holds the lock until its last copy is closed, including copies that other
        processes inherit; None if another process holds the lock.

    Raises:
        SweepError: the file cannot be opened, or its file system has no locks.
    """
    deadline = time.monotonic() + patience
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise SweepError(f"cannot lock {path}: {error.strerror}; choose another folder") from error
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(0.05)
        except OSError as error:
            os.close(descriptor)
            raise SweepError(
                f"cannot lock {path}: {error.strerror}; choose a folder on another file system"
            ) from error
        else:
            return descriptor


def is_held(path: Path) -> bool:
    """Whether a living process holds a lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SweepError(f"cannot read the lock {path}: {error.strerror}; check its permissions") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def write_owner(descriptor: int, pid: int | None) -> None:
    """Write the process that holds a lock into its file; None clears it."""
    os.ftruncate(descriptor, 0)
    if pid is not None:
        now = datetime.now(UTC).isoformat("T", "seconds")
        text = json.dumps({"pid": pid, "host": socket.gethostname(), "since": now})
        os.pwrite(descriptor, f"{text}\n".encode(), 0)


def read_owner(path: Path) -> dict[str, Any] | None:
    """Return ``pid``, ``host`` and ``since`` of the last process to hold a lock; None if unknown."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) and {"pid", "host", "since"} <= owner.keys() else None


def describe_owner(path: Path) -> str:
    """Return the last process to hold a lock, in words."""
    owner = read_owner(path)
    if owner is None:
        return "another process"
    return f"process {owner['pid']} on {owner['host']} since {owner['since']}"


@contextmanager
def sole_user(path: Path, what: str) -> Iterator[None]:
    """Hold a lock inside the context; raise SweepError if another process uses ``what`` it protects."""
    descriptor = take(path)
    if descriptor is None:
        raise SweepError(
            f"{what} is in use by {describe_owner(path)}; wait until it has ended, or stop it there by Ctrl-C"
        )
    try:
        write_owner(descriptor, os.getpid())
        yield
    finally:
        write_owner(descriptor, None)
        os.close(descriptor)
