"""What a sweep folder remembers, also after a line was cut off, and what it refuses."""

import json

import pytest
import yaml

import robustcmr
from robustcmr.config.resolve import read_config, resolve
from robustcmr.errors import ConfigError, SweepError
from robustcmr.sweeps.folder import SweepFolder
from robustcmr.sweeps.options import read_sweep, sweep_options
from robustcmr.sweeps.trials import config_hash, plan_trials

NAMES = ["ratio0.2-seed0", "ratio0.4-seed0", "ratio0.2-seed1", "ratio0.4-seed1"]
BASE = {"method": "hinge", "training": {"epochs": 3}}


def take(folder, **tree):
    options = sweep_options({"name": "sweep", "base": BASE, **tree}, "the sweep")
    return folder.write_plan(options, plan_trials(options, "the sweep"))


def test_a_plan_is_read_back(planned):
    folder = planned()
    records = folder.read()
    assert list(records) == NAMES
    for name, record in records.items():
        assert (record.trial.name, record.state, record.time) == (name, "waiting", None)
        assert record.trial.version == robustcmr.__version__
        assert config_hash(resolve(read_config(folder.config(name)))) == record.trial.config_hash


def test_the_kept_sweep_file_can_be_run_again(planned):
    folder = planned()
    options = read_sweep(str(folder.options))
    assert [entry.trial for entry in plan_trials(options, "x")] == [r.trial for r in folder.read().values()]


def test_states_are_noted_and_seconds_added(planned):
    folder = planned()
    folder.read()
    folder.note(NAMES[0], "running")
    folder.note(NAMES[0], "interrupted", 4.0)
    folder.note(NAMES[0], "failed", 3.5, "a reason")
    record = SweepFolder(folder.path).read()[NAMES[0]]
    assert (record.state, record.seconds, record.reason) == ("failed", 7.5, "a reason")
    lines = len(folder.states.read_text().splitlines())
    assert folder.compact()[NAMES[0]] == record
    assert len(folder.states.read_text().splitlines()) == lines - 2
    assert SweepFolder(folder.path).read()[NAMES[0]] == record


def test_a_line_that_was_cut_off_is_forgotten(planned):
    folder = planned()
    folder.read()
    folder.note(NAMES[0], "running")
    whole = folder.states.read_text()
    folder.states.write_text(whole + '{"trial": "ratio0.4-se')
    assert folder.compact()[NAMES[0]].state == "running"
    assert sorted(folder.states.read_text().splitlines()) == sorted(whole.splitlines())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{broken", "line 5"),
        ('{"trial": "unknown", "state": "failed", "time": null, "seconds": 1}', "unknown"),
        ('{"trial": "unknown", "state": "failed"}', "time is missing"),
        ('{"name": "a", "version": "0.0.1"}', "robustcmr 0.0.1 wrote it without choices"),
    ],
)
def test_damage_is_told_by_line(planned, line, reason):
    folder = planned()
    folder.states.write_text(folder.states.read_text() + line + "\n")
    with pytest.raises(SweepError, match="damaged at line 5") as error:
        folder.read()
    assert reason in str(error.value)


def test_keys_of_a_later_version_are_passed_over(planned):
    folder = planned()
    rows = [json.loads(line) for line in folder.states.read_text().splitlines()]
    before = folder.read()
    folder.states.write_text("".join(json.dumps({**row, "later": 1}) + "\n" for row in rows))
    assert folder.read() == before


def test_another_grid_adds_trials_and_keeps_the_others(planned):
    folder = planned()
    folder.read()
    folder.note(NAMES[1], "finished", 5.0)
    assert take(folder, grid={"noise.ratio": [0.4, 0.6]}, seeds=[0]) == ["ratio0.6-seed0"]
    records = folder.read()
    assert list(records) == [*NAMES, "ratio0.6-seed0"]
    assert (records[NAMES[1]].state, records[NAMES[1]].seconds) == ("finished", 5.0)


def test_a_trial_under_another_name_is_the_same_trial(planned):
    folder = planned()
    grid = {"noise": [{"label": "some", "noise.ratio": 0.2}, {"label": "much", "noise.ratio": 0.8}]}
    assert take(folder, grid=grid, seeds=[0]) == ["much-seed0"]


def test_another_base_is_refused_and_nothing_is_written(planned):
    folder = planned()
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(SweepError, match=r"training\.epochs is 3 there and 4 now"):
        take(folder, base={**BASE, "training": {"epochs": 4}}, grid={"noise.ratio": [0.4, 0.6]})
    assert before == {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def test_a_plan_of_a_version_that_knew_fewer_keys_is_the_same_plan(planned):
    folder = planned()
    rows = [json.loads(line) for line in folder.states.read_text().splitlines()]
    folder.states.write_text("".join(json.dumps({**row, "config_hash": "old"}) + "\n" for row in rows))
    for name in NAMES:
        tree = yaml.safe_load(folder.config(name).read_text())
        del tree["evaluation"]["block_mib"]
        folder.config(name).write_text(yaml.safe_dump(tree))
    assert take(folder, grid={"noise.ratio": [0.2, 0.4]}, seeds=[0, 1]) == []
    folder.config(NAMES[0]).unlink()
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        take(folder, grid={"noise.ratio": [0.2]}, seeds=[0])


def test_planning_that_was_cut_off_is_completed(planned):
    folder = planned()
    folder.states.unlink()
    assert folder.read() == {}
    assert take(folder, grid={"noise.ratio": [0.2, 0.4]}, seeds=[0, 1]) == NAMES


def test_folders_that_cannot_take_a_sweep(tmp_path, planned):
    SweepFolder(tmp_path / "new").check_free()
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "lock").write_text("")
    SweepFolder(empty).check_free()
    planned().check_free()
    (empty / "mine.txt").write_text("")
    with pytest.raises(SweepError, match=r"holds no sweep \(mine\.txt is there\)"):
        SweepFolder(empty).check_free()
    with pytest.raises(SweepError, match="is a file"):
        SweepFolder(empty / "mine.txt").check_free()
    with pytest.raises(SweepError, match=r"empty holds no sweep \(no sweep.yaml\)"):
        SweepFolder(empty).require()
    with pytest.raises(SweepError, match="nowhere is not there"):
        SweepFolder(tmp_path / "nowhere").require()


def test_damaged_options_are_told(planned):
    folder = planned()
    folder.options.write_text("a: b: c")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        folder.read_options()
    folder.options.write_text("name: x\nold_key: 3\n")
    with pytest.raises(SweepError, match="old_key: unknown key"):
        folder.read_options()
    folder.states.write_bytes(b"\xff\xfe\n")
    with pytest.raises(SweepError, match="cannot read"):
        folder.read()
    folder.states.unlink()
    folder.states.mkdir()
    with pytest.raises(SweepError, match=r"cannot read .*: Is a directory; name a file, not a folder"):
        folder.read()
