"""What commands print while a run goes on and when it is over."""

import json
import logging
import re
import sys
from io import StringIO

import pytest
import typer
from rich.console import Console

from robustcmr.cli.output import print_measures, report_run, run_summary, running
from robustcmr.runs.folder import RunFolder
from robustcmr.training.interrupt import TrainingStopped

RANKED = ("r1", "r5", "r10", "median_rank", "mean_rank")
RESULTS = {
    "data": "scenes",
    "matcher": "omit",
    "method": "hinge",
    "seed": 3,
    "track": "pairs",
    "n_models": 1,
    "training_pairs": 7500,
    "protocol": "caption",
    "noise_ratio": 0.4,
    "noise_ratio_realised": 0.3987,
    "noise_hash": "0123456789abcdef",
    "selection_split": "dev",
    "best_epoch": 9,
    "epochs": 12,
    "splits": {
        split: {f"{way}_{key}": 12.5 for way in ("i2t", "t2i") for key in ("r1", "r5", "r10")}
        | {"rsum": 75.0}
        for split in ("dev", "test")
    },
    "parameters": 1234567,
    "seconds": 61.4,
    "peak_memory_bytes": {"cpu": 2**30},
}


@pytest.fixture
def logger():
    found = logging.getLogger("robustcmr")
    before = list(found.handlers), found.level
    yield found
    assert found.handlers == before[0]
    found.setLevel(before[1])


def test_notes_go_to_stderr_in_lines_as_long_as_they_are(tmp_path, capsys, logger):
    long = "a note of many words " * 20 + "[not markup]"
    with running(tmp_path):
        logger.info("%s", long)
        logger.debug("not this")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"{long}\n"
    logger.info("after the run")
    assert capsys.readouterr().err == ""


def test_notes_on_a_terminal_fit_its_width(tmp_path, monkeypatch, terminal, logger):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    stream = terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with running(tmp_path):
        logger.info("%s", "word " * 40 + "[bold]")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()
    assert len(lines) > 2
    assert all(len(line) <= 60 for line in lines)
    assert lines[-1].rstrip().endswith("[bold]")


@pytest.mark.parametrize("number", [2, 15])
def test_a_stopped_run_says_how_to_go_on(tmp_path, capsys, logger, number):
    with pytest.raises(typer.Exit) as caught, running(tmp_path / "run"):
        raise TrainingStopped(number)
    assert caught.value.exit_code == 128 + number
    assert capsys.readouterr().err == (
        f"stopped and saved; go on with: robustcmr train --resume {tmp_path / 'run'}\n"
    )


@pytest.mark.parametrize("started", [False, True])
def test_a_run_stopped_at_once_says_what_is_left(tmp_path, capsys, logger, started):
    run = RunFolder(tmp_path / "run")
    if started:
        run.start("seed: 1\n", {})
    with pytest.raises(typer.Exit) as caught, running(run.path):
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130
    said = capsys.readouterr().err
    assert ("--resume" in said) == started
    assert ("nothing was written" in said) == (not started)


def test_the_report_of_a_run(tmp_path, capsys):
    run = RunFolder(tmp_path)
    run.results.write_text(json.dumps(RESULTS))
    report_run(run, as_json=False)
    said = capsys.readouterr().out
    assert "dev" in said
    assert "75.0" in said
    assert said.endswith(f"saved in {tmp_path}; a page of it: robustcmr report {tmp_path}\n")
    report_run(run, as_json=True)
    assert json.loads(capsys.readouterr().out) == RESULTS


def test_the_summary_tells_noise_models_and_cost():
    first, second = run_summary(RESULTS)
    assert first == (
        "omit + hinge on scenes, one model, seed 3: 39.9% of 7,500 pairs mismatched "
        "(40% asked for, caption protocol, noise 0123456789ab)"
    )
    assert second == "epoch 9 of 12 was best on dev; 61 s, peak memory 1.0 GiB, 1,234,567 parameters"


def test_the_summary_says_ensembles_and_clean_pairs_aloud():
    first, _ = run_summary({**RESULTS, "n_models": 2, "noise_ratio_realised": 0.0})
    assert first.endswith("ensemble of 2 models, seed 3: all 7,500 pairs as they were written")
    first, _ = run_summary({**RESULTS, "noise_ratio": None})
    assert "(caption protocol" in first


@pytest.mark.parametrize(("width", "ranks"), [(120, True), (80, False)])
def test_ranks_are_shown_where_there_is_room(width, ranks):
    measured = {f"{way}_{key}": 1.0 for way in ("i2t", "t2i") for key in RANKED} | {"rsum": 6.0}
    out = StringIO()
    print_measures(Console(file=out, width=width), {"testall (5-fold 1K)": measured})
    assert ("MedR" in out.getvalue()) is ranks
    assert "5-fold" in out.getvalue()


LABELLED = {
    **RESULTS,
    "track": "labels",
    "noise_kind": "symmetric",
    "protocol": "shared",
    "splits": {"dev": {"map": 61.0, "map_i2t": 60.0, "map_t2i": 62.0}},
    "findings": {"changed": 0.385, "confidence": 0.7, "correction": {"given_accuracy": 0.4, "auroc": 0.93}},
}


def test_the_report_of_a_labelled_run(tmp_path, capsys):
    run = RunFolder(tmp_path)
    run.results.write_text(json.dumps(LABELLED))
    report_run(run, as_json=False)
    said = capsys.readouterr().out
    assert all(word in said for word in ("mAP", "61.0", "given right", "93.0"))
    assert (
        f"38.5% of the training pairs got another class, all classes are in {run.labels}; "
        f"the most doubted: robustcmr suspects {tmp_path}\n"
    ) in said
    assert said.endswith(f"saved in {tmp_path}; a page of it: robustcmr report {tmp_path}\n")
    run.results.write_text(json.dumps({**LABELLED, "findings": {"changed": 0.1, "confidence": 0.7}}))
    report_run(run, as_json=False)
    assert "given right" not in capsys.readouterr().out


def test_the_summary_tells_how_labels_are_wrong():
    first, _ = run_summary(LABELLED)
    assert first.endswith(
        "seed 3: 39.9% of 7,500 labels wrong (40% asked for, symmetric, shared, noise 0123456789ab)"
    )
    first, _ = run_summary({**LABELLED, "protocol": "per_modality", "noise_kind": "instance"})
    assert "39.9% of 15,000 labels wrong (40% asked for, instance, by modality, noise" in first
    first, _ = run_summary({**LABELLED, "noise_ratio_realised": 0.0})
    assert first.endswith("all 7,500 labels as they were written")
