"""Folders that ``save_to_disk`` of the ``datasets`` library writes, with one split or several.

A folder of one data set has Arrow streams, ``state.json`` with their order, and ``dataset_info.json`` with
the features. A folder of several splits has ``dataset_dict.json`` and a folder a split. That library is not
needed to read or write them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from robustcmr.errors import DataError
from robustcmr.files import read_json, reason, write_json, write_text
from robustcmr.sources.arrow import Arrow, outlined, survey
from robustcmr.sources.columns import choose
from robustcmr.sources.fingerprint import file_fingerprint
from robustcmr.sources.records import Columns
from robustcmr.sources.shards import make_shards

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether the only path is such a folder."""
    return len(paths) == 1 and ((paths[0] / SPLITS).is_file() or (paths[0] / STATE).is_file())


def open(paths: Sequence[Path], columns: Columns) -> SavedDataset:
    """Open such a folder; shards come in the order of its splits and of their files.

    Raises:
        DataError: there are several folders, one of its files is missing or damaged, or splits differ in
            their columns.
    """
    if len(paths) != 1 or not paths[0].is_dir():
        raise DataError(
            f"{len(paths)} paths are given as format hf, expected one folder that save_to_disk wrote; name it"
        )
    root = paths[0]
    folders = split_folders(root)
    files = [folder / name for folder in folders for name in _state(folder)[1]]
    if not files:
        raise DataError(f"{root} has no rows: its {STATE} names no files; save the data set again")
    schema, rows = survey(files)
    chosen, says = choose(schema, columns, root)
    if folders != [root]:
        says = (f"All splits are read: {', '.join(folder.name for folder in folders)}.", *says)
    return SavedDataset(root, make_shards(files, rows), chosen, says)


def split_folders(root: Path) -> list[Path]:
    """Return the folder of each split, the folder itself where it has none."""
    if not (root / SPLITS).is_file():
        return [root]
    names = _read(root / SPLITS, dict[str, list[str]]).get("splits", [])
    for name in names:
        if Path(name).name != name:
            raise DataError(f"{root / SPLITS} names the split {name!r}, expected the name of a folder in it")
    return [root / name for name in names]


def _state(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The state of a data set, and the names of its files."""
    state = _read(folder / STATE, dict[str, Any])
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise DataError(
            f"{folder} keeps a selection of rows apart from them; load it with datasets.load_from_disk, call "
            "flatten_indices() and save it again"
        )
    entries = state.get("_data_files")
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in entries or ()]
    found = [name for name in names if isinstance(name, str) and Path(name).name == name]
    if not isinstance(entries, list) or len(found) != len(names):
        raise DataError(f"{folder / STATE} does not name the files of the data set; save it again")
    return state, found


def _read(path: Path, schema: Any) -> Any:
    try:
        return read_json(path, schema)
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    except ValueError as error:
        raise DataError(f"{path} cannot be used: {error}; save the data set again") from error


@dataclass(frozen=True)
class SavedDataset(Arrow):
    """A folder that ``save_to_disk`` wrote."""

    format: ClassVar[str] = "hf"

    def finish(self, to: Path) -> tuple[Path, ...]:
        """Write the state and the information of each split, true of the rows that were kept."""
        if to.exists() and to.samefile(self.root):
            raise DataError(f"{to} is the source itself; write to another folder")
        written = []
        for folder in split_folders(self.root):
            written += finish_split(folder, to if folder == self.root else to / folder.name)
        if (self.root / SPLITS).is_file():
            write_text(to / SPLITS, (self.root / SPLITS).read_text(encoding="utf-8"))
            written.append(to / SPLITS)
        return tuple(written)


def finish_split(folder: Path, to: Path) -> list[Path]:
    """Write state and information of one data set beside its files, all of which are there."""
    state, names = _state(folder)
    info = _read(folder / INFO, dict[str, Any])
    files = [to / name for name in names]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataError(
            f"{missing[0]} is missing, expected a copy of every file of {folder}; write all again"
        )
    write_json(to / STATE, {**state, "_fingerprint": fingerprint_of(str(state.get("_fingerprint")), files)})
    write_json(to / INFO, counted(info, state.get("_split"), files))
    return [to / STATE, to / INFO]


def fingerprint_of(before: str, files: Sequence[Path]) -> str:
    """Return 16 hexadecimal digits that depend on the rows, as the library needs them for its cache."""
    stated = json.dumps([before, [file_fingerprint(file, times=False) for file in files]], sort_keys=True)
    return hashlib.sha256(stated.encode()).hexdigest()[:16]


def counted(info: dict[str, Any], split: str | None, files: Sequence[Path]) -> dict[str, Any]:
    """Return the information of a data set with the numbers of rows and bytes of its files."""
    rows = sum(outlined(file).rows for file in files)
    size = sum(file.stat().st_size for file in files)
    splits = info.get("splits")
    result = dict(info)
    if isinstance(splits, dict):
        changed = {
            name: {**entry, "num_examples": rows, "num_bytes": size, "shard_lengths": None}
            if isinstance(entry, dict) and name == split
            else entry
            for name, entry in splits.items()
        }
        result["splits"] = changed
        if info.get("dataset_size") is not None:
            sizes = [entry.get("num_bytes") or 0 for entry in changed.values() if isinstance(entry, dict)]
            result["dataset_size"] = sum(sizes)
    return result
