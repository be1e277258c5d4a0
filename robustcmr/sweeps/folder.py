"""The folder of a sweep: its files, and the states of its trials."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Lt
from pydantic import AfterValidator
from typing_extensions import TypedDict

from robustcmr.config import trust
from robustcmr.config.resolve import read_config, remember_run
from robustcmr.errors import SweepError
from robustcmr.files import LARGEST_JSON, fitting, parse_json, read_bytes, reason, to_yaml, write_text
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.older import current_config
from robustcmr.sweeps.options import SweepOptions, sweep_options
from robustcmr.sweeps.trials import PlannedTrial, Trial, same_or_refuse

SWEEP = "sweep.yaml"


@dataclass(frozen=True)
class Record:
    """A trial with its last recorded state."""

    trial: Trial
    state: str = "waiting"  # waiting, running, finished, failed or interrupted
    time: str | None = None  # of that state, ISO 8601 in UTC; None before the first start
    seconds: float = 0.0  # run time, over all starts
    reason: str | None = None  # why it failed, in one line


class SweepFolder:
    """Paths and small files of a sweep; the folder need not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.options = path / SWEEP  # the sweep as it was last run, base included
        self.states = path / "trials.jsonl"  # one line for each trial and for each change of its state
        self.trials = path / "trials"  # the run folders
        self.lock = path / "lock"  # held by the process that runs the sweep
        self.stop = path / "stop"  # while it exists, trials on other machines save and exit
        self.report = path / "report.html"  # compares the trials; made on request
        self._records: dict[str, Record] = {}

    def run(self, trial: str) -> RunFolder:
        """Run folder of a trial."""
        return RunFolder(self.trials / trial)

    def config(self, trial: str) -> Path:
        """Resolved configuration of a trial, YAML."""
        return self.path / "configs" / f"{trial}.yaml"

    def failure(self, trial: str) -> Path:
        """Error and traceback of a failed trial."""
        return self.path / "failures" / f"{trial}.txt"

    def log(self, trial: str) -> Path:
        """Stderr of the latest start of a trial."""
        return self.path / "logs" / f"{trial}.txt"

    def trial_lock(self, trial: str) -> Path:
        """Lock held by the process that trains a trial."""
        return self.path / "locks" / f"{trial}.lock"

    @property
    def holds_sweep(self) -> bool:
        """Whether a sweep was started here."""
        return self.options.is_file()

    def check_free(self) -> None:
        """Raise SweepError unless the folder holds a sweep or can take one."""
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
        """Raise SweepError if there is no sweep here."""
        if not self.holds_sweep:
            what = "holds no sweep" if self.path.is_dir() else "is not there"
            raise SweepError(
                f"{self.path} {what} (no {SWEEP}), expected a folder made by 'robustcmr sweep run'"
            )

    def read_options(self) -> SweepOptions:
        """Return the sweep as it was last run; raise UserError if the file is damaged or has other keys."""
        return sweep_options(read_config(self.options), str(self.options))

    def write_plan(self, options: SweepOptions, planned: Sequence[PlannedTrial]) -> list[str]:
        """Add the planned trials to the folder, leaving those it holds unchanged; return the new names.

        Raises:
            UserError: a name is taken by another configuration, or that cannot be read; nothing is written.
        """
        known = self.read() if self.holds_sweep else {}
        hashes = {record.trial.config_hash for record in known.values()}
        new = []
        for entry in planned:
            if entry.trial.name not in known and entry.trial.config_hash not in hashes:
                new.append(entry)
            elif entry.trial.config_hash not in hashes:  # written by another version, or another trial
                same_or_refuse(self.stored_config(entry.trial.name), entry, str(self.path))
        text = to_yaml(options.model_dump(mode="json"))
        write_text(self.options, text)  # first, so that an interrupted plan is completed by the next start
        if options.execution.address is not None:
            trust.remember(self.options, read_config(self.options))
        for entry in new:
            write_text(self.config(entry.trial.name), entry.config.to_yaml())
            remember_run(self.config(entry.trial.name), entry.config)
        self._records = {**known, **{entry.trial.name: Record(entry.trial) for entry in new}}
        self._write()
        return [entry.trial.name for entry in new]

    def stored_config(self, trial: str) -> dict[str, Any]:
        """Return the stored configuration of a trial, as sections; raise ConfigError if it cannot be read."""
        return current_config(read_config(self.config(trial)))

    def read(self) -> dict[str, Record]:
        """Return every trial's record, in the order to run them; an incomplete last line is ignored.

        Raises:
            SweepError: the file is damaged.
        """
        try:
            lines = read_bytes(self.states, LARGEST_JSON).decode("utf-8").split("\n")
        except FileNotFoundError:
            self._records = {}
            return {}
        except OSError as error:
            raise SweepError(f"cannot read {self.states}: {reason(error)}") from error
        except ValueError as error:
            raise SweepError(f"cannot read {self.states}: {error}; check the file") from error
        records: dict[str, Record] = {}
        lines.pop()  # after the last newline: nothing, or an incomplete line
        for number, line in enumerate(lines, start=1):
            try:
                _fold(records, fitting(parse_json(line), dict[str, Any]))
            except ValueError as error:
                raise SweepError(
                    f"{self.states} is damaged at line {number} ({error}); correct or remove that line"
                ) from error
        self._records = records
        return dict(records)

    def compact(self) -> dict[str, Record]:
        """Read the trials and rewrite the file, with one state per trial and no incomplete line."""
        records = self.read()
        self._write()
        return records

    def note(self, trial: str, state: str, seconds: float = 0.0, reason: str | None = None) -> Record:
        """Append a change of a trial's state to the file, with the seconds that its last start took."""
        before = self._records[trial]
        now = datetime.now(UTC).isoformat("T", "seconds")
        record = Record(before.trial, state, now, round(before.seconds + seconds, 1), reason)
        self._records[trial] = record
        with self.states.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_event(record)) + "\n")
        return record

    def _write(self) -> None:
        lines: list[str] = []
        for record in self._records.values():
            events = [] if record.time is None else [_event(record)]
            lines.extend(f"{json.dumps(row)}\n" for row in [asdict(record.trial), *events])
        write_text(self.states, "".join(lines))


