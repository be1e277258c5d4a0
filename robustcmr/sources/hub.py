"""Data sets of the Hugging Face hub, loaded by the ``datasets`` library and read from the files it keeps.

A name is that of the hub, such as ``hf://OWNER/NAME``, with ``:CONFIG`` after it for one of several
configurations, and ``#SPLIT`` for one of several splits; all splits are read otherwise.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from robustcmr.errors import DataError, some_of
from robustcmr.files import write_json
from robustcmr.sources.arrow import Arrow, survey
from robustcmr.sources.columns import choose
from robustcmr.sources.records import Columns, Shard
from robustcmr.sources.saved_dataset import INFO, SPLITS, STATE, fingerprint_of
from robustcmr.sources.shards import make_shards

_NAME = re.compile(
    r"(?:hf:/+)?(?:datasets/)?(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[^#]+))?(?:#(?P<split>.+))?"
)


def recognises(paths: Sequence[Path]) -> bool:
    """Return whether the only path is a name such as ``hf://OWNER/NAME``."""
    return len(paths) == 1 and str(paths[0]).startswith("hf:/")


def open(paths: Sequence[Path], columns: Columns) -> Hub:
    """Load a data set of the hub, or find it in the cache of the ``datasets`` library.

    Raises:
        DataError: that library is missing, there is no such data set, it cannot be fetched, or a named column
            does not exist.
    """
    found = _NAME.fullmatch(str(paths[0])) if len(paths) == 1 else None
    if found is None:
        raise DataError(
            f"{paths[0]} is no name of a data set of the hub; expected such as hf://nlphuji/flickr30k"
        )
    splits = _load(found["name"], found["config"])
    if (one := found["split"]) is not None:
        if one not in splits:
            raise DataError(f"{paths[0]} has no split {one}; expected one of {some_of(list(splits))}")
        splits = {one: splits[one]}
    files = {name: [Path(file["filename"]) for file in split.cache_files] for name, split in splits.items()}
    names = [name for name, paths in files.items() for _ in paths]
    every = [path for paths in files.values() for path in paths]
    if not every:
        raise DataError(f"{paths[0]} has no files of rows; save it with save_to_disk and give that folder")
    schema, rows = survey(every)
    chosen, says = choose(schema, columns, every[0])
    said = f"All splits are read: {', '.join(files)}." if len(files) > 1 else f"The split {names[0]} is read."
    options = {"name": str(paths[0]), "splits": tuple(names)}
    root = Path(every[0]).parent
    return Hub(root, make_shards(every, rows), chosen, (said, *says), options)


def _load(name: str, config: str | None) -> Mapping[str, Any]:
    """Return the splits of a data set, each as the library holds it."""
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise DataError(
            f"hf://{name} needs the package datasets; install it by pip install 'robustcmr[hf]', or give a "
            "folder of files"
        ) from error
    try:
        found: Mapping[str, Any] = datasets.load_dataset(name, config)
    except Exception as error:  # that library raises nearly anything
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"cannot load hf://{name}: {lines[0].rstrip('.')[:200]}; check its name and the network, or give "
            "a folder that save_to_disk wrote"
        ) from error
    return found


@dataclass(frozen=True)
class Hub(Arrow):
    """A data set of the hub; what is kept is written as ``save_to_disk`` writes it."""

    format: ClassVar[str] = "hub"

    def write(self, shard: Shard, keep: npt.NDArray[np.bool_], to: Path) -> tuple[Path, ...]:
        """Write the rows to keep into the folder of their split."""
        return super().write(shard, keep, to / self.options["splits"][shard.number])

    def finish(self, to: Path) -> tuple[Path, ...]:
        """Describe each split, so that ``load_from_disk`` loads the folder."""
        written = []
        splits = list(dict.fromkeys(self.options["splits"]))
        for split in splits:
            folder = to / split
            mine = [
                shard
                for shard, name in zip(self.shards, self.options["splits"], strict=True)
                if name == split
            ]
            paths = [folder / shard.path.name for shard in mine]
            state = {
                "_data_files": [{"filename": path.name} for path in paths],
                "_fingerprint": fingerprint_of(self.options["name"], paths),
                **{"_format_columns": None, "_format_kwargs": {}, "_format_type": None},
                **{"_output_all_columns": False, "_split": split},
            }
            write_json(folder / STATE, state)
            # features are left out, as the library takes them from the schema of the files
            write_json(folder / INFO, {"citation": "", "description": "", "homepage": "", "license": ""})
            written += [folder / STATE, folder / INFO]
        write_json(to / SPLITS, {"splits": splits})
        return (*written, to / SPLITS)
