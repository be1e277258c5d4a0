"""What an incomplete comparison says, in every form."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest

from robustcmr.reporting.compared import PlannedRun
from robustcmr.reporting.comparison import compare
from robustcmr.reporting.comparison_files import to_csv, to_json
from robustcmr.reporting.comparison_page import comparison_page
from robustcmr.reporting.comparison_tables import comparison_table, row_cells, to_latex, to_markdown
from robustcmr.reporting.completeness import incompleteness
from robustcmr.reporting.tables import render
from robustcmr.runs.read import read_run

SWEEP = Path("sweeps/a b")


def planned(states):
    """Two methods at two ratios with two seeds."""
    cells = [(method, ratio, seed) for seed in (0, 1) for ratio in (0, 0.4) for method in ("hinge", "l2rm")]
    return tuple(
        PlannedRun(
            SWEEP / "trials" / f"{method}-ratio{ratio:g}-seed{seed}",
            state,
            {"method.name": method, "noise.ratio": ratio, "seed": seed},
            SWEEP,
        )
        for (method, ratio, seed), state in zip(cells, states, strict=True)
    )


TWO_OF_EIGHT = ["finished", "waiting", "finished", "failed", "waiting", "waiting", "waiting", "waiting"]


def test_nothing_is_said_of_a_complete_one():
    assert incompleteness(()) == []
    assert incompleteness(planned(["finished"] * 8)) == []


def test_missing_runs_and_whole_methods_are_named():
    assert incompleteness(planned(TWO_OF_EIGHT)) == [
        "INCOMPLETE: 6 of 8 planned runs are missing (5 waiting, 1 failed), so ranks, the best rows and "
        "differences are provisional: l2rm-ratio0-seed0, l2rm-ratio0.4-seed0, hinge-ratio0-seed1, "
        "l2rm-ratio0-seed1, hinge-ratio0.4-seed1, l2rm-ratio0.4-seed1.",
        "Missing altogether: all 4 planned runs of method.name l2rm.",
        "Missing altogether: all 4 planned runs of seed 1.",
        "Finish them: robustcmr sweep resume 'sweeps/a b'",
    ]


def test_a_single_one():
    first, *rest = incompleteness(planned(["finished"] * 7 + ["damaged"]))
    assert first.startswith("INCOMPLETE: 1 of 8 planned runs is missing (1 damaged), so ranks")
    assert rest == ["Finish them: robustcmr sweep resume 'sweeps/a b'"]


@pytest.fixture
def comparison(make_run, make_results, tmp_path):
    results = [make_results(300, method="hinge"), make_results(310, method="infonce")]
    runs = [read_run(make_run(tmp_path / each["method"], each)) for each in results]
    return compare(runs, planned=planned(TWO_OF_EIGHT))


def test_every_form_says_so(comparison):
    for text in (
        render(comparison_table(comparison), 400),
        render(comparison_table(comparison, narrow=True), 400),
        to_markdown(comparison),
        to_latex(comparison),
        comparison_page(comparison),
    ):
        assert "INCOMPLETE: 6 of 8 planned runs are missing" in text
        assert "all 4 planned runs of method.name l2rm" in text
        assert "Ranks in parentheses are provisional" in text
    assert "INCOMPLETE" in comparison_page(comparison).split("<main")[0]  # in the lead


def test_no_row_is_first_without_saying_so(comparison):
    cells = row_cells(comparison)
    assert cells.columns["rank"] == ["(1)", "(2)"]
    assert not any(cells.best)
    assert "**" not in to_markdown(comparison)
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert [(row["rank"], row["missing_runs"]) for row in rows] == [("1", "6"), ("2", "6")]
    tree = json.loads(to_json(comparison))
    assert tree["complete"] is False
    assert tree["missing"][0] == "sweeps/a b/trials/l2rm-ratio0-seed0"


def test_a_complete_one_is_as_ever(comparison):
    whole = dataclasses.replace(comparison, planned=planned(["finished"] * 8))
    assert row_cells(whole).columns["rank"] == ["1", "2"]
    assert row_cells(whole).best == [True, False]
    assert "INCOMPLETE" not in comparison_page(whole)
    tree = json.loads(to_json(whole))
    assert (tree["complete"], tree["missing"]) == (True, [])