def _event(record: Record) -> dict[str, Any]:
    event = {**vars(record), "trial": record.trial.name}
    return {key: value for key, value in event.items() if key != "reason" or value is not None}


def _fold(records: dict[str, Record], row: Mapping[str, Any]) -> None:
    """Add one line of the file to the records."""
    if "name" in row:
        if lacking := sorted(_Trial.__required_keys__ - row.keys()):
            raise ValueError(f"robustcmr {row.get('version', 'unknown')} wrote it without {lacking[0]}")
        wanted = fitting(row, _Trial).keys() & _Trial.__required_keys__
        trial = Trial(**{key: row[key] for key in wanted})
        records[trial.name] = Record(trial)
        return
    event = fitting(row, _Event)
    if event["trial"] not in records:
        raise ValueError(f"it is of a trial {ascii(event['trial'])[:80]} that is not listed before")
    known = records[event["trial"]].trial
    records[known.name] = Record(known, event["state"], event["time"], event["seconds"], event.get("reason"))


def _folder_name(name: str) -> str:
    """Refuse names that would lead out of the sweep folder."""
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise ValueError(f"{ascii(name)[:80]} is no name of a folder")
    return name


class _Trial(TypedDict):
    name: Annotated[str, AfterValidator(_folder_name)]
    choices: dict[str, Any]
    seed: int
    config_hash: str
    epochs: Annotated[int, Ge(1)]
    track: str
    select: str
    version: str


class _Event(TypedDict):
    trial: str
    state: Literal["waiting", "running", "finished", "failed", "interrupted"]
    time: str | None
    seconds: Annotated[float, Ge(0), Lt(math.inf)]
    reason: NotRequired[str | None]
