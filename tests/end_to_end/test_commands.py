"""Every command on one finished run, and on a folder that holds none."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command

from robustcmr.cli import main
from robustcmr.config.resolve import resolve
from robustcmr.jobs.train import train

Call = Callable[..., tuple[int, str, str]]

TREE = {
    "data": {"name": "scenes", "n_train": 24, "n_dev": 4, "n_test": 4},
    "matcher": {"name": "omit", "dim": 16, "word_dim": 8, "region_hidden": 8},
    "method": {"name": "l2rm", "warmup_epochs": 1, "mixture": "gaussian"},
    "noise": {"ratio": 0.4},
    "training": {"epochs": 2, "batch_size": 32, "device": "cpu"},
    "optim": {"lr": 0.003, "milestones": []},
}
ON_A_RUN = {
    "eval": ([], "rSum"),
    "suspects": (["--no-sheet"], "of 120 pairs"),
    "rematch": (["--top-k", "5"], "rematches.csv"),
    "report": (["--no-model"], "report.html"),
    "compare": (["--split", "dev"], "l2rm"),
    "card": ([], "l2rm"),
    "search": (["a red star", "-k", "2"], "The best 2 of 4 images"),
}
"""Commands that read a run, with options and a part of their output."""

ELSEWHERE = {
    *("train", "embed", "convert", "noise", "list", "show", "validate", "env", "data", "sweep"),
    *("audit", "apply", "review", "certify", "suggest"),
}


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def invoke(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["robustcmr", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main.run()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return invoke


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(resolve(TREE), tmp_path_factory.mktemp("runs") / "a").path


def test_no_command_is_forgotten() -> None:
    assert set(get_command(main.app).commands) == {*ON_A_RUN, *ELSEWHERE}  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", ON_A_RUN)
def test_every_command_reads_a_finished_run(command: str, finished: Path, call: Call) -> None:
    options, part = ON_A_RUN[command]
    code, out, err = call(command, finished, *options)
    assert code == 0, err
    assert part in out


@pytest.mark.parametrize("command", ["eval", "suspects", "rematch"])
def test_json_of_every_command_is_json_alone(
    command: str, finished: Path, call: Call, tmp_path: Path
) -> None:
    options = {"suspects": ["--no-sheet"], "rematch": ["-o", tmp_path / "rematches.csv"]}.get(command, [])
    code, out, _ = call(command, finished, "--json", *options)
    assert code == 0
    assert isinstance(json.loads(out), dict)


@pytest.mark.parametrize("command", ON_A_RUN)
def test_every_command_refuses_a_folder_without_a_run(command: str, tmp_path: Path, call: Call) -> None:
    code, out, err = call(command, tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("robustcmr: ")
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
