"""Charts: the numbers drawn, the words and tables beside them, and the markup they become."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape
from matplotlib.figure import Figure
from PIL import Image

from noise_injection.printing import visible
from robustcmr.errors import UserError
from robustcmr.reporting.charts import SERIES, Chart, histogram, line_chart
from robustcmr.reporting.confusion import confusion_chart

GIVEN = {"first": [1.0, None, 3.0, 4.0], "second": [2.0, 2.0, 2.0, float("nan")]}


def lines(**changes: Any) -> Chart:
    given: dict[str, Any] = {"title": "A title", "x": [1, 2, 3, 4], "lines": GIVEN, "unit": "y"}
    chart = line_chart(**{**given, **changes})
    assert chart is not None
    return chart


def drawn(chart: Chart) -> dict[str, tuple[list[float], list[float]]]:
    """Places and values of each line, by its label without the number behind it."""
    axes = chart.figure.axes[0]
    return {
        container.get_label().rsplit("  ")[0]: (
            list(container[0].get_xdata()),
            list(container[0].get_ydata()),
        )
        for container in axes.containers
    }


def legend(chart: Chart) -> list[str]:
    found = chart.figure.legends[0]
    return [found.get_title().get_text(), *(text.get_text() for text in found.get_texts())]


def test_lines_hold_their_values_with_gaps() -> None:
    found = drawn(lines())
    assert found["first"][0] == [1, 2, 3, 4]
    np.testing.assert_array_equal(found["first"][1], [1, np.nan, 3, 4])
    np.testing.assert_array_equal(found["second"][1], [2, 2, 2, np.nan])
    np.testing.assert_allclose(
        drawn(lines(form="share", lines={"a": [0.5, 1.0, 0.1, 0.25]}))["a"][1], [50, 100, 10, 25]
    )


def test_the_legend_gives_the_values_at_the_mark_or_at_the_end() -> None:
    assert legend(lines()) == ["epoch = 4", "first  4", "second  2"]  # the last known value
    assert legend(lines(mark=3)) == ["epoch = 3", "first  3", "second  2"]
    axes = lines(mark=3).figure.axes[0]
    assert any(list(line.get_xdata()) == [3, 3] for line in axes.lines)
    shares = lines(lines={"a": [0.1, 0.2, 0.3, 0.4567]}, form="share")
    assert legend(shares)[1] == "a  45.7"


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize(
    "name", ["_mine:Matcher", r"$\frac{$", "a\udcff", "a\x00", "a\x1b[31m", "a\u202e<b>&"]
)
def test_any_name_can_be_drawn(name: str, tmp_path: Path) -> None:
    chart = line_chart(name, [1, 2], {name: [1.0, 2.0]}, name)
    assert chart is not None
    chart.save(tmp_path / "chart.png")
    text = chart.svg("key")
    assert escape(visible(name)) in text
    assert not {"\udcff", "\x00", "\x1b", "\u202e"} & set(text)
    counts = np.eye(2, dtype=np.int64)
    confusion_chart(counts, counts, [name, "b"]).save(tmp_path / "classes.png")


def test_a_chart_says_in_words_and_in_a_table_what_it_shows() -> None:
    chart = lines()
    assert chart.description == "A title. first from 1 to 4; second from 2 to 2."
    assert chart.tables[0].columns == ("epoch", "first", "second")
    assert chart.tables[0].rows[:2] == [("1", 1.0, 2.0), ("2", None, 2.0)]
    spread = lines(spreads={"first": [0.1] * 4, "second": [None] * 4})
    assert spread.tables[0].columns == ("epoch", "first", "first ±", "second", "second ±")


def test_lines_differ_by_more_than_colour() -> None:
    chart = lines(lines={str(i): [float(i)] * 4 for i in range(len(SERIES))})
    found = [container[0] for container in chart.figure.axes[0].containers]
    assert len({line.get_marker() for line in found}) == len(SERIES)
    assert len({str(line._dash_pattern) for line in found}) == len(SERIES)
    assert len({line.get_color() for line in found}) == len(SERIES)


def test_error_bars_reach_one_deviation_either_way() -> None:
    chart = lines(x=[0, 1], lines={"a": [10.0, 20.0]}, spreads={"a": [2.0, None]})
    _, _, (bars,) = chart.figure.axes[0].containers[0]
    assert [list(point) for point in bars.get_segments()[0]] == [[0.0, 8.0], [0.0, 12.0]]


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_limits_of_a_share_stay_in_sight(level: float) -> None:
    chart = lines(lines={"a": [level] * 4}, form="share", ceiling=1.0)
    low, high = chart.figure.axes[0].get_ylim()
    assert low <= 100 * level < high <= 105


@pytest.mark.parametrize("epochs", [[1, 2], list(range(1, 26)), list(range(5, 300))])
def test_ticks_are_whole_epochs(epochs: list[int]) -> None:
    chart = lines(x=epochs, lines={"a": [float(i) for i in epochs]})
    chart.figure.canvas.draw()
    ticks = [tick for tick in chart.figure.axes[0].get_xticks() if epochs[0] <= tick <= epochs[-1]]
    assert 1 <= len(ticks) <= 13
    assert all(float(tick).is_integer() for tick in ticks)


def test_one_point_is_no_chart() -> None:
    assert line_chart("t", [1], {"a": [1.0]}, "y") is None
    assert line_chart("t", [1, 2], {"a": [None, 1.0], "b": [None, None]}, "y") is None
    assert line_chart("t", [], {}, "y") is None


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="1 values for 4 places"):
        lines(lines={"a": [1.0]})
    with pytest.raises(ValueError, match="got 7 lines"):
        lines(lines={str(i): [1.0] * 4 for i in range(7)})


def test_ten_thousand_epochs_are_one_path_without_markers() -> None:
    n = 10_000
    chart = lines(x=list(range(n)), lines={"a": [float(i % 7) for i in range(n)]})
    assert chart.figure.axes[0].containers[0][0].get_marker() == "None"
    assert len(chart.tables[0].rows) == 1001
    assert chart.tables[0].rows[1][0] == "10"
    assert "every 10th of 10,000 values" in chart.note
    assert len(chart.svg("a")) < 600_000


class Svg(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id":
                self.ids.append(str(value))
            self.links |= set(
                re.findall(r"#([^)\"]+)", str(value) if "href" in name or "url(" in str(value) else "")
            )


def test_markup_is_deterministic_unique_and_alone() -> None:
    first, again, second = lines().svg("a"), lines().svg("a"), lines().svg("b")
    assert first == again
    assert first.startswith('<svg role="img" aria-label="A title. first from')
    for text in (first, second):
        found = Svg(text)
        assert len(found.ids) == len(set(found.ids))
        assert found.links <= set(found.ids)
    assert not set(Svg(first).ids) & set(Svg(second).ids)
    assert "http" not in first
    assert "font-family" not in first
    assert "<text" in first  # letters, not outlines
    assert "var(--c0)" in first
    assert "var(--ink)" in first
    assert not re.search(r"#[0-9a-f]{6}\b", first)  # every colour follows the theme


def test_hostile_names_are_escaped_and_not_read_as_formulas() -> None:
    hostile = '<script>alert(1)</script> & " $x^2 \\frac{'
    chart = lines(title=hostile, lines={hostile: [1.0, 2.0, 3.0, 4.0]}, unit=hostile)
    text = chart.svg("a")
    assert "<script" not in text
    assert "&lt;script" in text
    assert "$x^2" in text


def test_a_picture_holds_every_line_and_nothing_is_cut_off(tmp_path: Path) -> None:
    chart = lines(lines={str(i): [float(i)] * 4 for i in range(len(SERIES))})
    before = chart.svg("a")
    chart.save(tmp_path / "plots" / "a.png")
    assert chart.svg("a") == before  # the title of the picture is not left behind
    with Image.open(tmp_path / "plots" / "a.png") as image:
        assert image.format == "PNG"
        picture = np.asarray(image.convert("RGB")).astype(int)
    assert (np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]]) == 255).all()
    for colour in SERIES:
        wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(picture - wanted).max(axis=2) <= 3).sum() > 20


def test_pyplot_is_never_loaded(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from robustcmr.reporting.charts import line_chart;"
        "line_chart('t', [1, 2], {'a': [1.0, 2.0]}, 'y').save(pathlib.Path(sys.argv[1]));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), "MPLBACKEND": "TkAgg", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.png")], check=True, env=environment)
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_a_failed_picture_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "loss.png"
    lines().save(path)
    before = path.read_bytes()

    def fail(self: Any, file: Any, **options: Any) -> None:
        file.write(b"half")
        raise RuntimeError("no more")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="no more"):
        lines().save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        lines().save(tmp_path / "file" / "x.png")


def bars(chart: Chart, place: int) -> np.ndarray:
    return np.array([bar.get_height() for bar in chart.figure.axes[0].containers[place]])


def test_bars_are_a_density_split_by_kind() -> None:
    rng = np.random.default_rng(0)
    parts = {"right": rng.normal(0.2, 0.08, 1200), "mismatched": rng.normal(0.6, 0.08, 800)}
    every = np.concatenate(list(parts.values()))
    chart = histogram("t", parts, "evidence", bins=50)
    axes = chart.figure.axes[0]
    edges = np.array([*(bar.get_x() for bar in axes.containers[0]), axes.get_xlim()[1]])
    assert axes.get_xlim() == pytest.approx((every.min(), every.max()))
    for place, values in enumerate(parts.values()):
        expected = [
            ((values >= a) & (values < b)).sum() / 2000 / (b - a) for a, b in itertools.pairwise(edges)
        ]
        expected[-1] += (values == edges[-1]).sum() / 2000 / (edges[-1] - edges[-2])
        np.testing.assert_allclose(bars(chart, place), expected)
    np.testing.assert_allclose([bar.get_y() for bar in axes.containers[1]], bars(chart, 0))  # stacked
    assert legend(chart)[1:] == ["right (1,200)", "mismatched (800)"]
    assert "1,200 right and 800 mismatched" in chart.description
    counts = np.array([row[1:] for row in chart.tables[0].rows])
    assert counts.sum(axis=0).tolist() == [1200, 800]


def test_curves_and_the_cut_are_drawn() -> None:
    at = np.linspace(0, 1, 20)
    density = np.array([np.inf, *np.linspace(1, 0, 19)])  # may diverge at a border
    chart = histogram(
        "t", {"all": np.linspace(0, 1, 200)}, "x", bins=10, cut=0.25, curves={"fit": (at, density)}
    )
    fit, cut = chart.figure.axes[0].lines
    assert np.isnan(fit.get_ydata()[0])
    np.testing.assert_allclose(fit.get_ydata()[1:], density[1:])
    assert list(cut.get_xdata()) == [0.25, 0.25]
    assert {"suspected above 0.25", "fit"} <= set(legend(chart))
    assert "cut at 0.25" in chart.description
    assert chart.figure.axes[0].get_ylim()[1] < 10
    assert not histogram("t", {"all": np.linspace(0, 1, 200)}, "x", bins=10).figure.axes[0].lines


@pytest.mark.parametrize(
    "values",
    [
        [0.0],
        [7.0] * 30,
        [-3.0] * 4,
        [1e20, 1e20 * (1 + 1e-15)],
        [1e-12, 3e-12],
        [0.0] * 997 + [1.0, 2.0, 3e8],
        list(np.random.default_rng(0).standard_cauchy(5000)),
        [0.0] * 600 + list(np.random.default_rng(0).random(400)),
    ],
)
@pytest.mark.filterwarnings("error")
def test_extreme_numbers_are_drawn(values: list[float]) -> None:
    chart = histogram("t", {"all": np.array(values)}, "x", bins=50)
    low, high = chart.figure.axes[0].get_xlim()
    assert low < high
    assert 0 < chart.figure.axes[0].get_ylim()[1] < np.inf
    shown = sum(low <= value <= high for value in values)
    widths = np.array([bar.get_width() for bar in chart.figure.axes[0].containers[0]])
    assert (bars(chart, 0) * widths).sum() == pytest.approx(shown / len(values))
    assert chart.svg("a")


def test_what_is_cut_off_is_said() -> None:
    rng = np.random.default_rng(0)
    inner = rng.normal(0.5, 0.05, 3000)
    chart = histogram("t", {"all": np.array([*inner, 900.0, -900.0, 800.0])}, "x", bins=50)
    assert chart.figure.axes[0].get_xlim()[1] < 2
    assert "3 pairs lie outside the range drawn." in chart.note
    assert "1 pair lies outside" in histogram("t", {"all": np.array([*inner, 900.0])}, "x", bins=50).note
    chart = histogram("t", {"all": np.concatenate([np.zeros(1000), rng.random(1000)])}, "x", bins=50)
    assert chart.figure.axes[0].get_ylim()[1] < bars(chart, 0).max()
    assert f"The highest bar is cut off; it reaches {bars(chart, 0).max():.2f}" in chart.note
    assert histogram("t", {"all": np.array([0.0, 1.0, 2.0])}, "x", bins=5).note == ""
    with pytest.raises(ValueError, match="no numbers to draw"):
        histogram("t", {"all": np.zeros(0)}, "x", bins=5)
