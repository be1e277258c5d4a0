from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from robustcmr.reporting.page.frame import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Frame, limits, ticks
from robustcmr.reporting.page.heat_map import cell_colours, contrast, heat_map
from robustcmr.reporting.page.histogram import Bars, Curve, Histogram
from robustcmr.reporting.page.line_chart import Line, LineChart
from robustcmr.reporting.page.style import DARK, LIGHT, SERIES, style_sheet

number = st.floats(-1e5, 1e5)


@given(number, st.floats(1e-3, 1e5), st.integers(2, 12))
def test_ticks_are_round_even_and_within(low, span, most):
    found = ticks(low, low + span, most)
    assert 1 <= len(found) <= 2 * most + 1
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in found)
    if len(found) > 1:
        steps = np.diff(found)
        assert steps.max() - steps.min() <= 1e-6 * steps.max()
        assert f"{steps[0]:.0e}"[0] in "125"


def test_whole_ticks():
    assert ticks(1, 3, 8, whole=True) == [1, 2, 3]
    assert ticks(5, 5) == [5]
    assert ticks(0.2, 0.3, 6, whole=True) == [0.2]


@given(st.lists(number, min_size=1, max_size=5), st.one_of(st.none(), st.just(0.0)))
def test_limits_hold_all_values(values, floor):
    low, high = limits(values, floor)
    room = 1e-6 * (high - low)
    assert low - room <= min(values)
    assert max(values) <= high + room
    assert high > low
    if floor is not None:
        assert low <= floor


def test_a_frame_places_its_corners():
    frame = Frame((0, 10), (0, 1))
    assert (frame.across(0), frame.across(10)) == (LEFT, WIDTH - RIGHT)
    assert (frame.up(0), frame.up(1)) == (HEIGHT - BOTTOM, TOP)
    assert frame.up(5) == TOP  # cut off, not drawn outside


def chart(**changes):
    given_lines = [Line("first", [1.0, None, 3.0, 4.0]), Line("second", [2.0, 2.0, 2.0, float("nan")])]
    return LineChart(**{"x": [1, 2, 3, 4], "lines": given_lines, "x_name": "epoch", "y_name": "y", **changes})


def test_a_line_has_a_gap_where_it_has_no_value():
    drawn = chart().draw()
    first, second = re.findall(r'<path d="([^"]*)" class="curve', drawn)
    assert [step[0] for step in re.findall(r"[ML][^ML]*", first)] == ["M", "M", "L"]
    assert [step[0] for step in re.findall(r"[ML][^ML]*", second)] == ["M", "L", "L"]
    assert drawn.count('class="dot') == 6


def test_points_lie_where_their_numbers_are():
    drawn = LineChart([0, 1, 2], [Line("a", [0.0, 5.0, 10.0])], "x", "y").draw()
    points = [
        tuple(map(float, pair.split())) for pair in re.findall(r"[ML]([\d. ]+)", drawn.split('<path d="')[1])
    ][:3]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.02)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.02)
    assert y0 > y2  # larger is higher


def test_a_chart_says_in_words_what_it_shows():
    said = chart().describe()
    assert "first from 1.00 to 4.00" in said
    assert "second from 2.00 to 2.00" in said
    assert "third not known" in chart(lines=[Line("third", [None] * 4)]).describe()
    assert 'role="img"' in chart().draw()
    assert "first from 1.00" in chart().draw()


def test_lines_differ_by_more_than_colour():
    lines = [Line(str(i), [float(i)] * 4) for i in range(SERIES)]
    drawn = chart(lines=lines)
    dots = re.findall(r'<path d="([^"]*)" transform="[^"]*" class="dot', drawn.legend())
    assert len(set(dots)) == SERIES
    assert (
        len({re.search(r"d\d", c)[0] for c in re.findall(r'class="(curve[^"]*)"', drawn.legend())}) == SERIES
    )


def test_error_bars_reach_one_deviation_either_way():
    line = Line("a", [10.0, 20.0], [2.0, None])
    drawn = LineChart([0, 1], [line], "x", "y", floor=0).draw()
    (path,) = re.findall(r'<path d="([^"]*)" class="band', drawn)
    top, bottom = float(path.split()[1].split("h")[0]), float(re.search(r"V([\d.]+)", path)[1])
    frame = Frame((-0.02, 1.02), limits([8.0, 12.0, 20.0], 0))
    assert top == pytest.approx(frame.up(12), abs=0.02)
    assert bottom == pytest.approx(frame.up(8), abs=0.02)


