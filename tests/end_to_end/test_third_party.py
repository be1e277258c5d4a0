"""A package written outside the project: once installed, its parts are found by name and work together."""

import importlib.metadata
import json
import subprocess
import sys

import pytest


@pytest.fixture(scope="module", autouse=True)
def _installed():
    names = {point.name for point in importlib.metadata.entry_points(group="robustcmr.matchers")}
    if "pooled" not in names:
        pytest.fail(
            "tests/third_party is not installed; scripts/test.sh does it: pip install tests/third_party"
        )


def robustcmr(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "robustcmr", *map(str, words)], cwd=cwd, text=True, capture_output=True
    )


def test_all_three_are_listed_and_described(tmp_path):
    for kind, name, line in (
        ("matchers", "pooled", "Cosine of the mean region and the mean word."),
        ("methods", "margin", "Soft margin over all negatives of the batch."),
        ("data", "colours", "Flags of three stripes; two captions each."),
    ):
        listed = robustcmr("list", kind, "--json", cwd=tmp_path)
        assert json.loads(listed.stdout)[name] == line
        assert "n_train" in robustcmr("show", "colours", cwd=tmp_path).stdout


def test_all_three_train_together_by_name(tmp_path):
    done = robustcmr(
        *("train", "--data", "colours", "--matcher", "pooled", "--method", "margin", "--noise", "0.2"),
        *("--epochs", "12", "--batch-size", "20", "--set", "optim.lr=0.02", "--set", "matcher.dim=16"),
        *("--output", "run", "--json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert (results["data"], results["matcher"], results["method"]) == ("colours", "pooled", "margin")
    assert results["splits"]["test"]["rsum"] > 250  # chance is about 80
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["margin"] for row in rows[:4]] == pytest.approx([0.2 / 3, 0.4 / 3, 0.2, 0.2])


@pytest.mark.slow
def test_its_matcher_learns_by_a_built_in_method(tmp_path):
    done = robustcmr(
        *("train", "--data", "colours", "--matcher", "pooled", "--noise", "0.4", "--epochs", "6"),
        *("--batch-size", "40", "--set", "optim.lr=0.01", "--output", "run"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/pairs.csv").exists()
    shown = robustcmr("suspects", "run", "--top", "5", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "train flag" in shown.stdout


def test_a_matcher_in_the_current_folder_needs_no_installing(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from example_plugin.matcher import Pooled\n\n\nclass Mine(Pooled):\n    'Mine.'\n"
    )
    done = robustcmr(
        *("train", "--data", "colours", "--matcher", "mine:Mine", "--epochs", "1"),
        *("--batch-size", "40", "--output", "run", "--json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["matcher"] == "mine:Mine"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("import not_there_at_all\n", "it needs the package not_there_at_all, which is not installed"),
        ("x = 1 / 0\n", "ZeroDivisionError: division by zero"),
        (
            "from robustcmr.matchers.base import Matcher\nfrom robustcmr.options import Options\n"
            "class Mine(Matcher):\n    Config = Options\n    def encode_images(self, images): ...\n",
            "leaves out encode_texts, score",
        ),
    ],
)
def test_a_broken_one_is_told_in_a_sentence(tmp_path, source, sentence):
    (tmp_path / "mine.py").write_text(source)
    done = robustcmr("train", "--matcher", "mine:Mine", "--output", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
