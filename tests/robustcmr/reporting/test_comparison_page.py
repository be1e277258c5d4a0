from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from robustcmr.reporting.compared import Comparison
from robustcmr.reporting.comparison import compare, with_published
from robustcmr.reporting.comparison_page import comparison_page
from robustcmr.reporting.published import published_rows
from robustcmr.runs.read import SavedRun


def run(root: Path, method: str, ratio: float, seed: int, rsum: float) -> SavedRun:
    recalls = {f"{way}_r{at}": rsum / 6 for way in ("i2t", "t2i") for at in (1, 5, 10)}
    results = {
        **{
            "data": "scenes",
            "matcher": "omit",
            "method": method,
            "seed": seed,
            "n_models": 1,
            "track": "pairs",
        },
        **{"data_fingerprint": "f" * 16, "training_pairs": 100, "selection_split": "dev"},
        **{
            "noise_kind": "mismatch",
            "protocol": "caption",
            "noise_ratio": ratio,
            "noise_ratio_realised": ratio,
        },
        "noise_hash": f"{seed}-{ratio}" * 8,
        "noise": {"seed": seed, "ratio_asked": ratio},
        "splits": {"test": {**recalls, "rsum": rsum, "n_images": 5, "n_captions": 25}},
        "robustcmr_version": "0.1.0",
    }
    config = {
        "seed": seed,
        "data": {"name": "scenes"},
        "matcher": {"name": "omit"},
        "method": {"name": method},
        "noise": {"ratio": ratio, "kind": "mismatch", "protocol": "caption"},
    }
    return SavedRun(root / f"{method} {ratio} {seed}", results, [], config)


@pytest.fixture
def runs(tmp_path):
    return [
        run(tmp_path / "trials", method, ratio, seed, base - drop * ratio + seed)
        for method, base, drop in (("hinge", 300.0, 200.0), ("l2rm", 310.0, 50.0))
        for ratio in (0.0, 0.4, 0.8)
        for seed in (0, 2)
    ]


def test_curves_and_their_numbers(runs, tmp_path, parse):
    page = parse(comparison_page(compare(runs), "Sweep a<b", tmp_path))
    curve = page.tables["rSum by noise: scenes, mismatch, caption"]
    place = curve[0].index("hinge")
    assert [row[place] for row in curve[1:]] == pytest.approx([301.0, 221.0, 141.0])
    assert [row[place + 1] for row in curve[1:]] == pytest.approx([2**0.5] * 3)
    assert "hinge from 301.0 to 141.0" in next(a["aria-label"] for t, a in page.elements if t == "svg")
    assert "Sweep a<b" in page.text
    area = page.table("Headline measure by noise")
    assert float(area["l2rm"]["area"].split()[0]) == pytest.approx((311 + 271) / 2 / 6, abs=0.06)


def test_the_heat_map_and_the_table_say_the_same(runs, tmp_path, parse):
    page = parse(comparison_page(compare(runs), folder=tmp_path))
    heat = page.table("rSum on scenes")
    for caption in ("Headline measure, and differences", "Every measure"):
        table = page.tables[caption]
        columns = {name: table[0].index(name) for name in ("noise", "method", "rSum")}
        told = {(row[columns["method"]], row[columns["noise"]]): row[columns["rSum"]] for row in table[1:]}
        assert len(told) == 6
        for (method, noise), text in told.items():
            assert text.startswith(f"{heat[method][noise]:.1f}")
    assert "difference [95%]" in page.tables["Headline measure, and differences"][0]
    assert "i2t R@1" in page.tables["Every measure"][0]
    # a line where another noise begins, twice in each table
    assert sum("starts" in (a.get("class") or "").split() for t, a in page.elements if t == "tr") == 4


def test_every_run_is_linked(runs, tmp_path, parse):
    (runs[0].path).mkdir(parents=True)
    (runs[0].path / "report.html").touch()
    page = parse(comparison_page(compare(runs), folder=tmp_path))
    links = {a["href"] for t, a in page.elements if t == "a" and not a["href"].startswith("#")}
    assert len(links) == 12
    assert "trials/hinge%200.0%200/report.html" in links
    assert "trials/l2rm%200.8%202" in links
    elsewhere = parse(comparison_page(compare(runs)))
    links = [a["href"] for t, a in elsewhere.elements if t == "a" and not a["href"].startswith("#")]
    assert all(link.startswith("file:///") for link in links)


def test_one_noise_ratio_has_no_curve(runs, tmp_path, parse):
    page = parse(comparison_page(compare([runs[0], runs[6]]), folder=tmp_path))
    assert "no curves" in page.text
    assert not any(t == "svg" for t, _ in page.elements)


def test_nothing_to_show(parse):
    page = parse(comparison_page(Comparison("test")))
    for said in ("no finished runs", "nothing to map", "no runs"):
        assert said in page.text


def test_published_rows_stand_apart_and_have_no_links(runs, tmp_path, parse):
    comparison = with_published(compare(runs), published_rows("f30k"))
    page = parse(comparison_page(comparison, folder=tmp_path))
    assert any(a.get("class") == "theirs" for t, a in page.elements if t == "tr")
    assert "not measured here" in page.text
    assert "12 runs on scenes" in page.text


def test_a_mixed_comparison_says_so(runs, parse):
    other = dataclasses.replace(
        runs[0], results={**runs[0].results, "data_fingerprint": "e" * 16}, path=Path("other")
    )
    page = parse(comparison_page(compare([*runs, other], mixed=True)))
    assert "Mixed on request" in page.text


def test_more_methods_than_a_chart_holds(tmp_path, parse):
    many = [run(tmp_path, f"m{i}", ratio, 0, 100.0 + i) for i in range(8) for ratio in (0.0, 0.5)]
    page = parse(comparison_page(compare(many)))
    assert sum(t == "svg" and a.get("role") == "img" for t, a in page.elements) == 2


@pytest.mark.slow
def test_ten_thousand_rows(runs, parse):
    comparison = compare(runs)
    rows = tuple(dataclasses.replace(comparison.rows[0], method=f"m{i}") for i in range(10_000))
    page = comparison_page(dataclasses.replace(comparison, rows=rows))
    assert page.count("<tr") > 20_000
    assert ">m9999<" in page
