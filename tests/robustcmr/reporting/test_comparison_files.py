"""A comparison for programs: what is written can be read back."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from robustcmr.reporting.comparison import compare, with_published
from robustcmr.reporting.comparison_files import to_csv, to_json
from robustcmr.reporting.published import published_rows
from robustcmr.runs.read import SavedRun


@pytest.fixture
def runs(make_results):
    return [
        SavedRun(
            Path(f"{method}{ratio}{seed}"),
            make_results(level - 100 * ratio + seed, method=method, noise_ratio=ratio, seed=seed),
            [],
            {},
        )
        for method, level in (("hinge", 300), ("my_net", 350))
        for ratio in (0.0, 0.4)
        for seed in (0, 1)
    ]


@pytest.fixture
def comparison(runs):
    return compare(runs)


def test_csv_is_read_back(comparison):
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert len(rows) == 4
    for line, row in zip(rows, comparison.rows, strict=True):
        assert float(line["rsum_mean"]) == row.mean
        assert float(line["rsum_std"]) == row.std
        assert float(line["i2t_r5_mean"]) == row.means["i2t_r5"]
        assert (line["method"], line["rank"], line["seeds"]) == (row.method, str(row.rank), "0 1")
        assert line["measured_here"] == "yes"
    areas = {line["method"]: float(line["robustness_area"]) for line in rows}
    assert areas == {entry.method: entry.area for entry in comparison.robustness}
    assert rows[0]["p_seeds"] == ""
    assert (rows[1]["p_seeds"], rows[1]["test_seeds"]) == ("0.5", "sign flips, exact")
    assert rows[1]["runs"] == "hinge0.00 hinge0.01"


def test_json_is_read_back(comparison):
    tree = json.loads(to_json(with_published(comparison, published_rows("f30k"))))
    assert [row["mean"] for row in tree["rows"]][:4] == [row.mean for row in comparison.rows]
    assert tree["rows"][1]["difference"]["over_seeds"]["p_value"] == 0.5
    assert tree["rows"][0]["runs"] == ["my_net0.00", "my_net0.01"]
    assert [row["measured_here"] for row in tree["rows"]].count(False) == 13
    assert tree["rows"][-1]["source"] == "Han et al., CVPR 2024"
    assert tree["robustness"][0]["area"] == comparison.robustness[0].area
    assert tree["notes"]


def test_names_are_no_formulas_and_json_is_ascii(make_results):
    name = "=HYPERLINK(1)\x1b\u202e"
    made = compare([SavedRun(Path("@a"), make_results(method=name, data="+d"), [], {})])
    (row,) = csv.DictReader(io.StringIO(to_csv(made)))
    assert (row["method"], row["data"], row["runs"]) == (f"'{name}", "'+d", "'@a")
    assert float(row["rsum_mean"]) == 300.0
    text = to_json(made)
    assert text.isascii()
    assert json.loads(text)["rows"][0]["method"] == name
