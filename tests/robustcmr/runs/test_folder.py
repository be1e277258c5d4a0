"""The run folder: where things lie, and that nobody's files are overwritten unasked."""

import json
import shutil

import pytest

from robustcmr.errors import RunFolderError
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
    with pytest.raises(RunFolderError, match="is a file, expected a folder for the run; choose another"):
        RunFolder(tmp_path / "file").check_free(overwrite=True)


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
    with pytest.raises(RunFolderError, match=r"cannot remove the older run in .*: Permission denied; choose"):
        run.start("seed: 2\n", {})


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(RunFolderError, match=r"holds no run \(no config.yaml.*'robustcmr train'"):
        RunFolder(tmp_path / "none").require()


def test_metrics_and_results_come_back(run):
    rows = [{"epoch": 0, "loss": 1.5}, {"epoch": 1, "loss": 0.25, "note": "grün"}]
    run.write_metrics(rows)
    assert run.read_metrics() == rows
    assert len(run.metrics.read_text().splitlines()) == 2
    run.results.write_text('{"rsum": 3}')
    assert run.read_results() == {"rsum": 3}


def test_unused_folder(tmp_path):
    assert unused_folder(tmp_path, "run") == tmp_path / "run"
    (tmp_path / "run").mkdir()
    assert unused_folder(tmp_path, "run") == tmp_path / "run-2"
    (tmp_path / "run-2").mkdir()
    assert unused_folder(tmp_path, "run") == tmp_path / "run-3"
