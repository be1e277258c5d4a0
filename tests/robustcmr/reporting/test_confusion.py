from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from robustcmr.errors import UserError
from robustcmr.reporting.charts import Chart
from robustcmr.reporting.confusion import confusion_chart


def counts(k: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 9, (k, k)) + 50 * np.eye(k, dtype=np.int64)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Draw; returns both heat maps, the chart, and the picture."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, file: Any, **options: Any) -> None:
        figures.append(self)
        save(self, file, **options)

    def draw(
        given: np.ndarray, corrected: np.ndarray, names: list[str]
    ) -> tuple[Any, Any, np.ndarray, Chart]:
        monkeypatch.setattr(Figure, "savefig", keep)
        path = tmp_path / "plots" / "confusion.png"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            chart = confusion_chart(given, corrected, names)
            chart.save(path)
        assert [file.name for file in path.parent.iterdir()] == ["confusion.png"]
        with Image.open(path) as image:
            picture = np.asarray(image.convert("RGB"))
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (border == 255).all()  # nothing is cut off at the edge
        above, below = figures[-1].axes[:2]
        return above, below, picture, chart

    return draw


def cells(axes: Any) -> dict[tuple[int, int], str]:
    """Numbers in the cells by row and column; captions stand elsewhere."""
    return {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text()
        for text in axes.texts
        if text.get_text().lstrip("<").isdigit()
    }


def test_both_maps_hold_the_shares_of_their_rows(drawn: Any) -> None:
    given, corrected = counts(6), counts(6, 1)
    names = [f"class {i}" for i in range(6)]
    left, right, _, _ = drawn(given, corrected, names)
    for axes, matrix, kind in ((left, given, "Given"), (right, corrected, "Corrected")):
        expected = np.array([[cell / sum(row) for cell in row] for row in matrix])
        np.testing.assert_allclose(axes.images[0].get_array(), expected)
        found = cells(axes)
        for row, column in np.ndindex(6, 6):
            text = found.get((row, column), "")
            share = 100 * expected[row, column]
            if text == "":
                assert share == 0
            elif text == "<1":
                assert 0 < share < 0.5
            else:
                assert abs(int(text) - share) <= 0.5
        accuracy = sum(matrix[i, i] for i in range(6)) / matrix.sum()
        assert axes.get_title("left") == f"{kind} labels: {accuracy:.1%} right"
        assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert [label.get_text() for label in left.get_yticklabels()] == names
    assert right.get_ylabel() == left.get_ylabel() == "true class"
    assert left.images[0].norm.vmin == right.images[0].norm.vmin == 0
    assert left.images[0].norm.vmax == right.images[0].norm.vmax == 1


def test_the_first_row_is_on_top_and_dark_means_much(drawn: Any) -> None:
    matrix = np.array([[9, 1], [4, 6]])
    left, _, picture, _ = drawn(matrix, matrix, ["a", "b"])
    low, high = left.get_ylim()
    assert low > high
    colours = left.images[0].cmap(left.images[0].norm(np.array([0.0, 0.01, 0.1, 0.4, 0.6, 0.9, 1.0])))
    brightness = colours[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) < 0).all()  # so it can be read without seeing hues
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 4


def contrast(first: np.ndarray, second: np.ndarray) -> float:
    """The ratio of luminances that the web's accessibility guidelines define."""

    def luminance(colour: np.ndarray) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    bright, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_numbers_can_be_read_on_every_shade(drawn: Any) -> None:
    from matplotlib.colors import to_rgb

    row = np.arange(20)
    matrix = np.array([np.roll([100 - p, p] + [0] * 18, i) for i, p in enumerate(row * 5 + 1)])
    left, _, _, _ = drawn(matrix, matrix, [str(i) for i in range(20)])
    image = left.images[0]
    shares = image.get_array()
    for text in left.texts:
        column, place = (round(value) for value in text.get_position())
        ground = image.cmap(image.norm(shares[place, column]))
        assert contrast(np.array(to_rgb(text.get_color())), np.array(ground)) > 3


@pytest.mark.parametrize(("k", "numbered"), [(1, True), (20, True), (21, False), (34, False)])
def test_numbers_stand_in_few_cells_only(drawn: Any, k: int, numbered: bool) -> None:
    left, right, _, _ = drawn(counts(k), counts(k), [f"c{i}" for i in range(k)])
    assert bool(cells(left)) == bool(cells(right)) == numbered
    assert len(left.get_xticklabels()) == k


def test_many_classes_are_named_in_part(drawn: Any) -> None:
    left, right, _, chart = drawn(counts(200), counts(200, 1), [f"class {i}" for i in range(200)])
    assert [label.get_text() for label in left.get_yticklabels()] == [f"class {i}" for i in range(0, 200, 6)]
    assert left.get_yticks().tolist() == list(range(0, 200, 6))
    assert "One in 6 of 200 classes is named." in chart.note
    assert left.images[0].get_array().shape == (200, 200)
    assert left.images[0].get_interpolation() == "nearest"
    assert right.images[0].get_array().shape == (200, 200)


def test_a_class_without_pairs_is_grey(drawn: Any) -> None:
    given, corrected = counts(5), counts(5)
    given[2] = corrected[2] = 0
    left, _, picture, chart = drawn(given, corrected, list("abcde"))
    assert np.ma.getmaskarray(left.images[0].get_array()).sum() == 5
    assert "Grey rows: no pair is of that class." in chart.note
    assert (picture == 0xD9).all(axis=2).sum() > 10_000
    assert not [row for row, _ in cells(left) if row == 2]


def test_names_of_all_kinds_fit(drawn: Any) -> None:
    names = ["$x^2", "W" * 60, "two\nlines", "", r"$\frac{$", "{}"]
    left, _, _, _ = drawn(counts(6), counts(6), names)
    assert [label.get_text() for label in left.get_yticklabels()] == [
        "$x^2",
        "W" * 17 + "…",
        "two lines",
        "",
        r"$\frac{$",
        "{}",
    ]


def test_the_tables_hold_the_counts() -> None:
    given, corrected = counts(3), counts(3, 1)
    tables = confusion_chart(given, corrected, ["a", "b", "c"]).tables
    assert [table.caption for table in tables] == ["Given labels", "Corrected labels"]
    for table, matrix in zip(tables, (given, corrected), strict=True):
        assert [row[0] for row in table.rows] == ["a", "b", "c"]
        np.testing.assert_array_equal([row[1:] for row in table.rows], matrix)


@pytest.mark.parametrize(
    ("given", "corrected", "message"),
    [
        (np.ones((2, 3), int), np.ones((3, 3), int), r"given must be \(3, 3\) counts"),
        (np.ones((3, 3), int), np.ones(9, int), "corrected must be"),
        (np.ones((3, 3), int), -np.ones((3, 3), int), "corrected must be"),
        (np.zeros((3, 3), int), np.ones((3, 3), int), "given must be"),
    ],
)
def test_what_does_not_fit_is_refused(given: np.ndarray, corrected: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_chart(given, corrected, ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"\(0, 0\)"):
        confusion_chart(given, corrected, [])


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        confusion_chart(counts(2), counts(2), ["a", "b"]).save(tmp_path / "file" / "x.png")
