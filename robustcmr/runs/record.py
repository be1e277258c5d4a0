"""What a page tells of a run: its small files, whether it has finished or not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from robustcmr.errors import RunFolderError
from robustcmr.runs.finished import read_run
from robustcmr.runs.folder import RunFolder


@dataclass(frozen=True)
class RunRecord:
    """The small files of a run.

    Attributes:
        folder: where it lies.
        results: the outcome, or None while it has not finished.
        rows: one mapping an epoch.
        config: the resolved configuration.
        environment: machine, versions and command.
    """

    folder: RunFolder
    results: Mapping[str, Any] | None
    rows: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def select(self) -> str:
        """The split that chooses the best epoch."""
        return str(self.config.get("evaluation", {}).get("select", "dev"))

    @property
    def track(self) -> str:
        """``pairs`` or ``labels``; of an unfinished run as its measures tell."""
        if self.results is not None:
            return str(self.results["track"])
        return "labels" if any("map" in row.get(self.select, {}) for row in self.rows) else "pairs"

    @property
    def headline(self) -> str:
        """The measure that stands for a split."""
        return "map" if self.track == "labels" else "rsum"

    @property
    def best_epoch(self) -> int | None:
        """The best epoch so far, from 1; None before the first was measured."""
        measured = [row for row in self.rows if self.headline in row.get(self.select, {})]
        if not measured:
            return None
        return int(max(measured, key=lambda row: float(row[self.select][self.headline]))["epoch"])

    @property
    def command(self) -> str:
        """How it was started, as one line for a shell."""
        words = [str(word) for word in self.environment.get("command", [])]
        if words and words[0] == "__main__.py":  # python -m robustcmr
            words[0] = "robustcmr"
        return " ".join(f"'{word}'" if set(word) & set(" '\"$*?;&|<>()[]{}\\") else word for word in words)


def read_record(path: Path) -> RunRecord:
    """Read the small files of a run that was trained here.

    Args:
        path: its folder.

    Raises:
        RunFolderError: there is no run, it was converted from other people's file, or a file is damaged.
    """
    folder = RunFolder(path)
    if folder.holds_run:
        environment = _read(folder.environment, json.loads)
        folder.require_trained()
        if folder.results.exists():
            run = read_run(path)
            return RunRecord(folder, run.results, run.rows, run.config, environment)
        rows = _read(folder.metrics, _lines) if folder.metrics.exists() else []
        return RunRecord(folder, None, rows, _read(folder.config, yaml.safe_load), environment)
    run = read_run(path)  # tells what is missing
    raise RunFolderError(f"{run.path} holds no run; expected a folder made by 'robustcmr train'")


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _read(path: Path, parse: Any) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    except (ValueError, yaml.YAMLError) as error:
        line = str(error).splitlines()[0]
        raise RunFolderError(f"{path} is damaged ({line}); copy it anew, or train the run again") from error