def test_ten_thousand_epochs_are_one_path_without_dots():
    n = 10_000
    drawn = LineChart(list(range(n)), [Line("a", [float(i % 7) for i in range(n)])], "epoch", "y").draw()
    assert 'class="dot' not in drawn
    assert drawn.count("<path") == 1
    assert len(drawn) < 250_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x": []}, "nothing to draw"),
        ({"lines": [Line("a", [1.0])]}, "1 values for 4 places"),
        ({"lines": [Line("a", [1.0] * 4)] * (SERIES + 1)}, "7 lines"),
    ],
)
def test_a_chart_that_cannot_be_drawn(changes, said):
    with pytest.raises(ValueError, match=said):
        chart(**changes)


def test_one_point_a_mark_and_a_ceiling():
    drawn = LineChart(
        [3], [Line("a", [50.0])], "epoch", "%", floor=0, ceiling=100, mark=(3, "best: 3")
    ).draw()
    assert "best: 3" in drawn
    assert 'class="mark"' in drawn
    beyond = LineChart([1], [Line("a", [150.0])], "epoch", "%", floor=0, ceiling=100)
    assert beyond._y_limits()[1] >= 150


def histogram(**changes):
    given_parts = {
        "edges": [0.0, 1.0, 2.0],
        "bars": [Bars("right", [0.2, 0.1], 3), Bars("wrong", [0.0, 0.3], 3)],
        "curves": [Curve("fit", [0.0, 1.0, 2.0], [0.1, float("inf"), 0.2])],
        "cut": 1.5,
        "top": 0.4,
        "x_name": "evidence",
        "y_name": "density",
    }
    return Histogram(**{**given_parts, **changes})


def test_bars_stand_on_each_other():
    rects = re.findall(r'<rect x="[\d.]+" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', histogram().draw())
    tops = [(float(y), float(h)) for y, h in rects]
    assert len(tops) == 3  # an empty bar is not drawn
    (first_y, first_h), (second_y, second_h), (third_y, third_h) = tops
    assert third_y + third_h == pytest.approx(second_y, abs=0.03)
    assert first_h == pytest.approx(2 * second_h, abs=0.03)
    assert third_h == pytest.approx(3 * second_h, abs=0.03)
    assert first_y + first_h == pytest.approx(HEIGHT - BOTTOM, abs=0.03)


def test_a_histogram_tells_counts_cut_and_curves():
    made = histogram()
    assert "3 right and 3 wrong" in made.describe()
    assert "parted at 1.50" in made.describe()
    assert "suspected above 1.50" in made.legend()
    assert made.draw().count('class="cut"') == 1
    assert len(re.search(r'points="([^"]*)"', made.draw())[1].split()) == 4  # the infinite one is left out
    assert 'class="cut"' not in histogram(cut=None).draw() + histogram(cut=None).legend()


@given(st.one_of(st.none(), st.floats(-1, 2)))
def test_every_cell_can_be_read(share):
    assert contrast(*cell_colours(share)) >= 4.5


def test_contrast_of_known_colours():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_a_heat_map_is_a_table_with_scopes():
    made = heat_map("what", "truth", ["a", "b"], ["c"], [[0.5], [None]], lambda v: v, lambda v: f"{v:.1f}")
    assert made.count('scope="col"') == 2
    assert made.count('scope="row"') == 2
    assert ">0.5</td>" in made
    assert ">–</td>" in made


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_lines_stand_out_in_both_themes(theme):
    for ink in ("ink", "muted", "link", "good", "bad"):
        for back in ("page", "card"):
            assert contrast(theme[ink], theme[back]) >= 4.5, (ink, back)
    for line in [f"c{i}" for i in range(SERIES)] + ["axis", "accent"]:
        assert contrast(theme[line], theme["card"]) >= 3, line
    assert LIGHT.keys() == DARK.keys()


def test_the_style_sheet_asks_for_nothing_from_outside():
    sheet = style_sheet()
    assert "url(" not in sheet
    assert "@import" not in sheet
    for words in (
        "prefers-color-scheme:dark",
        "prefers-reduced-motion",
        "#theme-dark:checked",
        "content-visibility",
    ):
        assert words in sheet
    used = set(re.findall(r"var\(--(\w+)\)", sheet))
    assert used <= LIGHT.keys()
