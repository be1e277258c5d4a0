"""Reading run folders: one finished run, or all those that lie in some folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from robustcmr.errors import RunFolderError
from robustcmr.runs.folder import RunFolder

DEPTH = 3
"""How far below a given folder runs are looked for: ``sweeps/<name>/trials/<trial>``."""

HEADLINES: Mapping[str, str] = {"pairs": "rsum", "labels": "map"}
"""The measure that stands for a split, by track."""

_NEEDED = ("data", "matcher", "method", "seed", "n_models", "track", "splits")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, where PyYAML was built with it


@dataclass(frozen=True)
class FinishedRun:
    """What a finished run left behind.

    Attributes:
        path: its folder.
        results: the outcome, as ``results.json`` has it.
        rows: one mapping an epoch, as ``metrics.jsonl`` has them.
        config: the resolved configuration, as ``config.yaml`` has it.
    """

    path: Path
    results: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any]

    @property
    def version(self) -> str:
        """Of the package that trained it; ``unknown`` where it did not say."""
        return str(self.results.get("robustcmr_version", "unknown"))

    @property
    def folder(self) -> RunFolder:
        """Where its other files are."""
        return RunFolder(self.path)


@dataclass(frozen=True)
class FoundRuns:
    """Runs found in some folders, in the order given and, within a folder, by name.

    Attributes:
        finished: those that ended.
        unfinished: folders of those that did not, or of converted weights that were never trained here.
        damaged: a sentence for each folder that holds a run but cannot be read.
    """

    finished: tuple[FinishedRun, ...]
    unfinished: tuple[Path, ...]
    damaged: Mapping[Path, str]


def headline(results: Mapping[str, Any]) -> str:
    """The measure that stands for a split: ``rsum`` of pairs, ``map`` of labelled pairs.

    Args:
        results: of a finished run.

    Raises:
        RunFolderError: it is of a track that this version does not know.
    """
    track = results["track"]
    if track not in HEADLINES:
        raise RunFolderError(
            f"a run is of the track '{track}', expected {' or '.join(HEADLINES)}; read it with the version "
            f"that trained it, robustcmr {results.get('robustcmr_version', 'unknown')}"
        )
    return HEADLINES[track]


def read_run(path: Path) -> FinishedRun:
    """Read a finished run.

    Args:
        path: its folder.

    Returns:
        The run, whichever version of the package trained it.

    Raises:
        RunFolderError: there is no run, it has not finished, or one of its files is missing or damaged.
    """
    folder = RunFolder(path)
    if _is_half(folder):
        raise RunFolderError(
            f"{path} holds only a part of a run (config.yaml or environment.json is missing); copy the rest "
            "there, or train it again"
        )
    folder.require()
    _read(folder.environment, json.loads)
    if not folder.results.exists():
        folder.require_trained()
        raise RunFolderError(
            f"{path} holds a run that has not finished; go on with it by 'robustcmr train --resume {path}'"
        )
    results = _read(folder.results, json.loads)
    rows = _read(folder.metrics, lambda text: [json.loads(line) for line in text.splitlines()])
    config = _read(folder.config, lambda text: yaml.load(text, Loader=_LOADER))
    if not isinstance(results, Mapping) or not isinstance(config, Mapping):
        raise RunFolderError(
            f"{path} has a results.json or config.yaml that is no mapping of names to values; train it again"
        )
    missing = [name for name in _NEEDED if name not in results]
    if missing:
        raise RunFolderError(
            f"{folder.results} was written by robustcmr {results.get('robustcmr_version', 'unknown')} and "
            f"lacks {', '.join(missing)}; train the run again, or read it with that version"
        )
    run = FinishedRun(path, results, rows, config)
    headline(results)
    return run


def find_runs(paths: Sequence[Path]) -> FoundRuns:
    """Find the runs in run folders, folders of them, and sweep folders.

    Args:
        paths: folders; runs up to :data:`DEPTH` levels below are found, each once.

    Returns:
        The runs, sorted into finished, unfinished and damaged; all empty where a folder holds none.

    Raises:
        RunFolderError: a path is no folder.
    """
    finished: list[FinishedRun] = []
    unfinished: list[Path] = []
    damaged: dict[Path, str] = {}
    seen: set[Path] = set()
    for path in paths:
        if not path.is_dir():
            raise RunFolderError(
                f"{path} is {'a file' if path.exists() else 'not there'}, expected a run folder, a folder of "
                "them or a sweep folder; check the name"
            )
        for folder in _run_folders(path, DEPTH):
            if (real := folder.path.resolve()) in seen:
                continue
            seen.add(real)
            if folder.holds_run and not folder.results.exists():
                unfinished.append(folder.path)
                continue
            try:
                finished.append(read_run(folder.path))
            except RunFolderError as error:
                damaged[folder.path] = str(error)
    return FoundRuns(tuple(finished), tuple(unfinished), damaged)


def _run_folders(path: Path, depth: int) -> Iterator[RunFolder]:
    folder = RunFolder(path)
    if folder.holds_run or _is_half(folder):
        yield folder
    elif depth > 0:
        try:
            below = sorted(child for child in path.iterdir() if child.is_dir())
        except OSError as error:
            raise RunFolderError(
                f"cannot look into {path}: {error.strerror}; check its permissions"
            ) from error
        for child in below:
            yield from _run_folders(child, depth - 1)


def _is_half(folder: RunFolder) -> bool:
    """Whether something of a run is here, but not what says that it is one."""
    others = (folder.config, folder.results, folder.metrics)  # one alone may be anybody's
    return not folder.holds_run and (
        folder.environment.is_file() or sum(file.is_file() for file in others) > 1
    )


def _read(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing, so the run is not whole; train it again") from error
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    except (ValueError, yaml.YAMLError) as error:  # JSON and UTF-8 errors are ValueErrors
        line = str(error).splitlines()[0]
        raise RunFolderError(
            f"{path} is damaged ({line}); copy it anew from where it was trained, or train the run again"
        ) from error
