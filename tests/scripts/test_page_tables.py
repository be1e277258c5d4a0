"""Tables and pictures of README and docs: they say what the results say."""

import csv
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from robustcmr.runs.pairs_table import PairsTable

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "scripts" / "results"
MODULES = (
    "page_tables",
    "readme_pictures",
    "result_tables",
    "methods_table",
    "leaderboard_page",
    "methods_page",
)


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    for name in (*MODULES, "run_table"):
        sys.modules.pop(name, None)


def test_the_pages_are_what_the_results_give(modules):
    names = []
    for path in modules.page_tables.PAGES:
        text = path.read_text(encoding="utf-8")
        again = "write it anew with: python scripts/page_tables.py"
        assert modules.page_tables.filled(text) == text, f"{path.name}: {again}"
        names += modules.page_tables.BLOCK.findall(text)
    assert set(names) == {*modules.page_tables.TABLES, "names", "first_run", "wrong_pair"}, (
        "a table that no page shows"
    )


def test_a_mark_of_no_table_is_an_error(modules):
    with pytest.raises(KeyError, match="nothing"):
        modules.page_tables.filled("<!-- table: nothing -->\n<!-- end -->")


def test_an_edited_number_is_noticed(modules):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert modules.page_tables.filled(text.replace("447.4", "447.5")) == text


def test_a_cell_is_mean_and_deviation_over_seeds(modules):
    with (RESULTS / "methods_scenes.csv").open(encoding="utf-8", newline="") as file:
        runs = [
            row for row in csv.DictReader(file) if (row["row"], row["noise"]) == ("robust", "caption:0.6")
        ]
    values = np.array([float(row["test_rsum"]) for row in runs])
    assert len(values) > 1
    cell = f"**{values.mean():.1f} ± {values.std(ddof=1):.1f}**"  # the best of its column
    (line,) = [line for line in modules.result_tables.scenes_rsum().splitlines() if "| robust |" in line]
    assert line.split(" | ")[4].replace("\N{NO-BREAK SPACE}", " ") == cell


def test_p_is_over_the_runs_of_the_sweep(modules):
    """The rows of methods_scenes.csv are the runs whose means noise_sweep.csv has."""
    with (RESULTS / "noise_sweep.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["noise_ratio"]) == 0.4]
    runs = modules.result_tables.read_rows(RESULTS / "methods_scenes.csv")
    for row in rows:
        found = modules.result_tables.pick(runs, "test_rsum", row=row["method"], noise="caption:0.4")
        assert np.mean(found) == pytest.approx(float(row["rsum_mean"]), abs=0.01)


def test_pictures_are_drawn_of_the_results(modules, tmp_path, monkeypatch):
    chart = modules.readme_pictures.robustness()
    names = {line.get_label().split("  ")[0] for line in chart.figure.axes[0].containers}
    assert names == {"robust", "RCE", "InfoNCE", "hinge, hardest negatives"}
    monkeypatch.setattr(sys, "argv", ["readme_pictures.py", "--output", str(tmp_path)])
    modules.readme_pictures.main()
    with Image.open(tmp_path / "robustness.png") as picture:
        assert picture.width > 500
    for name in ("robustness.png", "wrong_pair.png"):
        assert (ROOT / "docs" / "images" / name).stat().st_size < 100_000


@pytest.fixture
def table():
    """Five pairs of which pair i belongs to image i; all but the last are suspected."""
    return PairsTable(
        pair=np.arange(5),
        caption=[f"caption {i}" for i in range(5)],
        image=np.array([3, 0, 1, 1, 2]),
        image_name=[""] * 5,
        evidence=np.array([9.0, 5.0, 6.0, 8.0, 1.0]),
        clean_probability=np.array([0.0, 0.1, 0.1, 0.1, 0.9]),
        is_clean=np.array([False, False, False, False, True]),
        rematch=np.array([2, 1, 2, 4, 4]),
        rematch_name=[""] * 5,
        score=np.zeros(5),
        rematch_score=np.ones(5),
    )


def test_the_pair_shown_is_the_most_suspected_with_a_right_suggestion(modules, table):
    # the suggestions of pairs 1 and 2 are right, and 2 has more evidence against it
    assert modules.readme_pictures.most_suspected(table, np.arange(5)) == 2
    with pytest.raises(SystemExit, match="no suspected pair"):
        modules.readme_pictures.most_suspected(table, np.arange(5) + 10)


def test_a_pair_is_drawn_with_both_pictures(modules, table):
    pictures = [np.full((4, 4, 3), 10 * i, dtype=np.uint8) for i in range(5)]
    figure = modules.readme_pictures.drawn(SimpleNamespace(picture=pictures.__getitem__), table, 2)
    assert [axes.images[0].get_array()[0, 0, 0] for axes in figure.axes] == [10, 20]
    assert {"“caption 2”", "10.0% likely to be right"} <= {text.get_text() for text in figure.texts}
