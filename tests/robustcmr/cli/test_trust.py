"""No command imports a module that a run or sweep folder names, unless asked to."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
import yaml

import robustcmr as package
from robustcmr.config.resolve import run_config
from robustcmr.errors import TrustError, UserError
from robustcmr.jobs import train as jobs
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.pairs_table import PairsTable

EVIL = """
from pathlib import Path
from robustcmr.matchers.omit import Omit

Path(__file__).with_name("ran").touch()


class Class(Omit):
    "Runs at import."
"""
BASE = {
    "data": {"name": "scenes", "n_train": 40, "n_dev": 4, "n_test": 4},
    "matcher": {"name": "evil_module:Class"},
    "method": {"name": "hinge"},
    "training": {"epochs": 1, "device": "cpu"},
}


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A folder as handed over, the current one: its runs name the module that lies beside them."""
    folder = tmp_path / "handed over"
    folder.mkdir()
    (folder / "evil_module.py").write_text(EVIL)
    monkeypatch.setenv("ROBUSTCMR_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(folder)
    yield folder
    sys.modules.pop("evil_module", None)


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "run"),
        ("suspects", "run"),
        ("rematch", "run"),
        ("train", "--resume", "begun"),
        ("validate", "run/config.yaml"),
        ("train", "--config", "run/config.yaml", "-o", "new"),
        ("search", "run", "a red star"),
        ("embed", "run", "--captions", "sweep.yaml", "-o", "vectors"),
        ("sweep", "run", "sweep.yaml"),
        ("sweep", "run", "grid.yaml"),
        ("sweep", "resume", "planned"),
    ],
    ids=" ".join,
)
def test_a_folder_handed_over_runs_nothing(evil, robustcmr, make_run, words):
    hostile(evil, make_run)
    before = sorted(evil.rglob("*"))
    outcome = robustcmr(*words)
    assert outcome.code == 2
    assert "names code to import (matcher.name: evil_module:Class)" in outcome.err
    assert "repeat the command with --trust" in outcome.err
    assert outcome.err.count("robustcmr: ") == 1
    assert sorted(evil.rglob("*")) == before


@pytest.mark.parametrize(
    "call",
    [
        lambda **trusted: package.load("run", device="cpu", **trusted).embed_texts("a red star"),
        lambda **trusted: package.load("run", device="cpu", **trusted).search("a red star"),
        lambda **trusted: package.train(resume="begun", progress=False, **trusted),
        lambda **trusted: package.train(config="run/config.yaml", output="new", progress=False, **trusted),
    ],
)
def test_python_asks_for_consent_too(evil, make_run, call):
    hostile(evil, make_run)
    before = sorted(evil.rglob("*"))
    with pytest.raises(TrustError, match=r"names code to import .*trusted=True"):
        call()
    assert sorted(evil.rglob("*")) == before
    assert not package.load("run").pairs.is_clean.all()  # files alone need none
    assert package.load("run").suspects()._repr_html_()
    assert "names code to import" in package.load("run").report().read_text()
    assert not (evil / "ran").exists()
    with suppress(UserError):  # neither run has a checkpoint
        call(trusted=True)
    assert (evil / "ran").exists()


def test_the_page_of_such_a_run_is_made_from_its_files(evil, robustcmr, make_run):
    hostile(evil, make_run)
    assert robustcmr("report", "run").code == 0
    assert "names code to import" in (evil / "run" / "report.html").read_text()
    for words in (("card", "run"), ("compare", "run"), ("sweep", "status", "planned")):
        assert robustcmr(*words).code == 0
    assert not (evil / "ran").exists()


def hostile(evil, make_run):
    run = make_run(evil / "run", **BASE)

    PairsTable(
        pair=np.arange(2),
        caption=["a", "b"],
        image=np.arange(2),
        image_name=["", ""],
        evidence=np.array([0.1, 0.9]),
        clean_probability=np.array([0.9, 0.1]),
        is_clean=np.array([True, False]),
        rematch=np.array([1, 0]),
        rematch_name=["", ""],
        score=np.zeros(2),
        rematch_score=np.ones(2),
    ).write(run / "pairs.csv")
    begun = make_run(evil / "begun", **BASE)
    (begun / "results.json").unlink()
    (evil / "sweep.yaml").write_text(yaml.safe_dump({"base": BASE, "grid": {"noise.ratio": [0, 0.4]}}))
    grid = {"matcher.name": ["omit", "evil_module:Class"]}
    (evil / "grid.yaml").write_text(yaml.safe_dump({"base": {"method": "hinge"}, "grid": grid}))
    planned = evil / "planned"
    (planned / "configs").mkdir(parents=True)
    (planned / "sweep.yaml").write_text(yaml.safe_dump({"name": "planned"}))
    (planned / "configs" / "seed0.yaml").write_text(yaml.safe_dump(BASE))
    trial = {"name": "seed0", "choices": {}, "seed": 0, "config_hash": "0", "epochs": 1}
    trial |= {"track": "pairs", "select": "dev", "version": "0.2.0"}
    (planned / "trials.jsonl").write_text(json.dumps(trial) + "\n")


