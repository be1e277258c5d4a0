"""``import robustcmr``: train as on the command line, load, compare, list."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import robustcmr
from robustcmr.jobs import api
from robustcmr.reporting.compared import PlannedRun
from robustcmr.sweeps import planned
from robustcmr.training.interrupt import TrainingStopped

SMALL = {"matcher.dim": 8, "training": {"batch_size": 40, "device": "cpu"}}


def test_the_import_is_light_and_names_are_listed():
    program = (
        "import sys, robustcmr\n"
        "assert {'train', 'load', 'compare', 'list_matchers', 'UserError'} <= set(dir(robustcmr))\n"
        "assert 'numpy' not in sys.modules\n"
        "assert 'omit' in robustcmr.list_matchers() and 'robust' in robustcmr.list_methods()\n"
        "assert 'scenes' in robustcmr.list_datasets()\n"
        "try:\n    robustcmr.load('gone')\nexcept robustcmr.UserError as error:\n    print(error)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "gone holds no run" in done.stdout


def test_arguments_are_the_options_of_the_command_line():
    import inspect

    from robustcmr.config.flags import FLAGS

    names = set(inspect.signature(robustcmr.train).parameters)
    assert set(FLAGS) <= names
    assert names - set(FLAGS) == {
        "config",
        "settings",
        "output",
        "resume",
        "warm_start",
        "overwrite",
        "progress",
        "trusted",
    }


def test_train_is_the_command(small_data, tmp_path, monkeypatch, capsys):
    """The same numbers as ``robustcmr train``, and the same notes on stderr."""
    from robustcmr.cli.main import run as command

    monkeypatch.chdir(tmp_path)
    made = robustcmr.train(
        data="precomp",
        data_root=small_data,
        matcher="embeddings",
        method="infonce",
        noise=np.float32(0.5),
        epochs=1,
        seed=3,
        settings=SMALL,
        output="python",
    )
    notes = capsys.readouterr().err
    words = (
        "train --data precomp --matcher embeddings --method infonce --noise 0.5 --epochs 1 --seed 3 "
        "--batch-size 40 --device cpu --set matcher.dim=8 --output shell --json --data-root"
    )
    monkeypatch.setattr(sys, "argv", ["robustcmr", *words.split(), str(small_data)])
    with pytest.raises(SystemExit):
        command()
    told = capsys.readouterr()
    results = json.loads(told.out)
    assert made.path == Path("python")
    assert made.results.splits.test == results["splits"]["test"]
    notes, told_notes = (re.sub(r"[\d.]+ GiB that", "", text) for text in (notes, told.err))
    assert notes.replace("python", "shell").splitlines()[:2] == told_notes.splitlines()[:2]
    config = [(Path(name) / "config.yaml").read_text() for name in ("python", "shell")]
    assert config[0] == config[1]
    options = {"data": "precomp", "data_root": small_data, "matcher": "embeddings", "method": "infonce"}
    options |= {"epochs": 1, "settings": SMALL, "progress": False}
    quiet = robustcmr.train(**options)
    assert capsys.readouterr().err == ""
    assert quiet.path == Path("runs/precomp-embeddings-infonce-noise0-caption-seed0")
    assert robustcmr.train(resume=quiet.path).results.rsum == quiet.results.rsum
    longer = robustcmr.train(resume=quiet.path, epochs=2, progress=False)
    assert (longer.results.epochs, longer.results.extended_from) == (2, [1])
    warm = robustcmr.train(**options, warm_start=longer)
    assert "warm_start" in warm.results


def test_a_stopped_training_says_how_to_resume(monkeypatch, tmp_path):
    from robustcmr.jobs import train as job

    def stopped(*_):
        stop = TrainingStopped(2)
        stop.folder = tmp_path / "run"
        raise stop

    monkeypatch.setattr(job, "train", stopped)
    with pytest.raises(
        KeyboardInterrupt, match=r"stopped and saved; resume with robustcmr.train\(resume='.*run'\)"
    ):
        robustcmr.train(output=tmp_path / "run", progress=False)


def test_progress_shows_in_a_notebook():
    from robustcmr.training.progress import TrainingProgress

    def console(**options):
        return Console(file=io.StringIO(), **options)

    assert TrainingProgress(console(force_jupyter=True), 1).disable is False
    assert TrainingProgress(console(force_jupyter=False), 1).disable is True


def test_compare_takes_runs_and_folders(vector_run, omit_run, caplog):
    found = robustcmr.compare([robustcmr.load(vector_run), str(omit_run)])
    assert {row.method for row in found.rows} == {"infonce", "robust"} or len(found.rows) == 2
    assert "infonce" in repr(found)
    assert "<table>" in found._repr_html_()
    alone = robustcmr.compare(vector_run)
    assert len(alone.rows) == 1
    (omit_run.parent / "unfinished").mkdir()
    for name in ("config.yaml", "environment.json"):
        (omit_run.parent / "unfinished" / name).write_text("{}")
    try:
        robustcmr.compare([vector_run, omit_run.parent / "unfinished"])
        assert "left out, not finished" in caplog.text
    finally:
        for path in (omit_run.parent / "unfinished").iterdir():
            path.unlink()
        (omit_run.parent / "unfinished").rmdir()


def test_a_comparison_of_an_unfinished_sweep_is_provisional(vector_run, monkeypatch):
    waiting = PlannedRun(Path("seed1"), "waiting", {"seed": 1}, Path("sweep"))
    monkeypatch.setattr(planned, "planned_runs", lambda paths, found: ((waiting,), ("a remark",)))
    found = robustcmr.compare(vector_run)
    assert found.missing == (waiting,)
    for shown in (repr(found), found._repr_html_()):
        assert "provisional" in shown
        assert "a remark" in shown


def test_results_name_their_epoch(omit_run):
    results = robustcmr.load(omit_run).results
    for shown in (repr(results), results._repr_html_()):
        assert f"Epoch {results.best_epoch} of 6 was best on dev" in " ".join(shown.split())


def test_tables_become_frames(omit_run, labels_run, vector_run, monkeypatch):
    """pandas and pyarrow get the columns of the file; stand-ins show which."""
    from types import SimpleNamespace

    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    monkeypatch.setitem(sys.modules, "pyarrow", SimpleNamespace(table=dict))
    run = robustcmr.load(omit_run, device="cpu")
    for table, file in (
        (run.pairs, omit_run / "pairs.csv"),
        (robustcmr.load(labels_run).labels, labels_run / "labels.csv"),
    ):
        header = file.read_text().partition("\n")[0].replace('"', "").split(",")
        for frame in (table.to_pandas(), table.to_arrow()):
            assert list(frame) == header
            assert {len(column) for column in frame.values()} == {len(table)}
    assert list(run.search("thing1", k=3).to_pandas()["rank"]) == [1, 2, 3]
    assert robustcmr.compare(vector_run).to_pandas()["method"] == ["infonce"]
    suspects = run.suspects(2).to_pandas()
    assert all(len(column) == len(run.suspects(2)) for column in suspects.values())


def test_settings_may_be_nested():
    assert api._flat({"optim": {"lr": 1e-3, "betas": [0, 1]}, "seed": np.int64(3)}) == {
        "optim.lr": 1e-3,
        "optim.betas": [0, 1],
        "seed": 3,
    }
