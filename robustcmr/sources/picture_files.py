"""Picture files below a folder: found by their names, and copied, never from or to anywhere outside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from robustcmr.errors import DataError
from robustcmr.files import atomic_file, reason, regular_file
from robustcmr.sources.shards import natural

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".ppm")

_SEEN = 100_000  # files that are looked at to find a picture
_BLOCK = 1 << 20


def is_picture(name: str) -> bool:
    """Return whether a file is named as a picture."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def first_picture(folder: Path) -> Path | None:
    """Return a picture below a folder; None if there is none among the first 100,000 files."""
    seen = 0
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found = next((name for name in sorted(names) if is_picture(name)), None)
        if found is not None:
            return Path(base, found)
        seen += len(names)
        if seen > _SEEN:
            return None
    return None


def folders_below(folder: Path) -> Iterator[Path]:
    """Yield a folder and all below it, hidden ones left out, in the natural order of their names."""
    for base, folders, _ in os.walk(folder):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural)
        yield Path(base)


def leads_outside(name: str, folder: Path, root: Path) -> bool:
    """Return whether a picture is not one below ``root``.

    Args:
        name: of the file, relative to ``folder``.
        folder: that names are relative to.
        root: as ``Path.resolve`` returns it.
    """
    if not name or "\0" in name or Path(name).is_absolute():
        return True
    return not (folder / name).resolve().is_relative_to(root)


def copy_file(path: Path, target: Path) -> None:
    """Copy the bytes of a regular file; the copy appears when it is whole.

    Raises:
        DataError: the file cannot be read, or the copy would replace it.
        UserError: the copy cannot be written.
    """
    if target.exists() and path.samefile(target):
        raise DataError(f"{target} is a file of the source itself; write to another folder")
    try:
        with regular_file(path) as source, atomic_file(target) as file:
            while block := source.read(_BLOCK):
                file.write(block)
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
