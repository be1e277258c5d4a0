"""The run folder: where things lie, and that nobody's files are overwritten unasked."""

import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from robustcmr.errors import InUseError, RunFolderError, UserError
from robustcmr.runs.folder import RunFolder, unused_folder


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "first")
    folder.start("seed: 1\n", {"python": "3"})
    return folder


def test_where_things_lie(tmp_path):
    run = RunFolder(tmp_path)
    found = {
        path.relative_to(tmp_path).as_posix()
        for path in (
            run.config,
            run.environment,
            run.noise,
            run.vocabulary,
            run.metrics,
            run.results,
            run.plots,
            run.pairs,
            run.suspects,
            run.queries("dev"),
            run.log,
            run.diverged,
            run.lock,
            run.checkpoint("last"),
            run.checkpoint("best"),
        )
    }
    assert found == {
        "config.yaml",
        "environment.json",
        "noise.npz",
        "pairs.csv",
        "suspects.png",
        "queries-dev.npz",
        "vocabulary.json",
        "metrics.jsonl",
        "results.json",
        "plots",
        "log.txt",
        "diverged.json",
        ".robustcmr.lock",
        "checkpoints/last",
        "checkpoints/best",
    }
    assert list(tmp_path.iterdir()) == []  # naming makes nothing


def test_starting_writes_what_was_asked_for(run):
    assert run.config.read_text() == "seed: 1\n"
    assert json.loads(run.environment.read_text()) == {"python": "3"}
    assert run.holds_run
    run.require()
    assert run.read_metrics() == []
    assert run.read_results() is None


def test_a_new_or_empty_folder_is_free(tmp_path):
    RunFolder(tmp_path / "new").check_free(overwrite=False)
    (tmp_path / "empty").mkdir()
    RunFolder(tmp_path / "empty").check_free(overwrite=False)


def test_a_run_is_not_replaced_unasked(run):
    with pytest.raises(RunFolderError) as caught:
        run.check_free(overwrite=False)
    assert "already holds a run; resume it with --resume" in str(caught.value)
    run.check_free(overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["thesis.tex", "config.yaml", "environment.json"])
def test_other_peoples_files_are_never_replaced(tmp_path, overwrite, name):
    """A config.yaml alone is no run: many projects have one."""
    (tmp_path / name).write_text("precious")
    with pytest.raises(RunFolderError, match="is not empty and holds no run"):
        RunFolder(tmp_path).check_free(overwrite)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    expected = pytest.raises(RunFolderError, match="is a file, expected a folder for the run; choose another")
    with expected, RunFolder(tmp_path / "file").locked():
        raise AssertionError


@pytest.mark.parametrize("name", ["x" * 300, "file/below"])
def test_a_place_that_cannot_be_is_one_sentence(tmp_path, name):
    (tmp_path / "file").write_text("")
    run = RunFolder(tmp_path / name)
    with pytest.raises(UserError, match=r"File name too long|Not a directory"), run.locked():
        raise AssertionError
    with pytest.raises(RunFolderError, match=r"File name too long|holds no run"):
        run.require()


def test_one_process_writes(tmp_path):
    run = RunFolder(tmp_path / "runs" / "a")
    with run.locked():
        run.check_free(overwrite=False)
        refused = pytest.raises(InUseError, match=rf"run folder .* is in use by process {os.getpid()} on")
        (tmp_path / "link").symlink_to(run.path)
        for name in (run.path, tmp_path / "link"):
            with refused, RunFolder(name).locked():
                raise AssertionError
        with pytest.raises(RunFolderError, match="holds no run yet: its training has just begun, or was"):
            RunFolder(run.path).require()
        run.start("seed: 1\n", {})
        run.require()
    assert sorted(path.name for path in run.path.iterdir()) == ["config.yaml", "environment.json"]


@pytest.mark.parametrize("before", ["nothing", "runs", "runs/a"])
def test_a_lock_leaves_no_folder_that_was_not_there(tmp_path, before):
    """Also of the parents; a folder that the user has made stays."""
    (tmp_path / before).mkdir(parents=True)
    there = set(tmp_path.rglob("*"))
    with RunFolder(tmp_path / "runs" / "a").locked():
        pass
    assert set(tmp_path.rglob("*")) == there


