"""Training and resuming as jobs: what they refuse, what they log, and what a finished run holds."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from robustcmr.cli.output import report_run
from robustcmr.config.resolve import resolve
from robustcmr.errors import ConfigError, InUseError, RunFolderError, UserError
from robustcmr.jobs import train as jobs
from robustcmr.jobs.open import open_data
from robustcmr.jobs.train import _log, _LogFile, planned_folder, resume, train
from robustcmr.reporting.card import model_card
from robustcmr.reporting.comparison import compare
from robustcmr.reporting.run_page import Extras, run_page
from robustcmr.runs.folder import RunFolder
from robustcmr.runs.queries import read_queries
from robustcmr.runs.read import read_run
from robustcmr.runs.single import single_splits
from robustcmr.training import processes
from robustcmr.training.interrupt import TrainingStopped

logger = logging.getLogger("robustcmr")


@pytest.fixture
def tree(tiny_tree: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_tree, "training": {**tiny_tree["training"], "epochs": 1}}


def test_a_finished_run_holds_all_its_parts(tree: dict[str, Any], tmp_path: Path) -> None:
    run = train(resolve(tree), tmp_path / "run")
    results = run.read_results()
    assert results is not None
    assert list(results["splits"]) == ["dev", "test"]
    assert (results["best_epoch"], results["epochs"], results["n_models"]) == (1, 1, 1)
    assert "findings" not in results  # hinge divides no pairs
    for split in ("dev", "test"):
        ranks = read_queries(run.queries(split))["i2t_rank"]
        assert results["splits"][split]["i2t_r1"] == pytest.approx(100 * (ranks == 1).mean())
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == ["best", "last"]
    assert not run.plots.exists()  # one epoch has no curve


def test_a_training_that_learned_nothing_says_so_everywhere(
    tree: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = train(resolve({**tree, "optim": {"lr": 1e3}}), tmp_path / "run")
    saved = read_run(run.path)
    (sentence,) = saved.results["warnings"]
    assert sentence.startswith("no epoch scored above chance on dev: the best is ")
    assert f"WARNING {sentence}" in run.log.read_text(encoding="utf-8")
    assert sentence in caplog.text
    assert f"WARNING: {sentence}." in model_card(saved)
    assert "WARNING: no epoch scored above chance on dev" in run_page(saved, Extras())


def test_a_training_within_its_warm_up_says_so_here_and_where_it_is_compared(
    tree: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"warmup_epochs": 1, "divide_first": False}
    run = train(resolve({**tree, "method": {"name": "robust", **options}}), tmp_path / "run")
    saved = read_run(run.path)
    sentence = next(each for each in saved.results["warnings"] if "never got past the warm-up" in each)
    assert sentence.startswith("robust was trained for 1 epoch and its warm-up takes 1 ")
    assert f"WARNING {sentence}" in run.log.read_text(encoding="utf-8")
    assert sentence in caplog.text
    assert f"WARNING of 1 run ({run.path}): {sentence}" in compare([saved]).notes


def test_the_log_begins_before_the_folder(tree: dict[str, Any], tmp_path: Path) -> None:
    """What is logged while the data is opened is in the file, once, and before the rest."""
    level = logger.level
    run = train(resolve(tree), tmp_path / "run")
    lines = run.log.read_text(encoding="utf-8").splitlines()
    said = [re.split(" (?:INFO|WARNING) ", line, maxsplit=1)[1] for line in lines]
    places = [number for number, line in enumerate(said) if line.startswith("training features")]
    assert len(places) == 1
    assert places[0] < said.index(f"run folder {run.path}") < len(said) - 1
    assert len(set(said)) == len(said)
    assert logger.level == level
    logger.info("after the run")
    assert run.log.read_text(encoding="utf-8").splitlines() == lines


def test_messages_wait_in_memory_for_their_file(tmp_path: Path) -> None:
    target = logging.FileHandler(tmp_path / "log.txt")
    with _log() as log:
        logger.info("first")
        log.setTarget(target)
        log.flush()
        assert (tmp_path / "log.txt").read_text().splitlines() == ["first"]
        logger.info("second")
        assert (tmp_path / "log.txt").read_text().splitlines() == ["first", "second"]
    logger.info("third")
    assert "third" not in (tmp_path / "log.txt").read_text()


def test_the_log_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    (tmp_path / "log.txt").symlink_to(tmp_path / "precious")
    with _log() as log:
        logger.info("first")
        log.setTarget(_LogFile(tmp_path / "log.txt"))
        log.flush()
    assert (tmp_path / "precious").read_text() == "x"
    assert (tmp_path / "log.txt").read_text().endswith("INFO first\n")
    assert not (tmp_path / "log.txt").is_symlink()


def test_a_pipe_in_place_of_the_log_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.txt")
    with pytest.raises(OSError, match="it is a named pipe, expected a regular file"):
        _LogFile(tmp_path / "log.txt")


def test_a_full_disk_of_the_log_is_no_error(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(resolve(tree), tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    full = Path("/dev/full")
    monkeypatch.setattr(logging.FileHandler, "_open", lambda self: full.open("a", encoding=self.encoding))
    assert resume(tmp_path / "run").results.is_file()


def test_a_finished_run_is_left_as_it_is(tree: dict[str, Any], tmp_path: Path) -> None:
    run = train(resolve(tree), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    assert resume(run.path).path == run.path
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_a_folder_in_use_is_refused_and_left_alone(tree: dict[str, Any], tmp_path: Path) -> None:
    run = train(resolve(tree), tmp_path / "run")
    run.results.unlink()
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    for job in (
        lambda: resume(run.path),
        lambda: train(resolve(tree), run.path),
        lambda: train(resolve(tree), run.path, overwrite=True),
    ):
        with run.locked(), pytest.raises(InUseError, match=r"in use by process .*; wait until it has ended"):
            job()
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_two_runs_of_one_name_go_to_two_folders(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second names its folder before the first has taken it."""
    monkeypatch.chdir(tmp_path)
    config = resolve(tree)
    name = planned_folder(config, None)
    names = iter([name, Path(f"{name}-2")])
    monkeypatch.setattr(jobs, "planned_folder", lambda config, output: next(names))
    with RunFolder(name).locked():
        assert train(config).path == Path(f"{name}-2")


