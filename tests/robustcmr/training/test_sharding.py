"""Two processes do what one does: every matcher's loss, gradients and statistics, and whole runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from robustcmr import plugins
from robustcmr.cli.main import app
from robustcmr.training import processes
from robustcmr.training.sharding import shard, sum_gradients

torch_distributed = pytest.importorskip("torch.distributed")
pytestmark = pytest.mark.skipif(not torch_distributed.is_gloo_available(), reason="gloo is missing")

NEEDS_FILES = {"clip"}


TOGETHER = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def together(*arguments):
    command = [*TOGETHER, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=ONE_THREAD)


@pytest.fixture(scope="module")
def reports():
    names = sorted(set(plugins.matchers.names()) - NEEDS_FILES)
    names = [name for name in names if plugins.matchers.load(name).__module__.startswith("robustcmr.")]
    done = together(Path(__file__).with_name("two_processes.py"), ",".join(names))
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("REPORT "))
    return names, json.loads(line.removeprefix("REPORT "))


def test_every_matcher_finds_the_loss_gradients_and_statistics_of_one_process(reports):
    names, found = reports
    assert len(names) >= 7
    for report in found:
        for name in names:
            for n in (9, 3):
                what, difference = report[f"{name} {n}"]
                # float64 rounds by 2e-16; even a gradient of zero, summed of some 1000 terms, stays below
                assert difference < 1e-9, (name, n, what, difference)


def test_processes_agree(reports):
    _, found = reports
    assert [report["agreed"] for report in found] == [4, 4]
    assert [report["told"] for report in found] == [{"rank": 0}, {"rank": 0}]


def test_dropout_differs_by_step_and_process_and_leaves_the_common_numbers_alike(reports):
    _, (one, other) = reports
    assert one["dropout"] == other["dropout"]  # what is gathered is the same in both
    first, second = (torch.tensor(side) for side in one["dropout"]["sides"])
    assert not torch.equal(first, second)


def test_alone_nothing_is_changed():
    assert (processes.count(), processes.rank(), processes.is_writer()) == (1, 0, True)
    matcher = torch.nn.Linear(2, 2)
    assert shard(matcher) is matcher
    assert type(matcher) is torch.nn.Linear
    sum_gradients([matcher])
    processes.wait_for_all()
    assert processes.largest(5) == 5
    assert processes.as_the_writer_says("me") == "me"


ARGUMENTS = [
    *("train", "--noise", "0.4", "--epochs", "3", "--batch-size", "48", "--device", "cpu"),
    *("--set", "data.n_train=40", "--set", "data.n_dev=12", "--set", "data.n_test=12"),
    *("--set", "optim.milestones=[]"),
]
ROBUST = [
    *("--method", "robust", "--set", "method.warmup_epochs=1", "--set", "method.warmup_extension=0"),
    *("--set", "method.least_findable=0"),  # captions are given images of other pairs
]


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def alike(one, other):
    """Rows of epochs, but for what was measured of the clock."""
    assert len(one) == len(other) == 3
    for a, b in zip(one, other, strict=True):
        # rounding may change the image of one or two of 200 captions, of about 5 units of loss each
        assert a["loss"] == pytest.approx(b["loss"], rel=5e-3)
        assert ("rematch" in a) == ("rematch" in b)
        assert a["dev"]["rsum"] == pytest.approx(b["dev"]["rsum"], abs=10)  # a query of twelve is 8 points
        assert a.get("noise_rate") == pytest.approx(b.get("noise_rate"), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [ROBUST, ["--method", "gsc"], ["--method", "rde"]], ids=lambda given: given[1]
)
def test_a_run_of_two_processes_equals_one_of_one(tmp_path, method):
    arguments = [*ARGUMENTS, *method]
    said = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "one")])
    assert said.exit_code == 0, said.output
    done = together("-m", "robustcmr", *arguments, "-o", tmp_path / "two", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    alike(rows(tmp_path / "one"), rows(tmp_path / "two"))
    assert ("rematch" in rows(tmp_path / "one")[-1]) == (method is ROBUST)
    results = json.loads(done.stdout)  # told once
    assert results["processes"] == 2
    assert results["noise_hash"] == json.loads((tmp_path / "one/results.json").read_text())["noise_hash"]
    assert {path.name for path in (tmp_path / "one").iterdir()} == {
        path.name for path in (tmp_path / "two").iterdir()
    }


@pytest.mark.slow
def test_stopped_with_two_processes_and_gone_on_with_one_ends_as_one(tmp_path):
    alone, stopped = tmp_path / "alone", tmp_path / "stopped"
    CliRunner().invoke(app, [*ARGUMENTS, *ROBUST, "-o", str(alone)])
    with subprocess.Popen(
        [*TOGETHER, "-m", "robustcmr", *ARGUMENTS, *ROBUST, "-o", str(stopped)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=ONE_THREAD,
    ) as process:
        while process.poll() is None and not (stopped / "metrics.jsonl").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=120)[1]
    assert (stopped / "checkpoints/last").exists(), said
    assert not (stopped / "results.json").exists(), "it ended before it could be stopped"
    assert said.count("stopped and saved; resume with") == 1
    gone_on = CliRunner().invoke(app, ["train", "--resume", str(stopped)])
    assert gone_on.exit_code == 0, gone_on.output
    alike(rows(alone), rows(stopped))
    assert "rematch" in rows(alone)[-1]
