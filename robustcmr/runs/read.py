"""Read runs from disk: one run, finished or not, or all runs below some folders."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustcmr.errors import RunFolderError
from robustcmr.files import reason
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.schemas import HEADLINES as HEADLINES

DEPTH = 3
"""Levels below a given folder that are searched for runs: ``sweeps/<name>/trials/<trial>``."""


@dataclass(frozen=True)
class SavedRun:
    """The small files of a run.

    Attributes:
        path: its folder.
        results: ``results.json``; empty while the run has not finished.
        rows: ``metrics.jsonl``, one mapping per epoch.
        config: ``config.yaml``, resolved.
        environment: ``environment.json``: machine, versions and command.
        alone: whether the measures are of one of several networks, and so no file of queries is of them.
    """

    path: Path
    results: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any]
    environment: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False

    @property
    def finished(self) -> bool:
        """Whether the run has results."""
        return bool(self.results)

    @property
    def version(self) -> str:
        """Version of the package that trained it; ``unknown`` if not recorded."""
        return str(self.results.get("robustcmr_version", "unknown"))

    @property
    def folder(self) -> RunFolder:
        """Paths of its other files."""
        return RunFolder(self.path)

    @property
    def select(self) -> str:
        """The split that chooses the best epoch."""
        return _select(self.config)

    @property
    def track(self) -> str:
        """``pairs`` or ``labels``; inferred from the measures while the run has not finished."""
        if self.finished:
            return str(self.results["track"])
        return "labels" if any("map" in row.get(self.select, {}) for row in self.rows) else "pairs"

    @property
    def headline(self) -> str:
        """The measure that ranks runs: ``rsum`` or ``map``."""
        return HEADLINES[self.track]

    @property
    def best_epoch(self) -> int | None:
        """The best epoch so far, from 1; None before the first was measured."""
        measured = [row for row in self.rows if self.headline in row.get(self.select, {})]
        if not measured:
            return None
        return int(max(measured, key=lambda row: float(row[self.select][self.headline]))["epoch"])

    @property
    def command(self) -> str:
        """The command that started it, quoted for a shell."""
        words = [str(word) for word in self.environment.get("command", [])]
        if words and words[0] == "__main__.py":  # python -m robustcmr
            words[0] = "robustcmr"
        return shlex.join(words)


@dataclass(frozen=True)
class FoundRuns:
    """Runs found below some folders, in the order given and, within a folder, by name.

    Attributes:
        finished: runs with results.
        unfinished: folders of unfinished runs and of converted checkpoints.
        damaged: one sentence for each folder whose run cannot be read.
    """

    finished: tuple[SavedRun, ...]
    unfinished: tuple[Path, ...]
    damaged: Mapping[Path, str]


def headline(results: Mapping[str, Any]) -> str:
    """Return the headline measure of results: ``rsum`` for pairs, ``map`` for labels.

    Raises:
        RunFolderError: this version does not know the track.
    """
    track = results["track"]
    if track not in HEADLINES:
        raise RunFolderError(
            f"a run is of the track '{track}', expected {' or '.join(HEADLINES)}; read it with the version "
            f"that trained it, robustcmr {results.get('robustcmr_version', 'unknown')}"
        )
    return HEADLINES[track]


def read_run(path: Path, finished: bool = True) -> SavedRun:
    """Read the small files of a run, whichever version of the package trained it.

    Args:
        path: its folder.
        finished: require a finished run; False also reads a run that is still training or was stopped.

    Raises:
        RunFolderError: there is no run, it has not finished, it was converted from a released checkpoint
            and so has no results, or one of its files is missing or damaged.
    """
    folder = RunFolder(path)
    with folder.unreplaced():
        return _read_run(folder, finished)


def _read_run(folder: RunFolder, finished: bool) -> SavedRun:
    folder.require()
    path = folder.path
    environment, results = folder.read_environment(), folder.read_results()
    if results is None:
        folder.require_trained()
        if finished:
            raise RunFolderError(
                f"{path} holds a run that has not finished; resume it with 'robustcmr train --resume {path}'"
            )
        config = folder.read_config()
        return SavedRun(path, {}, _rows(folder, config), config, environment)
    if not folder.metrics.exists():
        raise RunFolderError(f"{folder.metrics} is missing, so the run is not whole; train it again")
    headline(results)
    config = folder.read_config()
    if config["method"]["name"] == "robust":
        results = {**results, "method": "robust"}  # version 0.1 called it l2rm
    return SavedRun(path, results, _rows(folder, config), config, environment)


def _select(config: Mapping[str, Any]) -> str:
    return str((config.get("evaluation") or {}).get("select", "dev"))


def _rows(folder: RunFolder, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the epochs, each with a headline measure of the split that chooses the best, if it has one."""
    rows, select = folder.read_metrics(), _select(config)
    for row in rows:
        measures = row.get(select, {})
        if select in row and not (isinstance(measures, dict) and measures.keys() & set(HEADLINES.values())):
            raise RunFolderError(
                f"{folder.metrics} has no measures of the {select} split at epoch {row['epoch']}, expected "
                f"{' or '.join(HEADLINES.values())}; copy it again from where it was trained, or train the "
                "run again"
            )
    return rows


def find_runs(paths: Sequence[Path]) -> FoundRuns:
    """Find all runs in run folders, folders of runs, and sweep folders.

    Args:
        paths: folders; each run up to :data:`DEPTH` levels below is found once.

    Raises:
        RunFolderError: a path is not a folder, or cannot be listed.
    """
    finished: list[SavedRun] = []
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
    if folder.holds_run or folder.holds_part:
        yield folder
    elif depth > 0:
        try:
            below = sorted(child for child in path.iterdir() if child.is_dir())
        except OSError as error:
            raise RunFolderError(f"cannot look into {path}: {reason(error)}") from error
        for child in below:
            yield from _run_folders(child, depth - 1)
