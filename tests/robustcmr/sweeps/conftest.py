"""A trial that trains nothing: it counts epochs, saves itself when asked to stop, and fails where told to."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FAKE = """
import json, os, signal, sys, time
from pathlib import Path

told = json.loads(Path(__file__).with_name("behaviour.json").read_text())
command, words = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2]))
assert command == "train"
resumed = "--resume" in words
run = Path(words["--resume"] if resumed else words["--output"])
name = run.name
with Path(__file__).with_name("starts.txt").open("a") as file:
    file.write(f"{name} {'resume' if resumed else 'start'} {os.environ.get('OMP_NUM_THREADS')}\\n")

def stop(number, frame):
    sys.exit(128 + number)

signal.signal(signal.SIGTERM, signal.SIG_IGN if name in told.get("deaf", []) else stop)
if not resumed:
    if run.is_dir() and any(run.iterdir()):
        sys.exit("robustcmr: not empty")
    run.mkdir(parents=True)
    (run / "environment.json").write_text("{}")
    (run / "config.yaml").write_text(Path(words["--config"]).read_text())
metrics = run / "metrics.jsonl"
rows = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
for epoch in range(len(rows) + 1, told.get("epochs", 3) + 1):
    time.sleep(told.get("pause", 0))
    if name in told.get("fail", []):
        raise ArithmeticError(f"{name} cannot be computed")
    if name in told.get("mistake", []):
        sys.stderr.write("epoch 1\\nrobustcmr: data.root: no such folder\\n")
        sys.exit(2)
    if name in told.get("killed", []):
        os.kill(os.getpid(), signal.SIGKILL)
    rows.append({"epoch": epoch, "dev": {"rsum": 100.0 + epoch}})
    temporary = metrics.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(row) + "\\n" for row in rows))
    temporary.replace(metrics)
if name not in told.get("empty", []):
    words = dict.fromkeys(("data", "matcher", "method", "track"), "fake")
    numbers = dict.fromkeys(("seed", "n_models", "best_epoch", "epochs"), 1)
    (run / "results.json").write_text(json.dumps({**words, **numbers, "splits": {}, "rows": rows}))
"""

DRIVER = """
import sys
from pathlib import Path
from rich.console import Console
from robustcmr import locks
from robustcmr.sweeps import execute
from robustcmr.sweeps.display import Display
from robustcmr.sweeps.folder import SweepFolder

folder = SweepFolder(Path(sys.argv[1]))
program = tuple(sys.argv[2:])
with locks.sole_user(folder.lock, f"the sweep folder {folder.path}"):
    due = execute.due_trials(folder, retry_failed=False)
    display = Display(Console(stderr=True))
    execute.end_orphans(folder, due, display.say)
    executor = execute.build_executor(folder.read_options().execution, folder)
    outcome = execute.run_trials(folder, due, executor, display, program)
sys.exit(0 if outcome.signal_number is None else 128 + outcome.signal_number)
"""


@dataclass
class Fake:
    """The fake trial: how it behaves, and how it was started."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        (self.folder / "fake.py").write_text(FAKE)
        (self.folder / "driver.py").write_text(DRIVER)
        self.behave()

    @property
    def program(self) -> tuple[str, ...]:
        return (sys.executable, str(self.folder / "fake.py"))

    def driver(self, sweep: Path) -> list[str]:
        """A process that runs a whole sweep of fake trials."""
        return [sys.executable, str(self.folder / "driver.py"), str(sweep), *self.program]

    def behave(self, **told: Any) -> None:
        (self.folder / "behaviour.json").write_text(json.dumps(told))

    @property
    def starts(self) -> list[str]:
        """``NAME start|resume THREADS`` of each start so far."""
        path = self.folder / "starts.txt"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path / "fake")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    root = str(Path(__file__).resolve().parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(":"))


@pytest.fixture
def planned(tmp_path: Path) -> Any:
    """A function that plans a sweep folder: by default hinge at two ratios and two seeds."""
    from robustcmr.sweeps.folder import SweepFolder
    from robustcmr.sweeps.options import sweep_options
    from robustcmr.sweeps.trials import plan_trials

    def plan(name: str = "sweep", **tree: Any) -> SweepFolder:
        given = {
            "name": name,
            "base": {"method": "hinge", "training": {"epochs": 3}},
            "grid": {"noise.ratio": [0.2, 0.4]},
            "seeds": [0, 1],
            **tree,
        }
        options = sweep_options(given, "the sweep")
        folder = SweepFolder(tmp_path / name)
        folder.write_plan(options, plan_trials(options, "the sweep"))
        return folder

    return plan
