"""The folder of one run: what lies where in it, and how it is opened, made and replaced."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustcmr.errors import RunFolderError
from robustcmr.files import write_json, write_text

CONFIG = "config.yaml"


class RunFolder:
    """Paths and small files of a run.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config(self) -> Path:
        """Resolved configuration, YAML."""
        return self.path / CONFIG

    @property
    def environment(self) -> Path:
        """Machine, versions and command, JSON."""
        return self.path / "environment.json"

    @property
    def noise(self) -> Path:
        """The pairing or the labels as given, with their record."""
        return self.path / "noise.npz"

    @property
    def vocabulary(self) -> Path:
        """The vocabulary the captions were read with."""
        return self.path / "vocabulary.json"

    @property
    def metrics(self) -> Path:
        """One JSON line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def results(self) -> Path:
        """The outcome, JSON; it exists once the run has finished."""
        return self.path / "results.json"

    def queries(self, split: str) -> Path:
        """How every query of a measured split fared with the best epoch, NumPy arrays."""
        return self.path / f"queries-{split}.npz"

    @property
    def pairs(self) -> Path:
        """What the method came to believe of every training pair, CSV; only of methods that divide them."""
        return self.path / "pairs.csv"

    @property
    def labels(self) -> Path:
        """What the method came to take the class of every training pair to be, CSV; of labelled data only."""
        return self.path / "labels.csv"

    @property
    def suspects(self) -> Path:
        """Contact sheet of the worst suspects, PNG; made on request."""
        return self.path / "suspects.png"

    @property
    def tracking(self) -> Path:
        """Folder of what trackers write that keep their records in files."""
        return self.path / "tracking"

    @property
    def plots(self) -> Path:
        """Folder of pictures."""
        return self.path / "plots"

    @property
    def log(self) -> Path:
        """What was said during the run."""
        return self.path / "log.txt"

    @property
    def diverged(self) -> Path:
        """The batch at which the loss stopped being finite, JSON."""
        return self.path / "diverged.json"

    def checkpoint(self, name: str) -> Path:
        """Folder of the ``last`` or ``best`` checkpoint."""
        return self.path / "checkpoints" / name

    @property
    def holds_run(self) -> bool:
        """Whether a run was started here; a ``config.yaml`` alone may be anything."""
        return self.config.is_file() and self.environment.is_file()

    def check_free(self, overwrite: bool) -> None:
        """Refuse a folder that cannot take a new run.

        Raises:
            RunFolderError: it holds a run and may not be overwritten, or it is something else than a run
                folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(
                f"{self.path} is a file, expected a folder for the run; choose another --output"
            )
        if self.holds_run and not overwrite:
            raise RunFolderError(
                f"{self.path} already holds a run; go on with it by --resume {self.path}, replace it by "
                "--overwrite, or choose another --output"
            )
        if self.path.is_dir() and not self.holds_run and any(self.path.iterdir()):
            raise RunFolderError(
                f"{self.path} is not empty and holds no run; choose another --output, or empty it first"
            )

    def start(self, config: str, environment: Mapping[str, Any]) -> None:
        """Make the folder and write how the run was asked for, removing an older run.

        Raises:
            RunFolderError: the older run cannot be removed.
            UserError: the folder cannot be written.
        """
        if self.holds_run:
            self._clear()
        write_json(self.environment, environment)
        write_text(self.config, config)  # last: a folder with a configuration holds a run

    def _clear(self) -> None:
        try:
            self.config.unlink()  # first: what is left half removed holds no run
            for path in self.path.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        except OSError as error:
            raise RunFolderError(
                f"cannot remove the older run in {self.path}: {error.strerror or error}; "
                "choose another --output"
            ) from error

    def require(self) -> None:
        """Refuse a folder without a run.

        Raises:
            RunFolderError: there is no run here.
        """
        if not self.holds_run:
            raise RunFolderError(
                f"{self.path} holds no run (no {CONFIG} with an environment.json); expected a folder made by "
                "'robustcmr train'"
            )

    def require_trained(self) -> None:
        """Refuse a folder without a run that was begun by training here.

        Raises:
            RunFolderError: there is no run, or it was converted from other people's file.
        """
        self.require()
        made: dict[str, Any] = json.loads(self.environment.read_text(encoding="utf-8"))
        origin = made.get("converted_from")
        if origin is not None:
            raise RunFolderError(
                f"{self.path} was not trained here but converted from {origin['file']}, so it can only be "
                "measured; use 'robustcmr eval', or train a new run"
            )

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write all epochs' rows."""
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))

    def read_metrics(self) -> list[dict[str, Any]]:
        """All epochs' rows; empty before the first epoch has ended."""
        if not self.metrics.exists():
            return []
        return [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]

    def read_results(self) -> dict[str, Any] | None:
        """The outcome, or None while the run has not finished."""
        if not self.results.exists():
            return None
        results: dict[str, Any] = json.loads(self.results.read_text(encoding="utf-8"))
        return results


def unused_folder(parent: Path, name: str) -> Path:
    """``parent/name``, or with -2, -3, … behind it, whichever does not exist yet."""
    candidate, number = parent / name, 2
    while candidate.exists():
        candidate, number = parent / f"{name}-{number}", number + 1
    return candidate
