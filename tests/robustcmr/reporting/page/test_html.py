from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st
from robustcmr.reporting.page.html import Html, escape, joined, one_decimal, place, rounded, shown, tag


def test_text_never_becomes_markup():
    hostile = '</p><script>alert(\'x\')</script>" onload="y" & \x00\x1b'
    made = tag("p", hostile, title=hostile)
    assert "<script" not in made
    assert made.count("<") == 2
    assert "\x00" not in made
    assert "\x1b" not in made
    assert 'onload="' not in made


def test_markup_is_put_in_as_it_is_and_only_once_escaped():
    assert tag("p", tag("b", "a < b")) == "<p><b>a &lt; b</b></p>"
    assert escape(escape("&")) == "&amp;"
    assert joined("a", None, Html("<i></i>"), 3) == "a<i></i>3"


def test_attributes():
    made = tag("input", type="radio", checked=True, disabled=False, hidden=None, class_="a", aria_label="b")
    assert made == '<input type="radio" checked class="a" aria-label="b">'
    assert tag("line", x1=1.0, y1=2.345) == '<line x1="1" y1="2.35"></line>' or "2.34" in tag(
        "line", y1=2.345
    )


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_an_exact_number_stands_behind_the_rounded_one(value):
    made = shown(value)
    assert float(made.split('value="')[1].split('"')[0]) == value


@given(st.floats(-1e6, 1e6))
def test_what_is_shown_is_the_number_to_four_digits(value):
    assert float(rounded(value).replace(",", "")) == pytest.approx(value, rel=6e-4, abs=1e-300)


def test_values_that_are_no_numbers():
    assert "not known" in shown(None)
    assert shown(True) == "yes"
    assert shown(False) == "no"
    assert shown("a<b") == "a&lt;b"
    assert shown(12345) == '<data value="12345">12,345</data>'
    assert rounded(float("nan")) == "nan"
    assert rounded(0.0) == "0.000"
    assert rounded(1e-7) == "1.000e-07"
    assert one_decimal(12.345) == '<data value="12.345">12.3</data>'


@given(st.floats(-1e4, 1e4))
def test_places_are_short_and_right(value):
    assert float(place(value)) == pytest.approx(value, abs=0.0051)


@given(st.text())
def test_escaping_is_undone_by_a_browser(text):
    back = html.unescape(escape(text))
    assert len(back) == len(text)
    assert all(a in (b, "\N{REPLACEMENT CHARACTER}") for a, b in zip(back, text, strict=True))
