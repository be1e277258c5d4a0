"""The front of the benchmarks: that it starts what is there, reads what comes back, and tells of failures."""

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks"
HEADER = ["ratio", "suite", "what", "ours", "reference", "which", "is", "floor", "share", "floor", "is"]
GOOD = ["2", "good", "a", "thing", "1.5", "s", *["–"] * 4]


@pytest.fixture(scope="module")
def front():
    spec = importlib.util.spec_from_file_location("benchmark_front", BENCHMARKS / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass asks for it
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def run(*words):
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), *words], capture_output=True, text=True, check=False
    )


def test_every_suite_is_there_and_every_csv_is_explained(front):
    explained = (front.RESULTS / "README.md").read_text(encoding="utf-8")
    for name, suite in front.SUITES.items():
        assert (BENCHMARKS / suite.script).is_file(), name
        assert f"`{suite.csv}`" in explained
        assert f"`{name}`" in explained
    for found in front.RESULTS.glob("*.csv"):
        assert f"`{found.name}`" in explained


def test_every_benchmark_belongs_to_the_front(front):
    programs = {path.name for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text("utf-8")}
    assert programs - {"run.py"} <= {suite.script for suite in front.SUITES.values()}


@pytest.mark.parametrize("name", ["omit", "evaluation", "sgr", "transport", "division", "steps", "recall"])
def test_quick_options_are_options_of_the_suite(front, name):
    suite = front.SUITES[name]
    said = (BENCHMARKS / suite.script).read_text("utf-8")
    said += (BENCHMARKS / "random_pairs.py").read_text("utf-8")
    for word in suite.quick:
        if word.startswith("--"):
            assert f'"{word.replace("--no-", "--")}"' in said, word


def test_a_quick_suite_ends_in_a_table_and_a_csv(tmp_path):
    done = run("--quick", "--suite", "start", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    header, *lines = done.stdout.splitlines()
    assert header.split() == HEADER
    assert any("robustcmr --help" in line for line in lines)
    with (tmp_path / "start.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(lines)
    assert all(float(row["ours"]) > float(row["floor"]) for row in rows)


def test_a_suite_that_fails_is_named_and_the_others_go_on(front, tmp_path, monkeypatch, capsys):
    (tmp_path / "good.py").write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "out = Path(sys.argv[sys.argv.index('--output') + 1])\n"
        "out.write_text('suite,what,ratio,ours,unit\\ngood,a thing,2,1.5,s\\n')\n"
    )
    (tmp_path / "bad.py").write_text("print('why it failed')\nraise SystemExit(3)\n")
    (tmp_path / "mute.py").write_text("")
    suites = {name: front.Suite(f"{name}.py", f"{name}.csv", ()) for name in ("bad", "mute", "good")}
    monkeypatch.setattr(front, "HERE", tmp_path)
    monkeypatch.setattr(front, "SUITES", suites)
    monkeypatch.setattr(sys, "argv", ["run.py", "--results", str(tmp_path)])
    assert front.main() == 1
    told = capsys.readouterr()
    assert "why it failed" in told.err
    assert "mute.csv cannot be read" in told.err
    assert told.err.endswith("failed: bad, mute\n")
    assert told.out.splitlines()[1].split() == GOOD


def test_what_only_some_suites_understand_is_given_to_those(front, tmp_path):
    options = front.argparse.Namespace(quick=False, threads=3, device="cuda")
    with_device = front.command(front.SUITES["omit"], options, tmp_path / "a.csv")
    without = front.command(front.SUITES["recall"], options, tmp_path / "a.csv")
    assert with_device[-2:] == ["--device", "cuda"]
    assert without[-2:] == ["--threads", "3"]


def test_rows_of_the_whole_set_become_headlines(front):
    row = {
        "suspected": "10",
        "pairs": "100",
        "transport_seconds": "0.5",
        "epsilon": "0.01",
        "candidates_cpu_seconds": "4",
        "product_cpu_seconds": "2",
    }
    found = front.of_whole_set(row)
    assert (found["ours"], found["floor"], found["floor_share"]) == ("4", "2", "0.5")
    assert front.of_whole_set({"what": "mine"}) == {"what": "mine"}


def headline_module():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import common
    finally:
        sys.path.remove(str(BENCHMARKS))
    return common


def test_a_headline_says_how_many_times_better():
    common = headline_module()
    seconds = common.headline("s", "w", 2.0, 8.0, "slow", floor=common.Floor(1.0, "least"))
    assert (seconds["ratio"], seconds["floor_share"]) == ("4", "0.5")
    most = common.Floor(100.0, "most")
    rate = common.headline("s", "w", 50.0, 10.0, "slow", unit="pairs/s", floor=most, larger_is_better=True)
    assert (rate["ratio"], rate["floor_share"]) == ("5", "0.5")
    alone = common.headline("s", "w", 50.0, None, "nothing")
    assert (alone["ratio"], alone["reference"], alone["floor"], alone["floor_share"]) == ("", "", "", "")
    assert tuple(alone) == common.HEADLINE
