from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from robustcmr.reporting.plots import RECALLS, draw_run_plots, plot_loss, plot_recall, spread

from robustcmr.reporting import plots


def row(epoch: int, level: float, split: str = "dev") -> dict[str, Any]:
    measures = {key: level * (i + 1) for i, key in enumerate(RECALLS.values())}
    return {"epoch": epoch, "loss": 5.0 / epoch, split: {**measures, "rsum": sum(measures.values())}}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == (960, 540)
        return np.asarray(image.convert("RGB")).astype(int)


def has_colour(picture: np.ndarray, colour: str) -> bool:
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return bool((np.abs(picture - wanted).max(axis=2) <= 3).sum() > 20)


@pytest.mark.parametrize("n_epochs", [1, 2, 12, 60])
def test_run_plots_are_pictures_with_every_line(tmp_path: Path, n_epochs: int) -> None:
    rows = [row(epoch, 2.0 + 10.0 * epoch / n_epochs) for epoch in range(1, n_epochs + 1)]
    written = draw_run_plots(rows, tmp_path / "plots")
    assert written == [tmp_path / "plots" / "loss.png", tmp_path / "plots" / "dev_recall.png"]
    loss, recall = (pixels(path) for path in written)
    assert has_colour(loss, plots._COLOURS[0])
    assert all(has_colour(recall, colour) for colour in plots._COLOURS)
    for picture in (loss, recall):
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (border == 255).all()  # nothing is cut off at the edge
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["dev_recall.png", "loss.png"]