def test_a_folder_that_may_not_be_written(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished run is still shown."""
    run = train(resolve(tree), tmp_path / "run")
    real = os.open

    def read_only(path: Any, flags: int, *args: Any, **more: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *args, **more)

    monkeypatch.setattr(os, "open", read_only)
    assert resume(run.path).path == run.path
    run.results.unlink()
    with pytest.raises(UserError, match=r"cannot write .*run/.*: Read-only file system; choose a folder"):
        resume(run.path)


def test_a_bad_value_in_a_run_is_told_with_its_file(tree: dict[str, Any], tmp_path: Path) -> None:
    run = train(resolve(tree), tmp_path / "run")
    run.results.unlink()
    run.config.write_text(re.sub(r"epochs: \d+", "epochs: 0", run.config.read_text()))
    for read in (resume, open_data):
        with pytest.raises(ConfigError) as caught:
            read(run.path)
        expected = "training.epochs: got 0, expected a whole number of at least 1"
        assert str(caught.value) == f"{run.config}: {expected}"


def test_a_folder_in_place_of_the_log(tree: dict[str, Any], tmp_path: Path) -> None:
    run = train(resolve(tree), tmp_path / "run")
    run.results.unlink()
    run.log.unlink()
    run.log.mkdir()
    with pytest.raises(RunFolderError, match=r"cannot write .*log.txt: Is a directory; remove what is in"):
        resume(run.path)


@pytest.mark.parametrize("part", ["fit", "finish"])
def test_an_interrupt_says_which_run_to_resume(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, part, interrupt)
    with pytest.raises(TrainingStopped) as caught:
        train(resolve(tree), tmp_path / "run")
    stop = caught.value
    assert (stop.folder, stop.saved, stop.signal_number) == (tmp_path / "run", False, 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_after_the_last_epoch_says_which_run_to_resume(
    tree: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    comparable_run: Any,
    number: signal.Signals,
) -> None:
    before = train(resolve(tree), tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(jobs, "report_findings", lambda *_: os.kill(os.getpid(), number))
        with pytest.raises(TrainingStopped) as caught:
            train(resolve(tree), tmp_path / "run")
    stop = caught.value
    assert (stop.folder, stop.saved, stop.signal_number) == (tmp_path / "run", True, number)
    resume(tmp_path / "run")
    assert comparable_run(tmp_path / "run") == comparable_run(before.path)


def test_a_finished_training_without_results_is_measured_again(
    tree: dict[str, Any], tmp_path: Path, comparable_run: Any
) -> None:
    run = train(resolve(tree), tmp_path / "run")
    before = comparable_run(run.path)
    run.results.unlink()
    resume(run.path)
    assert comparable_run(run.path) == before


def test_what_does_not_fit_leaves_no_folder(tree: dict[str, Any], tmp_path: Path) -> None:
    for changes, sentence in (
        ({"evaluation": {"select": "holdout"}}, "evaluation.select is 'holdout', but the data has only"),
        ({"training": {"batch_size": 500}}, "training.batch_size is 500"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            train(resolve({**tree, **changes}), tmp_path / "run")
        assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is a file, expected a folder"):
        train(resolve(tree), tmp_path / "file")


def test_a_split_that_is_not_there_is_left_out(tree: dict[str, Any], tmp_path: Path) -> None:
    (Path(tree["data"]["root"]) / "test_ims.npy").rename(Path(tree["data"]["root"]) / "other.npy")
    (Path(tree["data"]["root"]) / "test_caps.txt").unlink()
    run = train(resolve(tree), tmp_path / "run")
    assert list((run.read_results() or {})["splits"]) == ["dev"]
    assert "the data has no test split, so it is not measured" in run.log.read_text()


def test_processes_that_do_not_write_leave_no_trace(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They train by the same path, on the writer's folder, silently."""
    run = train(resolve(tree), tmp_path / "run")
    run.results.unlink()
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    monkeypatch.setattr(processes, "is_writer", lambda: False)
    resume(run.path, Console(force_terminal=True, stderr=True))
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "precomp-omit-hinge-noise0.4-caption-seed0"),
        ({"seed": 3, "noise": {"ratio": 0.0}}, "precomp-omit-hinge-noise0-caption-seed3"),
        ({"noise": {"ratio": 0.2, "protocol": "image"}}, "precomp-omit-hinge-noise0.2-image-seed0"),
        ({"noise": {"file": "index.npy"}}, "precomp-omit-hinge-noisefile-seed0"),
    ],
)
def test_folders_are_named_after_the_configuration(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    config = resolve({**tree, **changes})
    assert planned_folder(config, None) == Path("runs") / name
    Path("runs", name).mkdir(parents=True)
    assert planned_folder(config, None) == Path("runs") / f"{name}-2"
    assert planned_folder(config, Path("mine")) == Path("mine")


def test_results_are_plain_json(tree: dict[str, Any], tmp_path: Path) -> None:
    run = train(resolve(tree), tmp_path / "run")
    assert RunFolder(run.path).read_results() == json.loads(run.results.read_text(encoding="utf-8"))


def test_a_run_of_0_1_with_a_lost_option_is_not_resumed(tree: dict[str, Any], tmp_path: Path) -> None:
    """It would go on by another recipe than it began with."""
    run = train(resolve(tree), tmp_path / "run")
    run.results.unlink()
    method = "method:\n  name: l2rm\n  legacy: false\n  clean_loss: hinge\n"
    head, _, rest = run.config.read_text(encoding="utf-8").partition("method:\n")
    body = rest.split("\n")
    kept = next(i for i, line in enumerate(body) if line and not line.startswith(" "))
    run.config.write_text(head + method + "\n".join(body[kept:]), encoding="utf-8")
    with pytest.raises(
        RunFolderError, match=r"no longer exist \(clean_loss=hinge\); resume it with robustcmr 0\.1"
    ):
        resume(run.path)


def test_a_run_of_two_networks_keeps_each_alone_and_prints_both(
    make_small_run, two_matchers, small_data, tmp_path, capsys
):
    run = read_run(make_small_run(tmp_path / "run", small_data, method={"name": two_matchers}))
    results = run.results
    assert results["n_models"] == 2
    assert list(results["by_model"]) == ["dev", "test"]
    alone = [each["rsum"] for each in results["by_model"]["dev"]]
    assert len(alone) == 2
    assert single_splits(results)["dev"]["rsum"] == pytest.approx(sum(alone) / 2)
    report_run(run.folder, as_json=False)
    shown = capsys.readouterr().out
    for name in ("dev, single", "dev, 2 models", "test, single", "test, 2 models"):
        assert name in shown
    rows = [(row.label, row.mean) for row in compare([run], "dev").rows]
    assert rows == [
        ("two-matchers", pytest.approx(sum(alone) / 2)),
        ("two-matchers (2 models)", results["splits"]["dev"]["rsum"]),
    ]
    assert "| dev, 2 models |" in model_card(run)
    page = run_page(run, Extras())
    assert "dev, single" in page
    assert "&#34;single&#34; is the mean" in page or '"single" is the mean' in page