def killed(run):
    """Leave the lock of a process that was killed."""
    run.lock.parent.mkdir(parents=True, exist_ok=True)
    run.lock.write_text('\n{"pid": 1, "host": "' + socket.gethostname() + '", "since": "2026"}')


@pytest.mark.parametrize("left", [[], ["environment.json"], ["environment.json", "noise.npz", "plots/a.png"]])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_a_killed_start_left_is_taken(tmp_path, left, overwrite):
    run = RunFolder(tmp_path / "a")
    killed(run)
    (run.path / f".config.yaml.{'0' * 32}.tmp").write_text("half")
    for name in left:
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_text("left")
    with run.locked():
        run.check_free(overwrite)
        run.start("seed: 1\n", {})
    assert sorted(path.name for path in run.path.iterdir()) == ["config.yaml", "environment.json"]


def test_other_files_beside_what_a_killed_start_left_are_kept(tmp_path):
    run = RunFolder(tmp_path)
    killed(run)
    (tmp_path / "thesis.tex").write_text("precious")
    (tmp_path / "environment.json").write_text("{}")
    refused = pytest.raises(RunFolderError, match=r"not empty and holds no run \(thesis.tex is there\)")
    with refused, run.locked():
        run.check_free(overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_run_is_removed_in_an_order_that_a_kill_may_cut(run, monkeypatch):
    """Other people's files go while it still is a run, its own parts when it is none any more."""
    run.checkpoint("last").mkdir(parents=True)
    for path in (run.path / "README.md", run.results, run.path / "queries-dev.npz", run.path / "notes" / "a"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("old")
    gone = []

    def noting(real):
        def remove(path, *args, **options):
            gone.append(Path(path).name)
            real(path, *args, **options)

        return remove

    for name in ("unlink", "rmdir"):
        monkeypatch.setattr(os, name, noting(getattr(os, name)))
    with run.locked():
        run.start("seed: 2\n", {})
    place = gone.index("config.yaml")
    assert set(gone[:place]) == {"README.md", "a", "notes"}
    assert {"results.json", "queries-dev.npz", "checkpoints"} <= set(gone[place:])


def test_a_reader_is_told_when_the_run_was_replaced(run):
    with run.unreplaced():
        run.write_metrics([])
    expected = pytest.raises(RunFolderError, match="was replaced while it was read; repeat the command")
    with expected, run.unreplaced():
        run.start("seed: 2\n", {})
    with expected, run.unreplaced():
        run.start("seed: 3\n", {})
        raise UserError("a file that is gone")


def test_overwriting_removes_the_older_run(run):
    run.checkpoint("last").mkdir(parents=True)
    (run.checkpoint("last") / "weights").write_text("old")
    run.write_metrics([{"epoch": 0}])
    run.results.write_text("{}")
    run.start("seed: 2\n", {})
    assert sorted(path.name for path in run.path.iterdir()) == ["config.yaml", "environment.json"]
    assert run.config.read_text() == "seed: 2\n"


def test_overwriting_follows_no_links(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("x")
    run.plots.symlink_to(tmp_path / "elsewhere")
    link = tmp_path / "link"
    link.symlink_to(run.path)
    RunFolder(link).start("seed: 2\n", {})
    assert (tmp_path / "elsewhere" / "precious").exists()
    assert run.config.read_text() == "seed: 2\n"
    assert not run.plots.exists()


def test_an_older_run_that_cannot_be_removed(run, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    run.plots.mkdir()
    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(RunFolderError, match=r"cannot remove the older run in .*: Permission denied; check"):
        run.start("seed: 2\n", {})


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(RunFolderError, match=r"holds no run \(no config.yaml.*'robustcmr train'"):
        RunFolder(tmp_path / "none").require()


def test_metrics_and_results_come_back(run, make_results):
    rows = [{"epoch": 1, "loss": 1.5}, {"epoch": 2, "loss": 0.25, "grün": {"a": 1}}]
    run.write_metrics(rows)
    assert run.read_metrics() == rows
    assert len(run.metrics.read_text().splitlines()) == 2
    run.results.write_text(json.dumps(make_results()))
    assert run.read_results() == make_results()


def test_unused_folder(tmp_path):
    assert unused_folder(tmp_path, "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    assert unused_folder(tmp_path, "run") == tmp_path / "run-2"
    (tmp_path / "run-2").mkdir()
    assert unused_folder(tmp_path, "run") == tmp_path / "run-3"
