"""The folder of one run: its files, and how it is created, replaced and read."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from robustcmr.errors import RunFolderError, UserError
from robustcmr.files import (
    fitting,
    identity,
    read_json,
    read_json_lines,
    read_yaml,
    reason,
    write_json,
    write_text,
)
from robustcmr.locks import sole_user
from robustcmr.runs.older import current_config
from robustcmr.runs.schemas import EPOCH, NEEDED, RESULTS, Config, Environment, History

_ALSO = re.compile(
    r"checkpoints|queries-.*\.npz|results\.json\.damaged|report\.html|rematches\.csv|\..*\.[0-9a-f]{32}\.tmp"
)
"""What a run folder holds beside the files that :class:`RunFolder` names."""


class RunFolder:
    """Paths and small files of a run.

    Args:
        path: the folder; it need not exist.

    Attributes:
        config: resolved configuration, YAML.
        environment: machine, versions and command, JSON.
        history: what was done beside one training, JSON: more epochs, a warm start; often absent.
        noise: the pairing or the labels as given, with their noise record.
        vocabulary: the vocabulary that the captions were read with.
        inputs: description of images and captions as the matcher reads them, JSON.
        metrics: one JSON line per epoch.
        results: the outcome, JSON; exists once the run has finished.
        pairs: the method's estimate of every training pair, CSV; only if the method divides pairs.
        labels: the method's estimate of every training label, CSV; only if the method corrects labels.
        suspects: contact sheet of the worst suspects, PNG; made on request.
        tracking: folder for trackers that write files.
        plots: folder of charts.
        log: log messages of the run.
        diverged: the batch at which the loss stopped being finite, JSON.
        lock: held by the process that writes here, and removed by it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
        self.history = path / "history.json"
        self.noise = path / "noise.npz"
        self.vocabulary = path / "vocabulary.json"
        self.inputs = path / "inputs.json"
        self.metrics = path / "metrics.jsonl"
        self.results = path / "results.json"
        self.pairs = path / "pairs.csv"
        self.labels = path / "labels.csv"
        self.suspects = path / "suspects.png"
        self.tracking = path / "tracking"
        self.plots = path / "plots"
        self.log = path / "log.txt"
        self.diverged = path / "diverged.json"
        self.lock = path / ".robustcmr.lock"
        self._left = False  # whether a killed process left its lock here

    def queries(self, split: str) -> Path:
        """Ranks or average precisions of every query of a measured split, NumPy arrays."""
        return self.path / f"queries-{split}.npz"

    def checkpoint(self, name: str) -> Path:
        """Folder of the ``last`` or ``best`` checkpoint, or of the ``first`` of a run that restarts."""
        return self.path / "checkpoints" / name

    @property
    def holds_run(self) -> bool:
        """Whether a run was started here; a ``config.yaml`` alone may be anything."""
        return _is_file(self.config) and _is_file(self.environment)

    @property
    def holds_part(self) -> bool:
        """Whether files of a run are here, but not both of those that make it one."""
        others = (self.config, self.results, self.metrics)  # one alone may be anything
        return not self.holds_run and (
            _is_file(self.environment) or sum(_is_file(file) for file in others) > 1
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from writing here during the block; reading needs no lock.

        A missing folder is created, and removed again if it stays empty.

        Raises:
            InUseError: another process writes here.
            LockError: this process may not write here.
            RunFolderError: it is a file.
        """
        found = _stat(self.path)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            raise RunFolderError(
                f"{self.path} is a file, expected a folder for the run; choose another --output"
            )
        missing = [folder for folder in (self.path, *self.path.parents) if _stat(folder) is None]
        try:
            with sole_user(self.lock, f"the run folder {self.path}", required=False) as self._left:
                yield
        finally:
            with suppress(OSError):  # until one that is not empty
                for folder in missing:
                    folder.rmdir()

    def check_free(self, overwrite: bool) -> None:
        """Raise RunFolderError if it holds a run that may not be overwritten, or holds other files.

        The caller must hold its lock. What a start that was killed left behind is no obstacle.
        """
        if self.holds_run:
            if overwrite:
                return
            raise RunFolderError(
                f"{self.path} already holds a run; resume it with --resume {self.path}, replace it with "
                "--overwrite, or choose another --output"
            )
        others = [path.name for path in self._content() if not (self._left and self._is_own(path))]
        if others:
            raise RunFolderError(
                f"{self.path} is not empty and holds no run ({min(others)} is there); choose another "
                "--output, or empty it first"
            )

    def start(
        self, config: str, environment: Mapping[str, Any], save: Callable[[RunFolder], None] | None = None
    ) -> None:
        """Create the folder with its configuration and environment, removing an older run.

        ``save`` writes the other files that a run must not be without. A process that is killed meanwhile
        leaves the older run, or no run.

        Raises:
            RunFolderError: the older run cannot be removed.
            UserError: the folder cannot be written.
        """
        try:
            # other people's files while this is still a run, and parts of one last, which a next start knows
            for path in sorted(self._content(), key=lambda path: (self._is_own(path), path != self.config)):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        except OSError as error:
            raise RunFolderError(
                f"cannot remove the older run in {self.path}: {reason(error)}, or choose another --output"
            ) from error
        write_json(self.environment, environment)
        if save is not None:
            save(self)
        write_text(self.config, config)  # last: a folder with a configuration holds a run

    def _content(self) -> list[Path]:
        """Everything in the folder besides its lock."""
        try:
            return [path for path in self.path.iterdir() if path != self.lock] if self.path.is_dir() else []
        except OSError as error:
            raise RunFolderError(f"cannot look into {self.path}: {reason(error)}") from error

    def _is_own(self, path: Path) -> bool:
        """Whether a run makes something of this name."""
        return path in vars(self).values() or _ALSO.fullmatch(path.name) is not None

    @contextmanager
    def unreplaced(self) -> Iterator[None]:
        """Raise RunFolderError if another run replaces this one during the block, which reads it."""
        before = identity(self.environment)
        try:
            yield
        except UserError:
            self._check_is(before)  # the reason for the error
            raise
        self._check_is(before)

    def _check_is(self, before: object) -> None:
        if identity(self.environment) != before:
            raise RunFolderError(f"the run in {self.path} was replaced while it was read; repeat the command")

    def require(self) -> None:
        """Raise RunFolderError if there is no run, or only some of its files."""
        if not self.holds_run and _is_file(self.lock):
            raise RunFolderError(
                f"{self.path} holds no run yet: its training has just begun, or was killed before it had "
                "saved anything; in that case start it again with the same --output"
            )
        if self.holds_part:
            raise RunFolderError(
                f"{self.path} holds only a part of a run (config.yaml or environment.json is missing); copy "
                "the rest there, or train it again"
            )
        if not self.holds_run:
            raise RunFolderError(
                f"{self.path} holds no run (no config.yaml with an environment.json); expected a folder made "
                "by 'robustcmr train'"
            )

    def require_trained(self) -> None:
        """Raise RunFolderError if there is no run, or it was converted from a released checkpoint."""
        self.require()
        origin = self.read_environment().get("converted_from")
        if origin is not None:
            raise RunFolderError(
                f"{self.path} was not trained here but converted from {origin['file']}, so it can only be "
                "measured; use 'robustcmr eval', or train a new run"
            )

    def require_estimates(self, *tables: Path) -> None:
        """Raise RunFolderError unless the run was trained here and has one of some tables of estimates."""
        self.require_trained()
        if any(table.exists() for table in tables):
            return
        names = " or ".join(table.name for table in tables)
        if self.labels.exists():
            raise RunFolderError(
                f"{self.path} corrects labels, expected a run that suspects pairs; list its labels with "
                f"'robustcmr suspects {self.path}'"
            )
        if self.read_results() is None:
            raise RunFolderError(
                f"{self.path} has no {names} yet; finish it with 'robustcmr train --resume {self.path}'"
            )
        raise RunFolderError(
            f"{self.path} has no {names}: its method does not estimate which pairs are wrong; train one that "
            "divides the pairs or corrects their labels, such as --method robust"
        )

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write one row per epoch."""
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return one row per epoch; none before the first epoch has ended.

        Raises:
            RunFolderError: the file is damaged, like all ``read_`` methods.
        """
        if not self.metrics.exists():
            return []
        rows: list[dict[str, Any]] = _read(self.metrics, read_json_lines, EPOCH)
        return rows

    def read_results(self) -> dict[str, Any] | None:
        """Return the outcome, or None while the run has not finished."""
        if not self.results.exists():
            return None
        return dict(_read(self.results, _read_results))

    def read_config(self) -> dict[str, Any]:
        """Return the configuration, with the names of today where version 0.1 wrote it."""
        return current_config(_read(self.config, read_yaml, Config))

    def read_environment(self) -> dict[str, Any]:
        """Return machine, versions and command."""
        return dict(_read(self.environment, read_json, Environment))

    def read_history(self) -> dict[str, Any]:
        """Return the totals of ``epochs`` it was extended through and its ``warm_start``; mostly neither."""
        return dict(_read(self.history, read_json, History)) if self.history.exists() else {}


def unused_folder(parent: Path, name: str) -> Path:
    """Return ``parent/name``, or the first of ``name-2``, ``name-3``, … that does not exist."""
    candidate, number = parent / name, 2
    while candidate.exists():
        candidate, number = parent / f"{name}-{number}", number + 1
    return candidate


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunFolderError(f"cannot look for {path}: {reason(error)}") from error


def _is_file(path: Path) -> bool:
    found = _stat(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def _read_results(path: Path) -> dict[str, Any]:
    results: dict[str, Any] = read_json(path, dict[str, Any])
    if "beliefs" in results:  # its name until version 0.1
        results["findings"] = results.pop("beliefs")
    missing = [name for name in NEEDED if name not in results]
    if missing:
        raise RunFolderError(
            f"{path} was written by robustcmr {results.get('robustcmr_version', 'unknown')} and lacks "
            f"{', '.join(missing)}; train the run again, or read it with that version"
        )
    return dict(fitting(results, RESULTS))


def _read(path: Path, reader: Callable[..., Any], *schema: Any) -> Any:
    try:
        return reader(path, *schema)
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing, so the run is not whole; train it again") from error
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {reason(error)}") from error
    except ValueError as error:
        raise RunFolderError(
            f"{path} is damaged ({error}); copy it again from where it was trained, or train the run again"
        ) from error
