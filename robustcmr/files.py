"""Atomic writing of text, JSON and binary files: a reader sees the old file or the new one, never half."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import noise_injection.atomic
from noise_injection.reasons import reason as reason
from robustcmr.errors import UserError

atomic_file = functools.partial(noise_injection.atomic.atomic_file, error=UserError)
"""``noise_injection.atomic.atomic_file``, raising ``UserError`` if the file cannot be written."""


def write_text(path: Path, text: str) -> None:
    r"""Write UTF-8 text atomically; bytes of a file name that are not UTF-8 as escapes (``\udcff``)."""
    with atomic_file(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with a final newline atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_with(path: Path, writer: Callable[[BinaryIO], Any]) -> None:
    """Let ``writer`` fill a binary file that appears atomically under ``path``."""
    with atomic_file(path) as file:
        writer(file)


def identity(path: Path) -> tuple[int, int, int] | None:
    """Return what tells a file or folder from another one put in its place; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