def test_trust_is_consent(evil, robustcmr, make_run):
    hostile(evil, make_run)
    done = robustcmr("validate", "run/config.yaml", "--trust")
    assert done.code == 0, done.err
    assert (evil / "ran").exists()


def test_a_cluster_that_a_sweep_names_is_not_joined(evil, robustcmr, monkeypatch):
    execution = {"executor": "ray", "address": "ray://evil.example:10001"}
    (evil / "sweep.yaml").write_text(yaml.safe_dump({"base": {"method": "hinge"}, "execution": execution}))
    monkeypatch.setitem(sys.modules, "ray", None)  # it would not even be imported
    for words in (("run", "sweep.yaml"), ("run", "sweep.yaml", "--dry-run")):
        refused = robustcmr("sweep", *words)
        assert refused.code == 2
        assert "names a Ray cluster to join (execution.address: ray://evil.example:10001)" in refused.err
    assert not (evil / "sweeps").exists()
    asked = robustcmr("sweep", "run", "sweep.yaml", "--trust")
    assert "--executor ray needs the package ray" in asked.err
    resumed = robustcmr("sweep", "resume", "sweeps/sweep")  # planned here, with consent
    assert "--executor ray needs the package ray" in resumed.err
    handed = shutil.copytree(evil / "sweeps" / "sweep", evil / "copy")
    assert "names a Ray cluster to join" in robustcmr("sweep", "resume", handed).err
    typed = robustcmr("sweep", "resume", handed, "--address", "auto")
    assert "--executor ray needs the package ray" in typed.err


SMALL = {"dim": 8, "word_dim": 4, "region_hidden": 4}


def forget(evil):
    """As in a new process elsewhere, where the current folder has another module of that name."""
    (evil / "ran").unlink()
    sys.modules.pop("evil_module")
    sys.path.remove(str(evil))
    elsewhere = evil.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "evil_module.py").write_text("raise RuntimeError('the current folder was searched')")
    return elsewhere


def test_a_run_begun_here_opens_without_trust(evil, robustcmr, tiny_tree, monkeypatch):
    """What was typed once is recorded outside of the run, for its path and its configuration."""
    monkeypatch.setattr(jobs, "_train", lambda run, *_: run.folder)
    (evil / "mine.yaml").write_text(yaml.safe_dump({**tiny_tree, "matcher": SMALL}))
    words = ("train", "--config", "mine.yaml", "--matcher", "evil_module:Class", "-o", "run")
    monkeypatch.setattr(RunFolder, "read_results", lambda self: {})
    assert robustcmr(*words, "--json").code == 0
    run = evil / "run" / "config.yaml"
    monkeypatch.chdir(forget(evil))
    assert run_config(run).matcher.name == "evil_module:Class"
    assert (evil / "ran").exists()
    moved = (evil / "run").rename(evil / "moved") / "config.yaml"
    with pytest.raises(TrustError, match="no command here wrote it"):
        run_config(moved)


@pytest.mark.slow
def test_own_code_trains_and_measures_without_trust(evil, robustcmr, tiny_tree, monkeypatch):
    tree = {**tiny_tree, "matcher": SMALL, "training": {**tiny_tree["training"], "epochs": 1}}
    (evil / "mine.yaml").write_text(yaml.safe_dump({"base": tree}))
    done = robustcmr("sweep", "run", "mine.yaml", "--set", "matcher.name=evil_module:Class")
    assert done.code == 0, done.err
    monkeypatch.chdir(forget(evil))
    measured = robustcmr("eval", evil / "sweeps/mine/trials/seed0", "--json")
    assert measured.code == 0, measured.err
    assert (evil / "ran").exists()


def test_python_dash_m_ignores_what_lies_in_the_current_folder(evil):
    """Neither modules nor the entry points of a package there are found."""
    announced = evil / "evil-1.0.dist-info"
    announced.mkdir()
    (announced / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (announced / "entry_points.txt").write_text("[robustcmr.matchers]\nevil = evil_module:Class\n")
    (evil / "yaml.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    done = subprocess.run([sys.executable, "-m", "robustcmr", "show", "evil"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "nothing is called 'evil'" in done.stderr
    assert not (evil / "ran").exists()


def test_numba_keeps_no_cache_where_the_current_folder_says(evil):
    """Its cache holds pickled objects, so whoever chooses the folder runs code."""
    (evil / ".numba_config.yaml").write_text("cache_dir: here\n")
    program = (
        "import sys; sys.argv = ['robustcmr', '--version']\n"
        "from robustcmr.cli.main import run\n"
        "try:\n    run()\nexcept SystemExit:\n    pass\n"
        "import numba\nprint(repr(numba.config.CACHE_DIR))"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "''", done.stderr
