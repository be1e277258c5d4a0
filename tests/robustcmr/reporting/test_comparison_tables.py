"""Every format says the same numbers, marks what was not measured here, and survives awkward names."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from robustcmr.reporting.compared import Comparison
from robustcmr.reporting.comparison import compare, with_published
from robustcmr.reporting.comparison_files import to_csv, to_json
from robustcmr.reporting.comparison_tables import (
    comparison_table,
    explanations,
    robustness_cells,
    row_cells,
    to_latex,
    to_markdown,
)
from robustcmr.reporting.published import published_rows
from robustcmr.reporting.tables import render
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


def test_the_terminal(comparison):
    text = render(comparison_table(comparison), 200)
    lines = text.splitlines()
    first = next(line for line in lines if "my_net" in line)
    assert first.split() == ["0%", "my_net", "single", "2", "1", "350.5", "±", "0.7"]
    last = [line for line in lines if "40% caption" in line][-1]
    assert last.split()[:-3] == ["40%", "caption", "hinge", "single", "2", "2", "260.5", "±", "0.7"]
    assert last.split()[-3:] == ["-50.0", "0.500", "(n=2)"]
    assert "i2t R@1" not in text
    assert "55.1" in next(line for line in lines if line.startswith("my_net"))  # (350.5 + 310.5) / 2 / 600
    assert "R@1" in render(comparison_table(comparison, all_measures=True), 300)
    assert "all sign flips" in text
    assert "of 2 rows the difference over queries is not known" in text


def test_the_reference_of_every_table_is_named(runs, make_results):
    def told(against: str | None, more: list[SavedRun] | None = None) -> tuple[str, str]:
        lines = explanations(compare([*runs, *(more or [])], against=against))
        rows, curves = (next(line for line in lines if word in line) for word in ("bootstrap", "robustness"))
        return rows.split(" are from ")[1].split(":")[0], curves.split(" from ")[1].split(", over")[0]

    assert told(None) == ("my_net", "my_net")
    assert told("hinge") == ("hinge", "hinge")
    ensembles = [SavedRun(Path(f"two{run.path}"), {**run.results, "n_models": 2}, [], {}) for run in runs]
    assert told("hinge", ensembles) == ("hinge", "hinge")
    worse = [
        SavedRun(
            run.path,
            make_results(
                100, **{key: run.results[key] for key in ("method", "noise_ratio", "seed")}, n_models=2
            ),
            [],
            {},
        )
        for run in ensembles
        if run.results["method"] == "my_net"
    ]
    others = [run for run in ensembles if run.results["method"] == "hinge"]
    assert told(None, [*worse, *others]) == ("the first row of the section",) * 2


def test_a_narrow_terminal_loses_no_column(comparison, runs):
    text = render(comparison_table(comparison, narrow=True), 80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in lines if line.startswith("40% caption")] == [
        ["40%", "caption", "my_net", "2", "1", "310.5", "±", "0.7"],
        ["40%", "caption", "hinge", "2", "2", "260.5", "±", "0.7"],
        ["40%", "caption", "hinge", "-50.0", "0.500", "(n=2)"],
    ]
    assert ["my_net", "350.5", "310.5", "55.1", "±", "0.1"] in [line.split() for line in lines]
    assert "All rows are of single models." in lines
    ensemble = SavedRun(Path("two"), {**runs[0].results, "n_models": 2}, [], {})
    text = render(comparison_table(compare([*runs, ensemble]), narrow=True), 80)
    assert "ensemble (2)" in text
    assert "All rows are" not in text
    assert "differences" not in render(comparison_table(compare(runs[:2]), narrow=True), 80)


def test_notes_become_footnotes_where_it_is_narrow(comparison):
    text = render(comparison_table(with_published(comparison, published_rows("f30k")), narrow=True), 80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    number = next(line.split(":")[0] for line in lines if line.endswith("not measured here; IN2R, ICML 2026"))
    row = next(line for line in lines if "511.6" in line)
    assert row.split()[-2:] == [number, "511.6"]


def test_markdown_has_one_shape_and_marks_the_best(comparison):
    text = to_markdown(with_published(comparison, published_rows("f30k")))
    tables = text.split("\n\n")
    for table in tables[:2]:
        assert len({line.count(" | ") for line in table.strip().splitlines()}) == 1
    assert "| **my\\_net** |" in text
    assert "**350.5 ± 0.7**" in text
    theirs = [line for line in text.splitlines() if "not measured here; " in line]
    assert len(theirs) == 13
    assert all("| *ensemble (2)* |" in line or "| *single* |" in line for line in theirs)
    assert any("*503.8*" in line for line in theirs)


def test_latex_escapes_and_balances(runs):
    odd = SavedRun(Path("odd"), {**runs[0].results, "method": "a&b_50%#{x}^~$\\"}, [], {})
    text = to_latex(compare([*runs, odd]))
    assert r"a\&b\_50\%\#\{x\}\textasciicircum{}\textasciitilde{}\$\textbackslash{}" in text
    assert r"\textbf{my\_net}" in text
    assert r"40\% caption" in text
    assert r"350.5 $\pm$ 0.7" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert text.count(r"\midrule") == 3
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len({line.replace(r"\&", "").count("&") for line in body[:6]}) == 1
    assert r"\textit{" in to_latex(with_published(compare(runs), published_rows("f30k")))


def test_mixed_rows_are_marked_in_every_format(runs):
    other = SavedRun(Path("image"), {**runs[2].results, "protocol": "image", "noise_hash": "0" * 64}, [], {})
    found = compare([*runs, other], mixed=True)
    for text in (render(comparison_table(found), 300), to_markdown(found), to_latex(found)):
        assert "MIXED: the rows do not all answer the same question" in text
        assert text.count("protocol image") >= 1
    assert "protocol image" in to_csv(found)


def test_others_alone(comparison):
    alone = with_published(Comparison("test"), published_rows())
    for write in (to_csv, to_json, to_markdown, to_latex):
        text = write(alone)
        assert "not measured here" in text
        assert "wikipedia" in text
    assert next(csv.DictReader(io.StringIO(to_csv(alone))))["measured_here"] == "no"
    assert to_csv(Comparison("test")) == "\n"


def test_the_best_of_each_section_is_marked(comparison):
    cells = row_cells(comparison)
    marked = [row[:2] for row, best in zip(cells.rows, cells.best, strict=True) if best]
    assert marked == [("0%", "my_net"), ("40% caption", "my_net")]
    assert cells.starts == [False, False, True, False]
    assert robustness_cells(comparison).best == [True, False]
    first, second = to_markdown(comparison).splitlines()[2:4]
    assert first.startswith("| **0%** | **my\\_net** |")
    assert second.startswith("| 0% | hinge |")


@pytest.mark.parametrize("end", ["\n", "\r", "\u2028"])
def test_names_never_leave_their_line_or_become_markup(end, make_results):
    name = f"a{end}\\input{{b}} <script> [c](d) $e$ \x1b"
    made = [
        SavedRun(Path(f"{method}{ratio}"), make_results(method=method, noise_ratio=ratio, data=name), [], {})
        for method in (name, "hinge")
        for ratio in (0.0, 0.4)
    ]
    latex, markdown = to_latex(compare(made)), to_markdown(compare(made))
    lines = (line for line in latex.splitlines() if not line.startswith("%"))
    assert not [line for line in lines if "\\input" in line]
    assert "<script" not in markdown.replace("\\<", "")
    for text in (latex, markdown):
        assert not {"\x1b", "\r", "\u2028"} & set(text)
        assert r"\textbackslash{}input\{b\}" in text or r"\\input{b}" in text
