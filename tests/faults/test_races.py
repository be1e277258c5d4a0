"""Two processes that want the same folder: one gets it, the other is refused, and nothing is mixed."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ALL = os.environ.get("ROBUSTCMR_FAULTS") == "all"
REFUSED = re.compile(
    r"robustcmr: (the run folder \S+ is in use by process \d+ on \S+ since \S+; wait until it has ended, or "
    r"stop it there by Ctrl-C|\S+ already holds a run; resume it with --resume \S+, replace it .*)\n"
)


@pytest.fixture(scope="session")
def alone(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[dict[str, Any], Path]]:
    """Outcome and folder of a training that had its folder to itself, by seed."""
    found = {}
    for seed in (0, 5):
        folder = bench.fresh()
        bench.run(bench.train(folder, seed))
        kept = folder.rename(tmp_path_factory.mktemp("alone") / "run")
        found[seed] = (bench.outcome(kept), kept)
    return found


def race(bench: Any, works: list[Callable[[], object]], head_start: float) -> list[Any]:
    """Start jobs one after the other, and wait for all."""
    jobs = []
    for work in works:
        jobs.append(bench.start(work))
        time.sleep(head_start)
    return [job.wait() for job in jobs]


@pytest.mark.parametrize("number", range(50 if ALL else 3))
def test_two_trainings_of_a_new_folder(bench: Any, alone: Any, number: int) -> None:
    folder = bench.fresh()
    seeds = [0, 5] if number % 2 else [5, 0]
    ended = race(bench, [bench.train(folder, seed) for seed in seeds], 0.003 * (number // 2))
    won = [seed for seed, end in zip(seeds, ended, strict=True) if not end.refused]
    assert len(won) == 1, [end.said for end in ended]
    (said,) = (end.said for end in ended if end.refused)
    assert REFUSED.fullmatch(said)
    assert bench.outcome(folder) == alone[won[0]][0]


@pytest.mark.parametrize("number", range(10 if ALL else 1))
def test_two_trainings_that_replace_a_run(bench: Any, alone: Any, number: int) -> None:
    """The second may also come late, and replace the run of the first."""
    folder = bench.fresh(alone[0][1])
    seeds = [0, 5] if number % 2 else [5, 0]
    ended = race(bench, [bench.train(folder, seed, overwrite=True) for seed in seeds], 0.01 * number)
    won = [seed for seed, end in zip(seeds, ended, strict=True) if not end.refused]
    assert all(REFUSED.fullmatch(end.said) for end in ended if end.refused)
    assert bench.outcome(folder) == alone[won[-1]][0]


@pytest.mark.parametrize("number", range(10 if ALL else 1))
def test_a_run_resumed_twice(bench: Any, alone: Any, number: int) -> None:
    folder = bench.fresh(alone[5][1])
    (folder / "results.json").unlink()
    (folder / "checkpoints" / "last").rename(folder / "checkpoints" / ".last.old")
    ended = race(bench, [bench.resume(folder), bench.resume(folder)], 0.01 * number)
    assert all(REFUSED.fullmatch(end.said) for end in ended if end.refused)
    assert bench.outcome(folder) == alone[5][0]
