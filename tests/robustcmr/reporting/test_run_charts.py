"""The charts of a run: which are drawn, which lines they hold, and where the best epoch is marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustcmr.reporting import run_charts
from robustcmr.reporting.charts import Chart
from robustcmr.reporting.run_charts import RECALLS, division_charts, evidence_chart, save_run_charts
from robustcmr.types import FittedDensity


def row(epoch: int, level: float, split: str = "dev") -> dict[str, Any]:
    measures = {key: level * (i + 1) for i, key in enumerate(RECALLS.values())}
    return {"epoch": epoch, "loss": 5.0 / epoch, split: {**measures, "rsum": sum(measures.values())}}


def labelled_row(epoch: int, level: float, judged: bool = True) -> dict[str, Any]:
    measures = {"map": level, "map_i2t": level + 1, "map_t2i": level - 1}
    for length in (50, 100, 200):
        measures |= {f"map_at_{length}": level, f"map_i2t_at_{length}": 2.0, f"map_t2i_at_{length}": 3.0}
    told = {"correction": {"given_accuracy": 0.6, "corrected_accuracy": level / 100}} if judged else {}
    return {"epoch": epoch, "loss": 5.0 / epoch, "dev": {**measures, "scopes": [1]}, **told}


def values(chart: Chart | None) -> dict[str, list[Any]]:
    assert chart is not None
    (table,) = chart.tables
    return {name: [row[place] for row in table.rows] for place, name in enumerate(table.columns)}


def marked(chart: Chart | None) -> list[float]:
    assert chart is not None
    return [line.get_xdata()[0] for line in chart.figure.axes[0].lines if len(set(line.get_xdata())) == 1]


@pytest.mark.parametrize("n_epochs", [2, 12, 60])
def test_pictures_of_a_run(tmp_path: Path, n_epochs: int) -> None:
    rows = [row(epoch, 2.0 + 10.0 * epoch / n_epochs) for epoch in range(1, n_epochs + 1)]
    written = save_run_charts(rows, {}, tmp_path / "plots")
    assert written == [tmp_path / "plots" / "loss.png", tmp_path / "plots" / "dev_recall.png"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["dev_recall.png", "loss.png"]
    for path in written:
        with Image.open(path) as image:
            picture = np.asarray(image.convert("RGB"))
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (border == 255).all()  # nothing is cut off at the edge


def test_the_best_epoch_is_one_since_the_latest_restart() -> None:
    rows = [row(1, 9.0), {**row(2, 2.0), "restarted": 2}, {**row(3, 4.0), "restarted": 2}]
    assert run_charts.best_row(rows, "dev")["epoch"] == 3
    assert run_charts.best_row(rows[:1], "dev")["epoch"] == 1
    assert run_charts.best_row([], "dev") == {}


def test_a_single_point_is_not_drawn(tmp_path: Path) -> None:
    assert save_run_charts([], {}, tmp_path / "none") == []
    assert save_run_charts([row(1, 3.0)], {}, tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
    rows = [{"epoch": 1, "loss": 2.0}, row(2, 3.0)]
    assert save_run_charts(rows, {}, tmp_path) == [tmp_path / "loss.png"]


def test_the_first_of_the_best_epochs_is_marked() -> None:
    chart = run_charts.measure_chart([row(1, 1.0), row(2, 3.0), row(3, 3.0)], "dev")
    assert marked(chart) == [2]
    assert values(chart)["image to text R@1"] == [1.0, 3.0, 3.0]
    assert values(chart)["text to image R@10"] == [6.0, 18.0, 18.0]
    assert run_charts.measure_chart([row(1, 1.0), row(2, 2.0)], "test") is None


def test_epochs_that_were_not_measured_are_left_out() -> None:
    rows = [{"epoch": 1, "loss": 2.0}, row(2, 3.0), {"epoch": 3, "loss": 1.0}, row(4, 2.0)]
    assert values(run_charts.loss_chart(rows))["epoch"] == ["1", "2", "3", "4"]
    assert values(run_charts.measure_chart(rows, "dev"))["epoch"] == ["2", "4"]


def test_the_loss_comes_with_its_parts() -> None:
    rows = [{"epoch": 1, "loss": 3.0, "warmup_loss": 3.0}, {"epoch": 2, "loss": 5.0, "clean_loss": 4.0}]
    found = values(run_charts.loss_chart(rows))
    assert found == {"epoch": ["1", "2"], "total": [3.0, 5.0], "warmup": [3.0, None], "clean": [None, 4.0]}


def test_labelled_runs_are_drawn_by_map(tmp_path: Path) -> None:
    rows = [labelled_row(1, 40.0, judged=False), labelled_row(2, 70.0), labelled_row(3, 60.0)]
    written = save_run_charts(rows, {}, tmp_path)
    assert [path.name for path in written] == ["loss.png", "dev_map.png", "correction.png"]
    chart = run_charts.measure_chart(rows, "dev")
    found = values(chart)
    assert found["image to text mAP"] == [41.0, 71.0, 61.0]
    assert found["text to image mAP@100"] == [3.0, 3.0, 3.0]
    assert not any("200" in name for name in found)  # six lines are enough
    assert marked(chart) == [2]
    judged = run_charts.correction_chart(rows, "dev")
    assert values(judged) == {"epoch": ["2", "3"], "corrected labels": [0.7, 0.6], "given labels": [0.6, 0.6]}
    assert marked(judged) == [2]


def test_the_best_epoch_may_have_no_correction() -> None:
    rows = [labelled_row(1, 70.0, judged=False), labelled_row(2, 60.0), labelled_row(3, 50.0)]
    assert marked(run_charts.correction_chart(rows, "dev")) == []


def test_precision_over_ranks(tmp_path: Path) -> None:
    def measures(scopes: list[int]) -> dict[str, Any]:
        falling = [90.0 / (1 + i) for i in range(len(scopes))]
        return {"map": 1.0, "scopes": scopes, "precision_i2t": falling, "precision_t2i": falling[::-1]}

    splits = {"dev": measures([1, 5, 50]), "test": measures([1, 5, 50, 300])}
    chart = run_charts.scope_chart(splits)
    found = values(chart)
    assert found["K"] == ["1", "5", "50", "300"]
    assert found["image to text, dev"] == [90.0, 45.0, 30.0, None]
    assert found["text to image, test"] == [22.5, 30.0, 45.0, 90.0]
    assert chart is not None
    axes = chart.figure.axes[0]
    assert axes.get_xscale() == "log"
    assert list(axes.get_xticks()) == [1, 2, 5, 10, 20, 50, 100, 200]
    assert [path.name for path in save_run_charts([], splits, tmp_path)] == ["precision_scope.png"]
    assert run_charts.scope_chart({"dev": {"rsum": 3.0}, "test": {"map": 1.0, "scopes": []}}) is None


def test_evidence_is_split_by_the_truth_and_cut_between_the_groups() -> None:
    evidence = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])
    clean, wrong = evidence < 0.5, np.array([False, False, True, True, True, True])
    at = np.linspace(0, 1, 5)
    chart = evidence_chart(evidence, clean, wrong, FittedDensity(at, at, at))
    words = {text.get_text() for text in chart.figure.legends[0].get_texts()}
    assert words == {
        *("right pairs (2)", "mismatched pairs (4)", "lower group, fitted", "upper group, fitted"),
        "suspected above 0.5",
    }
    assert chart.title == "Evidence against 6 pairs: 50.0% suspected"
    plain = evidence_chart(evidence, np.ones(6, bool), note="Not divided: one group.")
    assert [text.get_text() for text in plain.figure.legends[0].get_texts()] == ["all pairs (6)"]
    assert plain.title.endswith("0.0% suspected")
    assert plain.note == "Not divided: one group."
    with pytest.raises(ValueError, match=r"shape \(2,\) for 6 pairs"):
        evidence_chart(evidence, clean, np.zeros(2, bool))


def test_a_list_in_place_of_a_number_is_not_drawn() -> None:
    rows = [
        {"epoch": epoch, "division": {"precision": value}} for epoch, value in ((1, 0.5), (2, [1]), (3, 0.7))
    ]
    (chart, *_) = division_charts(rows)
    assert [row[1] for row in chart.tables[0].rows] == [0.5, None, 0.7]
