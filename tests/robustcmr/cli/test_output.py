"""What commands print while a run goes on and when it is over."""

import json
import logging
import re
import sys
from io import StringIO
from pathlib import Path

import pytest
import typer

from robustcmr.cli.output import cost_sentence, print_measures, report_run, running
from robustcmr.runs.folder import RunFolder
from robustcmr.terminal import Console
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
    with running():
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
    with running():
        logger.info("%s", "word " * 40 + "[bold]")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()
    assert len(lines) > 2
    assert all(len(line) <= 60 for line in lines)
    assert lines[-1].rstrip().endswith("[bold]")


@pytest.mark.parametrize(
    ("number", "saved", "how"),
    [
        (2, True, "and saved; resume"),
        (15, True, "and saved; resume"),
        (2, False, "at once; resume from the last checkpoint"),
    ],
)
def test_a_stopped_run_says_how_to_go_on(capsys, logger, number, saved, how):
    stop = TrainingStopped(number, saved)
    stop.folder = Path("runs/my run")
    with pytest.raises(typer.Exit) as caught, running():
        raise stop
    assert caught.value.exit_code == 128 + number
    assert capsys.readouterr().err == f"stopped {how} with: robustcmr train --resume 'runs/my run'\n"


def test_the_report_of_a_run(tmp_path, capsys):
    run = RunFolder(tmp_path)
    run.results.write_text(json.dumps(RESULTS))
    report_run(run, as_json=False)
    said = capsys.readouterr().out
    assert "dev" in said
    assert "75.0" in said
    assert said.endswith(f"The run is in {tmp_path}.\nWrite its page: robustcmr report {tmp_path}\n")
    assert "parameters" not in said
    report_run(run, as_json=False, verbose=True)
    verbose = capsys.readouterr().out
    assert "omit trained by hinge on scenes" in verbose
    assert cost_sentence(RESULTS) in verbose
    report_run(run, as_json=True)
    assert json.loads(capsys.readouterr().out) == RESULTS


def test_the_cost_is_one_sentence():
    assert cost_sentence(RESULTS) == (
        "Epoch 9 of 12 was best on dev; training took 61 s, 1.0 GiB of memory and 1,234,567 parameters."
    )


DIVIDED = {
    **RESULTS,
    "findings": {
        **{"suspected": 0.371, "noise_rate": 0.352, "noise_interval": [0.301, 0.4], "reason": "two groups"},
        "division": {"precision": 0.889, "recall": 0.825, "auroc": 0.952, "noise_rate_true": 0.4},
    },
}


def test_what_looks_wrong_is_said_in_words_and_judged_in_full_on_request(tmp_path, capsys):
    run = RunFolder(tmp_path)
    run.results.write_text(json.dumps(DIVIDED))
    report_run(run, as_json=False)
    said = capsys.readouterr().out
    assert "37.1% of the training pairs look wrong" in said
    assert "(95% interval 30.1% to 40.0%)" in said
    assert "AUROC" not in said
    assert said.endswith(f"List the worst pairs: robustcmr suspects {tmp_path}\n")
    report_run(run, as_json=False, verbose=True)
    verbose = capsys.readouterr().out
    assert "AUROC" in verbose
    assert "95.2" in verbose


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
    report_run(run, as_json=False, verbose=True)
    said = capsys.readouterr().out
    assert all(word in said for word in ("mAP", "61.0", "given right", "93.0"))
    changed = "38.5% of the training pairs look mislabelled and got another class"
    assert f"{changed}, by the model of epoch 9.\n" in said
    assert said.endswith(f"List the worst labels: robustcmr suspects {tmp_path}\n")
    run.results.write_text(json.dumps({**LABELLED, "findings": {"changed": 0.1, "confidence": 0.7}}))
    report_run(run, as_json=False, verbose=True)
    assert "given right" not in capsys.readouterr().out
