"""Where trials stand, by their run folders first, and how long a sweep may still take."""

import json
import os

import pytest

from robustcmr import locks
from robustcmr.errors import SweepError
from robustcmr.sweeps.folder import SweepFolder
from robustcmr.sweeps.progress import (
    count_words,
    counts,
    duration_words,
    seconds_left,
    standing,
    standings,
    state_now,
)

NAME = "ratio0.2-seed0"


def begin(folder, name=NAME, rows=(), results=None):
    run = folder.run(name)
    run.start("seed: 0\n", {})
    if rows:
        run.write_metrics(rows)
    if results is not None:
        run.results.write_text(results)
    return run


def now(folder, alive=False):
    return state_now(folder.read()[NAME], folder, alive)


def test_a_run_folder_tells_more_than_what_was_noted(planned, make_results):
    folder = planned()
    assert now(folder) == ("waiting", None)
    begin(folder)
    assert now(folder) == ("interrupted", None)  # copied there, or its note was lost
    folder.note(NAME, "running")
    assert now(folder, alive=True) == ("running", None)
    assert now(folder) == ("interrupted", None)
    folder.note(NAME, "failed", 1.0, "why")
    assert now(folder) == ("failed", "why")
    folder.note(NAME, "running")
    folder.run(NAME).results.write_text("{}")
    assert now(folder) == ("interrupted", "results.json is damaged, it will be measured again")
    folder.run(NAME).results.write_text(json.dumps(make_results()))
    assert now(folder) == ("finished", None)


def test_a_trial_that_outlived_its_sweep_runs(planned):
    folder = planned()
    begin(folder)
    folder.read()
    folder.note(NAME, "running")
    descriptor = locks.take(folder.trial_lock(NAME))
    assert now(folder) == ("running", None)
    os.close(descriptor)
    assert now(folder) == ("interrupted", None)


def test_lost_and_damaged_outcomes_are_said(planned):
    folder = planned()
    folder.read()
    folder.note(NAME, "finished", 3.0)
    assert now(folder) == ("waiting", "its run folder is gone, it will be trained again")
    begin(folder, results='{"a": ')
    assert now(folder) == ("interrupted", "results.json is damaged, it will be measured again")


def test_standing(planned):
    folder = planned()
    rows = [{"epoch": 1, "dev": {"rsum": 50.0}}, {"epoch": 2, "dev": {"rsum": 40.0}}]
    begin(folder, rows=rows)
    folder.read()
    folder.note(NAME, "running")
    folder.note(NAME, "interrupted", 2.5)
    row = standing(folder.read()[NAME], folder, alive=False)
    assert (row.state, row.epoch, row.epochs, row.split, row.measure) == ("interrupted", 2, 3, "dev", "rsum")
    assert (row.best, row.seconds) == (50.0, 2.5)


@pytest.mark.parametrize("text", ["{broken\n", '{"epoch": 1}\n', '{"epoch": 1, "dev": {}}\n'])
def test_epochs_that_cannot_be_read_or_say_nothing(planned, text):
    folder = planned()
    begin(folder).metrics.write_text(text)
    assert standing(folder.read()[NAME], folder, alive=False).best is None


def test_all_trials_of_a_folder(planned, make_results, tmp_path):
    folder = planned()
    assert [row.state for row in standings(folder)] == ["waiting"] * 4
    begin(folder, results=json.dumps(make_results()))
    counted = counts(row.state for row in standings(folder))
    assert counted == {"finished": 1, "running": 0, "interrupted": 0, "failed": 0, "waiting": 3}
    assert count_words(counted) == "1 finished, 3 waiting"
    assert count_words(counts([])) == "no trials"
    with pytest.raises(SweepError, match="is not there"):
        standings(SweepFolder(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("whole", "running", "waiting", "slots", "expected"),
    [
        ([], [], 4, 1, None),
        ([], [(5.0, 0.0)], 4, 1, None),
        ([10.0, 20.0], [], 4, 2, 30.0),
        ([10.0], [(4.0, 0.0)], 0, 2, 6.0),
        ([], [(5.0, 0.5)], 2, 1, 25.0),
        ([10.0], [(30.0, 0.0)], 0, 1, 0.0),
        ([], [(1.0, 0.5), (50.0, 0.5)], 0, 2, 50.0),
    ],
)
def test_time_left(whole, running, waiting, slots, expected):
    assert seconds_left(whole, running, waiting, slots) == expected


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (12_000, "3 h 20 min")],
)
def test_durations(seconds, words):
    assert duration_words(seconds) == words
