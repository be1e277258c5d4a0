"""A job killed before any of its file operations and taken up again ends as one that was never killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ALL = os.environ.get("ROBUSTCMR_FAULTS") == "all"
FEW = 3
"""Kills of each kind of job that run with the suite."""


@pytest.fixture(scope="session")
def whole(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str], Path]:
    """A training that was never killed: its outcome, its file operations, and a copy of its folder."""
    folder = bench.fresh()
    ended = bench.run(bench.train(folder))
    assert not ended.refused, ended.said
    kept = folder.rename(tmp_path_factory.mktemp("whole") / "run")
    return bench.outcome(kept), list(ended.operations), kept


def test_a_training(bench: Any, whole: Any) -> None:
    """It is resumed if it had begun, else started again."""
    expected, operations, _ = whole
    for kill_at in chosen(len(operations)):
        folder = bench.fresh()
        again = bench.resume(folder)
        assert bench.run(bench.train(folder), kill_at).killed
        if not (folder / "config.yaml").exists():
            refused = bench.run(again)
            assert "holds no run" in refused.said
            assert len(refused.said.splitlines()) == 1
            again = bench.train(folder, overwrite=bool(kill_at % 2))
        finish(bench, again, f"{kill_at}: {operations[kill_at]}")
        assert bench.outcome(folder) == expected, f"{kill_at}: {operations[kill_at]}"


def test_a_resumed_training(bench: Any, whole: Any, tmp_path: Path) -> None:
    expected, operations, _ = whole
    second = [n for n, name in enumerate(operations) if name.startswith("replace") and "metrics" in name][1]
    folder = bench.fresh()
    assert bench.run(bench.train(folder), second).killed
    half = folder.rename(tmp_path / "half")
    kills(bench, half, lambda folder: bench.resume(folder), lambda folder: bench.resume(folder), expected)


def test_a_training_that_replaces_another(bench: Any, whole: Any) -> None:
    """Until the older run is gone it is replaced again; then the new one is started again or resumed."""
    _, _, older = whole
    folder = bench.fresh()
    bench.run(bench.train(folder, seed=5))
    expected = bench.outcome(folder)

    def again(folder: Path) -> Callable[[], object]:
        config = folder / "config.yaml"
        if not config.exists():
            return bench.train(folder, seed=5)
        if "seed: 5\n" in config.read_text(encoding="utf-8"):
            return bench.resume(folder)
        return bench.train(folder, seed=5, overwrite=True)

    kills(bench, older, lambda folder: bench.train(folder, seed=5, overwrite=True), again, expected)


def kills(
    bench: Any,
    before: Path,
    work: Callable[[Path], Callable[[], object]],
    again: Callable[[Path], Callable[[], object]],
    expected: dict[str, Any],
) -> None:
    """Kill a job on a copy of a folder before each of its operations, and finish it."""
    operations = bench.run(work(bench.fresh(before))).operations
    for kill_at in chosen(len(operations)):
        folder = bench.fresh(before)
        assert bench.run(work(folder), kill_at).killed
        finish(bench, again(folder), f"{kill_at}: {operations[kill_at]}")
        assert bench.outcome(folder) == expected, f"{kill_at}: {operations[kill_at]}"


def finish(bench: Any, work: Callable[[], object], where: str) -> None:
    ended = bench.run(work)
    assert not ended.refused, f"{where}: {ended.said}"


def chosen(count: int) -> list[int]:
    """All operations, or a few that lie apart, other ones for each kind of job."""
    return list(range(count)) if ALL else list(range(1, count, -(-count // FEW)))
