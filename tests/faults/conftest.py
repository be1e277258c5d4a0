"""Kill jobs exactly before a file operation, and race them; all are forked from one process that is warm.

A few of the kills and races run with the suite, and all of them by
``ROBUSTCMR_FAULTS=all python -m pytest tests/faults``.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

OPERATIONS = ("replace", "rename", "mkdir", "fsync", "unlink", "remove", "rmdir")
"""Functions of ``os`` that change what a process started later would see."""


@dataclass(frozen=True)
class Ended:
    """How a job ended: killed, done or refused, what it said, and its file operations."""

    killed: bool
    said: str
    operations: Sequence[str]

    @property
    def refused(self) -> bool:
        return self.said.startswith("robustcmr: ")


class Job:
    """A function in a forked process, which may die before one of its file operations.

    Args:
        work: what it does.
        folder: operations on paths below it count.
        scratch: folder for what it says.
        kill_at: the number of the operation, from 0; None lets it live.
    """

    def __init__(
        self, work: Callable[[], object], folder: Path, scratch: Path, kill_at: int | None = None
    ) -> None:
        self._said, self._log = scratch / f"said-{id(self)}", scratch / f"operations-{id(self)}"
        self._process = os.fork()
        if self._process:
            return
        code = 1
        try:
            output = os.open(self._said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdout = sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  # not pytest's
            torch.set_num_threads(1)  # it has none of its parent's threads
            _count(folder, kill_at, os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
            code = _run(work)
            sys.stderr.flush()
        finally:
            os._exit(code)

    def wait(self) -> Ended:
        """Wait for the end; fail on anything but a kill, success and a sentence."""
        _, status = os.waitpid(self._process, 0)
        said = self._said.read_text(encoding="utf-8")
        operations = self._log.read_text(encoding="utf-8").splitlines()
        killed = os.WIFSIGNALED(status)
        assert killed or os.WEXITSTATUS(status) in (0, 2), said
        assert "Traceback" not in said
        return Ended(killed, said, operations)


def _run(work: Callable[[], object]) -> int:
    from robustcmr.errors import UserError

    try:
        work()
    except UserError as error:
        sys.stderr.write(f"robustcmr: {error}\n")
        return 2
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _count(folder: Path, kill_at: int | None, log: int) -> None:
    """Log the file operations below a folder, and die instead of one of them."""
    seen = 0

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal seen
            if name == "fsync" or "dir_fd" in options or str(args[0]).startswith(str(folder)):
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                os.write(log, f"{name} {args[0]}\n".encode())
                seen += 1
            return real(*args, **options)

        return call

    for name in OPERATIONS:
        setattr(os, name, counted(name, getattr(os, name)))


@dataclass(frozen=True)
class Bench:
    """Tiny trainings in forked processes.

    Attributes:
        root: a folder for runs.
        outcome: reads from a run folder what equal runs share, and the names of its files.
    """

    root: Path
    tree: dict[str, Any]
    outcome: Callable[[Path], dict[str, Any]]

    def config(self, seed: int = 0) -> Any:
        """The configuration of a tiny training."""
        from robustcmr.config.resolve import resolve

        return resolve({**self.tree, "seed": seed})

    def train(self, folder: Path, seed: int = 0, overwrite: bool = False) -> Callable[[], object]:
        """A new training."""
        from robustcmr.jobs.train import train

        return lambda: train(self.config(seed), folder, overwrite)

    def resume(self, folder: Path) -> Callable[[], object]:
        """A training taken up again."""
        from robustcmr.jobs.train import resume

        return lambda: resume(folder)

    def start(self, work: Callable[[], object], kill_at: int | None = None) -> Job:
        """Start a job."""
        return Job(work, self.root / "runs", self.root / "scratch", kill_at)

    def run(self, work: Callable[[], object], kill_at: int | None = None) -> Ended:
        """Run a job to its end."""
        return self.start(work, kill_at).wait()

    def fresh(self, like: Path | None = None) -> Path:
        """A folder that does not exist, or that is a copy of another one."""
        shutil.rmtree(self.root / "runs", ignore_errors=True)
        folder = self.root / "runs" / "run"
        if like is not None:
            shutil.copytree(like, folder)
        return folder


def outcome(run: Path, comparable: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """What two equal runs share, and the names of all files in the folder and beside it."""
    import numpy as np

    names = sorted(path.relative_to(run.parent).as_posix() for path in run.parent.rglob("*"))
    tables = {path.name: path.read_bytes() for path in run.glob("*.csv")}
    with np.load(run / "noise.npz") as noise:
        given = {key: noise[key].tobytes() for key in noise.files}
    config = (run / "config.yaml").read_text(encoding="utf-8")
    return {**comparable(run), "tables": tables, "noise": given, "config": config, "names": names}


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, make_folder: Any, comparable_run: Any) -> Iterator[Bench]:
    """A bench whose process has trained once, so that those forked from it import and compile nothing."""
    from robustcmr.files import write_with
    from robustcmr.reporting.charts import Chart

    root = tmp_path_factory.mktemp("faults")
    (root / "scratch").mkdir()
    data = make_folder(root / "data", {"train": 8, "dev": 4, "test": 4}, captions_per_image=2)
    tree = {
        "data": {"name": "precomp", "root": str(data), "captions_per_image": 2},
        "matcher": {"name": "vse_infty", "dim": 8, "word_dim": 4},
        "method": {"name": "robust", "warmup_epochs": 1, "warmup_extension": 0},
        "noise": {"ratio": 0.4},
        "training": {"epochs": 2, "batch_size": 8, "device": "cpu"},
    }
    found = Bench(root, tree, lambda run: outcome(run, comparable_run))
    with pytest.MonkeyPatch.context() as patch:  # drawing would take most of the time
        patch.setattr(Chart, "save", lambda chart, path: write_with(path, lambda file: file.write(b"drawn")))
        found.train(root / "warm")()
        yield found
