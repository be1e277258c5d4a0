"""Folders of generated data in the user's cache: complete or absent, verified on opening."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Len

from robustcmr import locks
from robustcmr.environment import user_folder
from robustcmr.errors import LockError, UserError
from robustcmr.files import read_json, reason, regular_file

VARIABLE = "ROBUSTCMR_CACHE"
MANIFEST = "manifest.json"
UNFINISHED = ".unfinished-"
LOCK = ".lock"
STALE_SECONDS = 24 * 3600.0

logger = logging.getLogger(__name__)


def cache_root() -> Path:
    """Return the folder of cached data: ``$ROBUSTCMR_CACHE``, or ``robustcmr`` in the user's cache folder.

    Raises:
        UserError: the variable is not set and the user has no home folder.
    """
    return user_folder(VARIABLE, "XDG_CACHE_HOME", Path(".cache"))


def cached_folder(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return a complete folder of generated files; generate them if it is missing or damaged.

    Two processes may build the same folder at once: each builds its own, and the first to finish is kept.
    ``build`` fills an empty folder with files, and must write the same bytes each time.

    Raises:
        UserError: the cache cannot be written.
    """
    if is_whole(folder):
        return folder
    if folder.exists():
        logger.warning("the cached data in %s is damaged; building it again", folder)
    unfinished = folder.parent / f"{UNFINISHED}{uuid.uuid4().hex}"
    try:
        unfinished.mkdir(parents=True)
        _sweep(folder.parent)
        _build_locked(unfinished, build)
        _write_manifest(unfinished)
        _put(unfinished, folder)
    except OSError as error:
        raise UserError(
            f"cannot write cached data to {folder.parent}: {reason(error)}; or "
            f"set the environment variable {VARIABLE} to a writable folder, such as /tmp/robustcmr"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _build_locked(unfinished: Path, build: Callable[[Path], None]) -> None:
    """Fill a folder while a lock in it says that its builder lives."""
    lock, descriptor = unfinished / LOCK, None
    try:
        with suppress(LockError):  # a file system without locks: leftovers stay for a day
            descriptor = locks.take(lock)
        build(unfinished)
    finally:
        lock.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def is_whole(folder: Path) -> bool:
    """Return whether every file of a folder's manifest exists with its size and SHA-256."""
    try:
        listed = read_json(folder / MANIFEST, dict[str, Annotated[list[Any], Len(2, 2)]])
        return bool(listed) and all(
            (folder / name).stat().st_size == size and _digest(folder / name) == digest
            for name, (size, digest) in listed.items()
        )
    except (OSError, ValueError):
        return False


def _digest(path: Path) -> str:
    with regular_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_manifest(folder: Path) -> None:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    listed = {path.name: [path.stat().st_size, _digest(path)] for path in files}
    (folder / MANIFEST).write_text(json.dumps(listed, indent=2), encoding="utf-8")


def _put(unfinished: Path, folder: Path) -> None:
    """Rename a finished folder to its place, unless another process has put a complete one there."""
    if folder.exists() and not is_whole(folder):
        damaged = folder.parent / f"{UNFINISHED}{uuid.uuid4().hex}"
        try:
            folder.rename(damaged)
        except FileNotFoundError:
            pass  # another process was faster
        else:
            shutil.rmtree(damaged, ignore_errors=True)
    try:
        unfinished.rename(folder)
    except OSError:
        if not is_whole(folder):
            raise


def _sweep(parent: Path) -> None:
    """Delete the leftovers of builds that were killed, or that no lock says anything about for a day."""
    for left in parent.glob(f"{UNFINISHED}*"):
        try:
            old = time.time() - left.stat().st_mtime > STALE_SECONDS
            killed = (left / LOCK).exists() and not locks.is_held(left / LOCK)
        except (OSError, LockError):
            continue  # its owner just finished
        if old or killed:
            shutil.rmtree(left, ignore_errors=True)
