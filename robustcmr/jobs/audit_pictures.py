"""Pictures of single pairs of an audit, read from its source and made small."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robustcmr.data.picture_files import PictureError, decode_picture
from robustcmr.errors import UserError
from robustcmr.reporting.audit_page import LARGEST
from robustcmr.reporting.thumbnails import CARD, Thumbnail, thumbnail
from robustcmr.sources.records import Source
from robustcmr.sources.tables import is_address

logger = logging.getLogger("robustcmr")


def read_thumbnails(
    source: Source, rows: Sequence[Mapping[str, Any]], side: int = CARD, largest: int = LARGEST
) -> tuple[dict[tuple[str, int], Thumbnail], str]:
    """Read the pictures of rows of ``pairs.parquet``, made small.

    Args:
        source: of the audit.
        rows: with ``file``, ``row`` and ``image``.
        side: largest width and height, in pixels.
        largest: characters of all pictures together, beyond which no more are read.

    Returns:
        Pictures by file and row, and a sentence on those that are missing, or "".
    """
    wanted: dict[str, dict[int, str]] = {}
    for row in rows:
        if row["file"] is not None and not is_address(row["image"] or ""):
            wanted.setdefault(row["file"], {})[row["row"]] = row["image"] or ""
    found: dict[tuple[str, int], Thumbnail] = {}
    failed, size = 0, 0
    for shard in source.shards:
        name = next((name for name in _names(source, shard.path) if name in wanted), None)
        if name is None:
            continue
        numbers = np.array(sorted(wanted[name]), np.int64)
        try:
            for picture in source.pictures(shard, numbers):
                if picture.data is None or size > largest:
                    failed += 1
                    continue
                try:
                    opened = decode_picture(picture.data)
                except PictureError:
                    failed += 1
                    continue
                made = thumbnail(wanted[name].get(picture.row, ""), opened, side)
                found[name, picture.row] = made
                size += len(made.uri)
        except UserError as error:
            logger.warning("pictures of %s cannot be read: %s", shard.path, error)
            failed += len(numbers)
    if not found:
        return {}, "There are no picture files, so pictures go by name." if wanted else ""
    return found, f"{failed:,} pictures could not be shown." if failed else ""


def _names(source: Source, path: Path) -> Iterator[str]:
    """How a file may be named in ``pairs.parquet``."""
    if path.is_relative_to(source.root):
        yield path.relative_to(source.root).as_posix()
    yield str(path)
    yield path.name
