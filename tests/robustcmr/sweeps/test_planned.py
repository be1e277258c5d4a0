"""Which runs a comparison of folders should hold."""

import json

import pytest

from robustcmr.runs.read import find_runs
from robustcmr.sweeps.folder import SweepFolder
from robustcmr.sweeps.options import SweepOptions
from robustcmr.sweeps.planned import planned_runs
from robustcmr.sweeps.trials import plan_trials

GRID = {"method.name": ["hinge", "infonce"], "noise.ratio": [0, 0.4]}


@pytest.fixture
def sweep(tmp_path, make_run, make_results):
    """A sweep of four trials of which two have finished, one is damaged and one is waiting."""
    folder = SweepFolder(tmp_path / "sweeps" / "mine")
    options = SweepOptions(name="mine", base={"training": {"epochs": 1}}, grid=GRID)
    folder.write_plan(options, plan_trials(options, "mine"))
    for name in ("hinge-ratio0-seed0", "hinge-ratio0.4-seed0", "infonce-ratio0-seed0"):
        method, ratio = name.split("-")[:2]
        make_run(folder.run(name).path, make_results(method=method, noise_ratio=float(ratio[5:])))
    (folder.run("infonce-ratio0-seed0").path / "results.json").write_text(json.dumps({"data": "scenes"}))
    return folder


def states(paths):
    planned, notes = planned_runs(paths, find_runs(paths))
    return {run.path.name: run.state for run in planned}, notes


@pytest.mark.parametrize("below", ["sweeps", "sweeps/mine", "sweeps/mine/trials"])
def test_every_trial_is_planned_wherever_the_search_begins(sweep, tmp_path, below):
    assert states([tmp_path / below]) == (
        {
            "hinge-ratio0-seed0": "finished",
            "infonce-ratio0-seed0": "damaged",
            "hinge-ratio0.4-seed0": "finished",
            "infonce-ratio0.4-seed0": "waiting",
        },
        (),
    )


def test_choices_and_seed_tell_trials_apart(sweep):
    planned, _ = planned_runs([sweep.path], find_runs([sweep.path]))
    assert planned[1].choices == {"method.name": "hinge", "noise.ratio": 0.4, "seed": 0}
    assert {run.sweep for run in planned} == {sweep.path}


def test_runs_outside_of_a_sweep_that_were_left_out(make_run, tmp_path):
    make_run(tmp_path / "a")
    (make_run(tmp_path / "b") / "results.json").unlink()
    (make_run(tmp_path / "c") / "results.json").write_text("{")
    assert states([tmp_path]) == (
        {},
        (f"some runs were left out: {tmp_path / 'b'} (not finished), {tmp_path / 'c'} (damaged)",),
    )
    assert states([tmp_path / "a"]) == ({}, ())


def test_a_sweep_whose_trials_cannot_be_read_is_noted(sweep):
    sweep.states.write_text("nothing\n")
    found, notes = states([sweep.path])
    assert found == {}
    assert "infonce-ratio0-seed0 (damaged)" in notes[1]
    assert f"whether the sweep {sweep.path} is complete is not known" in notes[0]
