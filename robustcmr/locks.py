"""Exclusive locks of files; the system releases them when their process dies, however it dies.

The lock itself is filelock's: ``flock`` on Linux and macOS, ``LockFileEx`` on Windows. Its file names the
holder: process, host and time.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from noise_injection.reading import parse_json, regular_file
from noise_injection.reasons import reason
from robustcmr.errors import InUseError, LockError

PATIENCE = 0.25
"""Seconds to wait for a lock, as :func:`is_held` takes it for a moment."""

logger = logging.getLogger("robustcmr")


class NoLocksError(LockError):
    """The file system has no locks."""


def take(path: Path, patience: float = PATIENCE) -> int | None:
    """Take a lock, trying for some seconds; its file and its folder are created if missing.

    Returns:
        A file descriptor that holds the lock until its last copy is closed, including copies that other
        processes inherit; None if another process holds the lock.

    Raises:
        NoLocksError: the file system has no locks; the file was created.
        LockError: the file cannot be opened for writing.
    """
    deadline = time.monotonic() + patience
    while True:
        descriptor = _open(path, deadline)
        kept = False
        try:
            if lock_descriptor(descriptor, blocking=False):
                kept = _is_at(path, descriptor)  # else its last holder has just removed it: lock the new one
                if kept:
                    return descriptor
            elif time.monotonic() > deadline:
                return None
            else:
                time.sleep(0.02)
        except OSError as error:
            raise NoLocksError(
                f"cannot lock {path}: {error.strerror}; choose a folder on another file system"
            ) from error
        finally:
            if not kept:
                os.close(descriptor)


def _open(path: Path, deadline: float) -> int:
    """Open a lock's file; its folder may vanish in between, as :func:`sole_user` leaves none behind."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            if path.is_symlink():
                raise LockError(
                    f"{path} is a symbolic link, and what it leads to would be overwritten; remove the link"
                ) from error
            if isinstance(error, FileNotFoundError) and time.monotonic() < deadline:
                continue
            raise LockError(f"cannot write {path}: {reason(error)}") from error


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def is_held(path: Path) -> bool:
    """Whether a living process holds a lock; true if its file system cannot tell."""
    try:
        try:
            descriptor = os.open(path, os.O_RDWR)
        except PermissionError:
            descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LockError(f"cannot read the lock {path}: {reason(error)}") from error
    try:
        if lock_descriptor(descriptor, blocking=False):
            return False
        time.sleep(0.01)  # another process may just be asking the same
        return not lock_descriptor(descriptor, blocking=False)
    except OSError:
        return True
    finally:
        os.close(descriptor)


def write_owner(descriptor: int, pid: int | None) -> None:
    """Write the process that holds a lock into its file; None clears it."""
    now = datetime.now(UTC).isoformat("T", "seconds")
    text = json.dumps({"pid": pid, "host": socket.gethostname(), "since": now})
    with suppress(OSError):  # on a full disk the holder is unknown, and still holds the lock
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        if pid is not None:
            os.write(descriptor, f"\n{text}\n".encode())


def read_owner(path: Path) -> dict[str, Any] | None:
    """Return ``pid``, ``host`` and ``since`` of the last process to hold a lock; None if unknown."""
    try:
        with regular_file(path) as file:
            file.seek(1)  # Windows lets nobody read the first byte, which is locked
            owner = parse_json(file.read(4096).decode("utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(owner, dict) and all(isinstance(owner.get(key), str) for key in ("host", "since"))
    return owner if known and type(owner.get("pid")) is int and owner["pid"] > 0 else None


def describe_owner(path: Path) -> str:
    """Return the last process to hold a lock, in words."""
    return _words(read_owner(path))


def _words(owner: dict[str, Any] | None) -> str:
    if owner is None:
        return "another process"
    return f"process {owner['pid']} on {owner['host']} since {owner['since']}"


@contextmanager
def sole_user(path: Path, what: str, required: bool = True) -> Iterator[bool]:
    """Hold a lock inside the context, and remove its file afterwards.

    Args:
        path: file of the lock.
        what: what it protects, for messages.
        required: whether to refuse a file system without locks; False goes on there with a warning.

    Returns:
        Whether a process that was killed had left the file behind.

    Raises:
        InUseError: another process holds the lock.
        LockError: the lock cannot be taken.
    """
    try:
        descriptor = take(path)
    except NoLocksError as error:
        if required:
            raise
        logger.warning("%s; here nothing keeps a second process out of %s: start none", error, what)
        descriptor = _open(path, 0.0)
    if descriptor is None:
        raise InUseError(
            f"{what} is in use by {describe_owner(path)}; wait until it has ended, or stop it there by Ctrl-C"
        )
    try:
        left = read_owner(path)
        if left is not None and left["host"] != socket.gethostname():
            logger.warning(
                "%s was left by %s; if that process still runs, stop this one, as some network file systems "
                "do not pass locks between machines",
                what,
                _words(left),
            )
        write_owner(descriptor, os.getpid())
        yield left is not None
    finally:
        with suppress(OSError):  # Windows removes no open file
            path.unlink()  # first: a process that waits for this file finds it gone, and locks the next one
        os.close(descriptor)
