from __future__ import annotations

import html
import re

import pytest
from hypothesis import given, strategies as st

from noise_injection.printing import visible
from robustcmr.reporting.charts import SERIES, Table, line_chart
from robustcmr.reporting.pages import Section, environment, render, value

HOSTILE = '</p><script>alert(\'x\')</script>" onload="y" & \x00\x1b'


def page(*sections: Section) -> str:
    return render("base.html.j2", "Title", "Lead", sections, "Foot")


def test_text_never_becomes_markup(parse):
    chart = line_chart(HOSTILE, [1, 2], {HOSTILE: [1.0, 2.0]}, HOSTILE, note=HOSTILE)
    table = Table(HOSTILE, (HOSTILE, HOSTILE), [(HOSTILE, HOSTILE)])
    made = page(Section("a", HOSTILE, [HOSTILE], tables=[table], charts=[chart, None]))
    assert "<script" not in made
    assert "\x00" not in made
    assert "\x1b" not in made
    parsed = parse(made)
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    assert parsed.text.count("</p><script>alert('x')</script>") >= 5


def test_pages_are_deterministic():
    chart = line_chart("t", [1, 2], {"a": [1.0, 2.0]}, "y")
    assert page(Section("a", "A", charts=[chart])) == page(Section("a", "A", charts=[chart]))


def test_sections_can_be_folded(parse):
    parsed = parse(page(Section("a", "A"), Section("b", "B", folded=True)))
    assert ("section", {"id": "a", "aria-labelledby": "a-title"}) in parsed.elements
    assert ("details", {"id": "b"}) in parsed.elements
    assert [a["href"] for t, a in parsed.elements if t == "a"] == ["#main", "#a", "#b"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_an_exact_number_stands_behind_the_rounded_one(number):
    assert float(value(number).split('value="')[1].split('"')[0]) == number


def test_values_that_are_no_numbers():
    assert "not known" in value(None)
    assert value(True) == "yes"
    assert value("a<b") == "a<b"  # the template escapes it
    assert value(12345) == '<data value="12345">12,345</data>'
    assert value(0.12345, "share") == '<data value="0.12345">12.3</data>'


@given(st.text())
def test_escaping_is_undone_by_a_browser(text):
    made = environment().from_string("{{ text }}").render(text=text)
    assert html.unescape(made) == visible(text)


def contrast(first: str, second: str) -> float:
    """The ratio of luminances that the web's accessibility guidelines define."""

    def luminance(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_lines_can_be_seen_in_both_themes(theme):
    block = re.search(rf"color-scheme: {theme};([^}}]*)", page())
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block[1]))
    for name in ("ink", "muted", "link", "good", "bad"):
        assert contrast(colours[name], colours["card"]) >= 4.5
        assert contrast(colours[name], colours["page"]) >= 4.5
    for place in range(len(SERIES)):
        assert contrast(colours[f"c{place}"], colours["card"]) >= 3
    assert contrast(colours["ink"], colours["tint"]) >= 4.5  # the deepest cell of a heat map
