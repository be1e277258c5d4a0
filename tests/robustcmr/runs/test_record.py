from __future__ import annotations

import json

import pytest

from robustcmr.errors import RunFolderError
from robustcmr.runs.read import read_run

CONFIG = "seed: 0\ndata: {name: scenes}\nevaluation: {select: dev}\n"
RESULTS = {
    **{"data": "scenes", "matcher": "omit", "method": "hinge", "seed": 0, "n_models": 1, "track": "pairs"},
    "splits": {"dev": {"rsum": 2.0}},
}


@pytest.fixture
def folder(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(CONFIG)
    (run / "environment.json").write_text(json.dumps({"command": ["__main__.py", "train", "a b", "--x=$y"]}))
    (run / "metrics.jsonl").write_text(
        '{"epoch": 1, "dev": {"rsum": 2.0}}\n{"epoch": 2, "dev": {"rsum": 1.0}}\n'
    )
    return run


def test_a_finished_run(folder):
    (folder / "results.json").write_text(json.dumps(RESULTS))
    record = read_run(folder, finished=False)
    assert record.results == RESULTS
    assert record.track == "pairs"
    assert record.headline == "rsum"
    assert record.best_epoch == 1
    assert record.command == "robustcmr train 'a b' '--x=$y'"


def test_an_unfinished_run(folder):
    record = read_run(folder, finished=False)
    assert not record.finished
    assert len(record.rows) == 2
    (folder / "metrics.jsonl").unlink()
    record = read_run(folder, finished=False)
    assert record.rows == []
    assert record.best_epoch is None
    assert record.track == "pairs"
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "dev": {"map": 2.0}}\n')
    assert read_run(folder, finished=False).track == "labels"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("results.json", '{"data": '),
        ("metrics.jsonl", '{"epoch": 1\n'),
        ("environment.json", "no json"),
        ("config.yaml", "a: [1"),
    ],
)
def test_a_damaged_file_is_named(folder, name, text):
    (folder / name).write_text(text)
    with pytest.raises(RunFolderError, match=name) as caught:
        read_run(folder, finished=False)
    assert "\n" not in str(caught.value)


def test_no_run(tmp_path):
    with pytest.raises(RunFolderError, match="holds no run"):
        read_run(tmp_path, finished=False)
    with pytest.raises(RunFolderError, match="holds no run"):
        read_run(tmp_path / "missing", finished=False)


def test_half_a_run(folder):
    (folder / "environment.json").unlink()
    with pytest.raises(RunFolderError, match="part of a run"):
        read_run(folder, finished=False)


def test_converted_weights_are_no_run_to_report(folder):
    made = {"command": [], "converted_from": {"file": "theirs.pth"}}
    (folder / "environment.json").write_text(json.dumps(made))
    with pytest.raises(RunFolderError, match=r"theirs\.pth"):
        read_run(folder, finished=False)