def captured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures about to be written."""
    figures: list[Any] = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    return figures


def words(figure: Any) -> list[str]:
    axes = figure.axes[0]
    return [text.get_text() for text in axes.texts]


def test_the_best_epoch_is_the_one_of_the_largest_rsum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = captured(monkeypatch)
    draw_run_plots([row(1, 1.0), row(2, 3.0), row(3, 2.0)], tmp_path)
    axes = figures[1].axes[0]
    assert axes.get_title(loc="left") == "Recall on the dev split; best rSum 63.0"
    assert "best epoch: 2" in words(figures[1])
    assert "at epoch 2:" in words(figures[1])
    assert "image to text R@1  3.0" in words(figures[1])
    assert "text to image R@10  18.0" in words(figures[1])
    assert axes.get_xlabel() == "epoch"
    assert axes.get_ylabel() == "recall (%)"
    first = next(line for line in axes.lines if line.get_label() == "image to text R@1")
    assert list(first.get_xdata()) == [1, 2, 3]
    assert list(first.get_ydata()) == [1.0, 3.0, 2.0]
    loss = figures[0].axes[0]
    assert list(loss.lines[0].get_ydata()) == [5.0, 2.5, 5.0 / 3]
    assert "loss" in loss.get_ylabel()


def test_first_of_equal_epochs_is_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = captured(monkeypatch)
    draw_run_plots([row(1, 1.0), row(2, 3.0), row(3, 3.0)], tmp_path)
    assert "best epoch: 2" in words(figures[1])


def test_epochs_that_were_not_measured_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = captured(monkeypatch)
    rows = [{"epoch": 1, "loss": 2.0}, row(2, 3.0), {"epoch": 3, "loss": 1.0}]
    draw_run_plots(rows, tmp_path)
    assert list(figures[0].axes[0].lines[0].get_xdata()) == [1, 2, 3]
    line = next(line for line in figures[1].axes[0].lines if line.get_label() == "image to text R@1")
    assert list(line.get_xdata()) == [2]


def test_nothing_measured_and_no_epochs(tmp_path: Path) -> None:
    assert draw_run_plots([], tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
    assert draw_run_plots([{"epoch": 1, "loss": 2.0}], tmp_path) == [tmp_path / "loss.png"]


def test_another_selection_split_names_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = captured(monkeypatch)
    written = draw_run_plots([row(1, 1.0, "val")], tmp_path, "val")
    assert written[1] == tmp_path / "val_recall.png"
    assert "val split" in figures[1].axes[0].get_title(loc="left")


@pytest.mark.parametrize("level", [0.0, 100.0])
def test_limits_of_recall_stay_in_sight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: float
) -> None:
    figures = captured(monkeypatch)
    plot_recall([1, 2], {"recall": [level, level]}, 1, tmp_path / "x.png")
    low, high = figures[0].axes[0].get_ylim()
    assert -2 <= low < level < high <= 102


@pytest.mark.parametrize("epochs", [[1], [1, 2], list(range(1, 26)), list(range(5, 300))])
def test_ticks_are_whole_epochs_that_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: list[int]
) -> None:
    figures = captured(monkeypatch)
    plot_loss(epochs, [1.0] * len(epochs), tmp_path / "x.png")
    ticks = figures[0].axes[0].get_xticks()
    assert 1 <= len(ticks) <= 13
    assert {float(tick) for tick in ticks} <= {float(epoch) for epoch in epochs}


def test_pyplot_is_never_loaded(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from robustcmr.reporting.plots import plot_loss;"
        "plot_loss([1], [1.0], pathlib.Path(sys.argv[1])); sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), "MPLBACKEND": "TkAgg", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.png")], check=True, env=environment)
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_a_failed_picture_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "loss.png"
    plot_loss([1], [1.0], path)
    before = path.read_bytes()

    def fail(self: Any, file: Any, **options: Any) -> None:
        file.write(b"half")
        raise RuntimeError("no more")

    monkeypatch.setattr(plots.Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="no more"):
        plot_loss([1, 2], [1.0, 0.5], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_bad_series_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with pytest.raises(ValueError, match="no epochs"):
        plot_loss([], [], path)
    with pytest.raises(ValueError, match="loss has 1 values for 2 epochs"):
        plot_loss([1, 2], [0.1], path)
    with pytest.raises(ValueError, match="b has 1 values for 2 epochs"):
        plot_recall([1, 2], {"a": [1, 2], "b": [1]}, 1, path)
    with pytest.raises(ValueError, match="best epoch 3 is none of"):
        plot_recall([1, 2], {"a": [1, 2]}, 3, path)
    with pytest.raises(ValueError, match="0 lines"):
        plot_recall([1], {}, 1, path)
    with pytest.raises(ValueError, match="7 lines"):
        plot_recall([1], {str(i): [1] for i in range(7)}, 1, path)
    assert not path.exists()


def labelled_row(epoch: int, level: float, judged: bool = True) -> dict[str, Any]:
    measures = {"map": level, "map_i2t": level + 1, "map_t2i": level - 1}
    for length in (50, 100, 200):
        measures |= {f"map_at_{length}": level, f"map_i2t_at_{length}": 2.0, f"map_t2i_at_{length}": 3.0}
    told = {"correction": {"given_accuracy": 0.6, "corrected_accuracy": level / 100}} if judged else {}
    return {"epoch": epoch, "loss": 5.0 / epoch, "dev": {**measures, "scopes": [1]}, **told}


def test_labelled_runs_are_drawn_by_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = captured(monkeypatch)
    rows = [labelled_row(1, 40.0, judged=False), labelled_row(2, 70.0), labelled_row(3, 60.0)]
    written = draw_run_plots(rows, tmp_path)
    assert [path.name for path in written] == ["loss.png", "dev_map.png", "correction.png"]
    measured, judged = (figure.axes[0] for figure in figures[1:])
    assert measured.get_title(loc="left") == "Mean average precision on the dev split; best mAP 70.0"
    lines = {line.get_label(): list(line.get_ydata()) for line in measured.lines}
    assert lines["image to text mAP"] == [41.0, 71.0, 61.0]
    assert lines["text to image mAP@100"] == [3.0, 3.0, 3.0]
    assert not any("200" in str(name) for name in lines)  # six lines are enough
    assert {"best epoch: 2", "text to image mAP  69.0"} <= set(words(figures[1]))
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in judged.lines}
    assert lines["corrected right"] == ([2, 3], [70.0, 60.0])
    assert lines["given right"] == ([2, 3], [60.0, 60.0])
    colours = {line.get_label(): line.get_color() for line in measured.lines}
    assert colours["image to text mAP"] == plots._COLOURS[0]
    assert colours["text to image mAP"] == plots._COLOURS[3]
    assert judged.lines[3].get_color() == plots._COLOURS[3]


def test_no_plot_of_corrections_where_the_best_epoch_has_none(tmp_path: Path) -> None:
    rows = [labelled_row(1, 70.0, judged=False), labelled_row(2, 60.0)]
    assert [path.name for path in draw_run_plots(rows, tmp_path)] == ["loss.png", "dev_map.png"]


def test_labelled_plots_keep_within_the_picture(tmp_path: Path) -> None:
    for picture in draw_run_plots([labelled_row(1, 99.0), labelled_row(2, 100.0)], tmp_path):
        found = pixels(picture)
        border = np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]])
        assert (border == 255).all()


@pytest.mark.parametrize(
    "values", [[50, 50, 50], [99, 100, 98, 97], [0, 1, 0.5], [10, 90], [100, 0, 3, 3, 3], [7]]
)
def test_labels_are_spread_in_order_within_limits(values: list[float]) -> None:
    places = spread(values, 5.0, 0.0, 100.0)
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    in_order = [places[i] for i in order]
    assert all(after - before >= 5.0 - 1e-9 for before, after in pairwise(in_order))
    assert min(places) >= 0.0
    assert max(places) <= 100.0


def test_labels_far_apart_stay_where_they_are() -> None:
    assert spread([80, 10, 40], 5.0, 0.0, 100.0) == [80, 10, 40]
