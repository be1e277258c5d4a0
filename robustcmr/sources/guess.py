"""Open people's own pairs, whatever format they are in: the format and the columns are guessed, and said."""

from __future__ import annotations

import dataclasses
import glob
import importlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robustcmr.errors import ConfigError, DataError, some_of
from robustcmr.sources.names import meant
from robustcmr.sources.records import Columns, Source

FORMATS = {
    # a format that is told by more than the suffix of files comes before those told by it alone
    "clip-retrieval": "clip_retrieval",
    "datacomp": "datacomp",
    "hf": "saved_dataset",
    "picture-folder": "picture_folder",
    "webdataset": "webdataset",
    "npy": "arrays",
    "parquet": "parquet",
    "arrow": "arrow",
    "jsonl": "json_lines",
    "csv": "delimited",
    "hub": "hub",
}
"""Module of each format, in the order in which they are tried.

Each has ``recognises(paths) -> bool`` and ``open(paths, columns) -> Source``; paths exist, but for ``hub``.
"""

_HUB = "hf://"


def open_source(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    format: str | None = None,
    image: str | None = None,
    text: str | None = None,
    id: str | None = None,
) -> Source:
    """Open people's own pairs: files, folders, or patterns such as ``web/*.parquet``, all of one format.

    Nothing is read but names, headers and a sample of the rows.

    Args:
        paths: one or many.
        format: one of :data:`FORMATS`; guessed from names, first bytes and what is in a folder by default.
        image: column with the picture, or what names it; guessed by its name by default, as the next two.
        text: column with the caption, or a list of captions.
        id: column with the id of the pair.

    Returns:
        The source; ``says`` tells what was guessed.

    Raises:
        ConfigError: there is no such format.
        DataError: there is no such file or column, no format fits, or a file cannot be read.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise DataError("no file was given; name files or folders with pairs, such as web/*.parquet")
    columns = Columns(image=image, text=text, id=id)
    if format is not None and format not in FORMATS:
        raise ConfigError(
            f"there is no format {format!r}{meant(format, list(FORMATS))}; choose of {', '.join(FORMATS)}"
        )
    found = [path for one in given for path in _expanded(os.fspath(one), format)]
    name = format or _guess(found)
    source: Source = _module(name).open(found, columns)
    said = () if format else (f"Read as {name}: {_counted(source)}.",)
    return dataclasses.replace(source, says=(*said, *source.says))


def _expanded(text: str, format: str | None) -> list[Path]:
    """The paths that one argument stands for."""
    path = Path(text)
    if os.path.lexists(path):
        return [path]
    if glob.has_magic(text):
        matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - of any folder
        if not matches:
            raise DataError(f"no file matches {text!r}; check the pattern, such as with: ls {text}")
        return [Path(match) for match in matches]
    if format == "hub" or (format is None and text.startswith(_HUB)):
        return [path]
    near = meant(path.name, os.listdir(path.parent)) if path.parent.is_dir() else ""  # noqa: PTH208
    advice = "; check the path"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not path.parent.is_dir():
        advice += f", or write {_HUB}{text} for a data set of the hub"
    raise DataError(f"there is no file or folder {text}{near or advice}")


def _guess(paths: Sequence[Path]) -> str:
    for name in FORMATS:
        if _module(name).recognises(paths):
            return name
    raise DataError(
        f"{paths[0]} is of no format that is read{_why(paths)}; expected one of {', '.join(FORMATS)}, which "
        "can be named, such as --format csv"
    )


def _why(paths: Sequence[Path]) -> str:
    if paths[0].is_dir():
        names = sorted(entry.name for entry in paths[0].iterdir())
        return f" (the folder holds {some_of(names, 5)})" if names else " (the folder is empty)"
    return f" (and {len(paths) - 1} more paths)" if len(paths) > 1 else ""


def _module(name: str) -> Any:
    return importlib.import_module(f"robustcmr.sources.{FORMATS[name]}")


def _counted(source: Source) -> str:
    shards = source.shards
    rows = [shard.rows for shard in shards]
    files = f"{len(shards):,} file{'s' * (len(shards) != 1)}"
    if any(count is None for count in rows):
        return files
    total = sum(count or 0 for count in rows)
    return f"{files} with {total:,} row{'s' * (total != 1)}"
