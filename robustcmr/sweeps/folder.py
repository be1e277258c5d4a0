"""The folder of a sweep: what lies where in it, and the file that remembers its trials and their states."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from robustcmr.config.resolve import read_config
from robustcmr.errors import ConfigError
from robustcmr.files import write_text
from robustcmr.runs.folder import RunFolder
from robustcmr.sweeps.errors import SweepError
from robustcmr.sweeps.options import SweepOptions, sweep_options
from robustcmr.sweeps.trials import PlannedTrial, Trial, same_or_refuse

SWEEP = "sweep.yaml"


@dataclass(frozen=True)
class Record:
    """A trial with what was last noted of it.

    Attributes:
        trial: what it is.
        state: ``waiting``, ``running``, ``finished``, ``failed`` or ``interrupted``.
        time: when that was noted, ISO 8601 in UTC; None where nothing happened yet.
        seconds: how long it ran, over all its starts.
        reason: why it failed, in a line.
    """

    trial: Trial
    state: str = "waiting"
    time: str | None = None
    seconds: float = 0.0
    reason: str | None = None


@dataclass
class SweepFolder:
    """Paths and small files of a sweep.

    Args:
        path: the folder; it need not exist.
    """

    path: Path
    _records: dict[str, Record] = field(default_factory=dict, init=False, repr=False)

    @property
    def options(self) -> Path:
        """The sweep as it was last run, its base included, YAML."""
        return self.path / SWEEP

    @property
    def states(self) -> Path:
        """One JSON line for each trial, and one for each change of its state."""
        return self.path / "trials.jsonl"

    @property
    def trials(self) -> Path:
        """Folder of the run folders."""
        return self.path / "trials"

    @property
    def lock(self) -> Path:
        """Held by the process that runs the sweep."""
        return self.path / "lock"

    @property
    def stop(self) -> Path:
        """Its presence asks trials on other machines to save and end."""
        return self.path / "stop"

    @property
    def report(self) -> Path:
        """The comparison of the trials as a page, made on request."""
        return self.path / "report.html"

    def run(self, trial: str) -> RunFolder:
        """The run folder of a trial."""
        return RunFolder(self.trials / trial)

    def config(self, trial: str) -> Path:
        """The resolved configuration a trial is started by, YAML."""
        return self.path / "configs" / f"{trial}.yaml"

    def failure(self, trial: str) -> Path:
        """What a failed trial said, with its traceback."""
        return self.path / "failures" / f"{trial}.txt"

    def log(self, trial: str) -> Path:
        """What a trial says on stderr in its latest start."""
        return self.path / "logs" / f"{trial}.txt"

    def trial_lock(self, trial: str) -> Path:
        """Held by the process that trains a trial."""
        return self.path / "locks" / f"{trial}.lock"

    @property
    def holds_sweep(self) -> bool:
        """Whether a sweep was begun here."""
        return self.options.is_file()

    def check_free(self) -> None:
        """Refuse a folder that cannot take a sweep and holds none to go on with.

        Raises:
            SweepError: it is a file, or holds something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise SweepError(
                f"{self.path} is a file, expected a folder for the sweep; choose another --output"
            )
        if self.holds_sweep or not self.path.is_dir():
            return
        others = [path.name for path in self.path.iterdir() if path != self.lock]
        if others:
            raise SweepError(
                f"{self.path} is not empty and holds no sweep ({min(others)} is there); choose another "
                "--output, or empty it first"
            )

    def require(self) -> None:
        """Refuse a folder without a sweep.

        Raises:
            SweepError: there is none here.
        """
        if not self.holds_sweep:
            what = "holds no sweep" if self.path.is_dir() else "is not there"
            raise SweepError(
                f"{self.path} {what} (no {SWEEP}), expected a folder made by 'robustcmr sweep run'"
            )

    def read_options(self) -> SweepOptions:
        """The sweep as it was last run.

        Raises:
            SweepError: the file is damaged, or of a version that knew other keys.
        """
        try:
            return sweep_options(read_config(self.options), str(self.options))
        except ConfigError as error:
            raise SweepError(str(error)) from error

    def write_plan(self, options: SweepOptions, planned: Sequence[PlannedTrial]) -> list[str]:
        """Take trials into the folder; those it holds already stay as they are.

        Args:
            options: the sweep, its base as sections.
            planned: its trials.

        Returns:
            Names of the new trials.

        Raises:
            SweepError: a name is taken by a trial of another configuration; nothing is written then.
        """
        known = self.read() if self.holds_sweep else {}
        hashes = {record.trial.config_hash for record in known.values()}
        new = []
        for entry in planned:
            if entry.trial.config_hash in hashes:
                continue
            if entry.trial.name in known:  # as another version would write it, or really another
                same_or_refuse(self.stored_config(entry.trial.name), entry, str(self.path))
                continue
            new.append(entry)
        text = yaml.safe_dump(options.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_text(self.options, text)  # first: what is cut off behind it is completed by the next start
        for entry in new:
            write_text(self.config(entry.trial.name), entry.config.to_yaml())
        self._records = {**known, **{entry.trial.name: Record(entry.trial) for entry in new}}
        self._write()
        return [entry.trial.name for entry in new]

    def stored_config(self, trial: str) -> dict[str, Any]:
        """The configuration kept for a trial, as sections.

        Raises:
            SweepError: the file is missing or damaged.
        """
        try:
            return read_config(self.config(trial))
        except ConfigError as error:
            raise SweepError(str(error)) from error

    def read(self) -> dict[str, Record]:
        """What is remembered of every trial, in the order they shall run.

        Raises:
            SweepError: the file is damaged elsewhere than in a last line that was cut off.
        """
        try:
            lines = self.states.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            self._records = {}
            return {}
        except (OSError, ValueError) as error:
            raise SweepError(f"cannot read {self.states}: {error}; check the file") from error
        records: dict[str, Record] = {}
        lines.pop()  # behind the last newline: nothing, or a line that was never finished
        for number, line in enumerate(lines, start=1):
            try:
                _fold(records, json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise SweepError(
                    f"{self.states} is damaged at line {number} ({error}); mend or remove that line"
                ) from error
        self._records = records
        return dict(records)

    def compact(self) -> dict[str, Record]:
        """Read the trials and write each once again, which also removes a line that was cut off."""
        self.read()
        self._write()
        return dict(self._records)

    def note(self, trial: str, state: str, seconds: float = 0.0, reason: str | None = None) -> Record:
        """Remember a change of state; one line is added to the file.

        Args:
            trial: its name.
            state: the new one.
            seconds: how long the start that ended now took.
            reason: why it failed, in a line.
        """
        before = self._records[trial]
        now = datetime.now(UTC).isoformat("T", "seconds")
        record = Record(before.trial, state, now, round(before.seconds + seconds, 1), reason)
        self._records[trial] = record
        with self.states.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_event(record)) + "\n")
        return record

    def _write(self) -> None:
        lines = []
        for record in self._records.values():
            lines.append(json.dumps(asdict(record.trial)))
            if record.time is not None:
                lines.append(json.dumps(_event(record)))
        write_text(self.states, "".join(f"{line}\n" for line in lines))


def _event(record: Record) -> dict[str, Any]:
    event = {
        "trial": record.trial.name,
        "state": record.state,
        "time": record.time,
        "seconds": record.seconds,
    }
    return event if record.reason is None else {**event, "reason": record.reason}


def _fold(records: dict[str, Record], row: Mapping[str, Any]) -> None:
    """Take one line into what is known."""
    if "name" in row:
        wanted = {entry.name for entry in fields(Trial)}
        if lacking := sorted(wanted - row.keys()):
            raise ValueError(f"robustcmr {row.get('version', 'unknown')} wrote it without {lacking[0]}")
        trial = Trial(**{key: value for key, value in row.items() if key in wanted})
        records[trial.name] = Record(trial)
        return
    known = records[row["trial"]]
    records[row["trial"]] = Record(known.trial, row["state"], row["time"], row["seconds"], row.get("reason"))
