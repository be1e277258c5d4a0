"""Locks on files that the system releases when the process that holds them dies, however it dies."""

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

from robustcmr.sweeps.errors import SweepError

try:
    import fcntl
except ImportError as missing:  # pragma: no cover - there is no such system among those tested
    raise SweepError(
        "sweeps lock their folders as POSIX systems do, expected Linux or macOS; run trials by "
        "'robustcmr train' here"
    ) from missing

PATIENCE = 1.0
"""Seconds for which a look from outside may be in the way of taking a lock."""


def take(path: Path, patience: float = PATIENCE) -> int | None:
    """Take a lock.

    Args:
        path: the lock's file; made if missing, and never removed, as a removed lock would protect nobody.
        patience: seconds to try for.

    Returns:
        An open file descriptor that holds the lock until the last copy of it is closed, also those that
        other processes inherit; None where somebody else holds it.

    Raises:
        SweepError: the file cannot be opened, or its file system knows no locks.
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
    """Whether some living process holds a lock."""
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


def inscribe(descriptor: int, pid: int | None) -> None:
    """Write into a held lock who holds it, or with None that this is not known yet."""
    os.ftruncate(descriptor, 0)
    if pid is not None:
        told = {
            "pid": pid,
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat("T", "seconds"),
        }
        os.pwrite(descriptor, (json.dumps(told) + "\n").encode(), 0)


def inscription(path: Path) -> dict[str, Any] | None:
    """Who held a lock last; None where that is not told."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and {"pid", "host", "since"} <= told.keys() else None


def holder(path: Path) -> str:
    """Who held a lock last, in words."""
    told = inscription(path)
    if told is None:
        return "another process"
    return f"process {told['pid']} on {told['host']} since {told['since']}"


@contextmanager
def sole_user(path: Path, what: str) -> Iterator[None]:
    """Hold a lock for a while.

    Args:
        path: the lock's file.
        what: what it protects, for the message.

    Raises:
        SweepError: somebody else holds it; who that is is said.
    """
    descriptor = take(path)
    if descriptor is None:
        raise SweepError(
            f"{what} is in use by {holder(path)}; wait until it has ended, or stop it there by Ctrl-C"
        )
    try:
        inscribe(descriptor, os.getpid())
        yield
    finally:
        inscribe(descriptor, None)
        os.close(descriptor)
