"""Text that a spreadsheet would run gets a quote, which comes off again."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from noise_injection.formulas import is_formula, neutral, original


@pytest.mark.parametrize(
    "cell",
    ["=cmd|' /C calc'!A0", "@SUM(A1)", "+49 30", "- a dash", "-A1", "\t=1", "\r=1", "\uff1d1+1", "=", "+-1"],
)
def test_formulas_get_a_quote(cell: str) -> None:
    assert is_formula(cell)
    assert neutral(cell) == f"'{cell}"
    assert not is_formula(neutral(cell))


@pytest.mark.parametrize("cell", ["", "a dog", "a=b", "-3.5", "+1e5", "'quoted'", " =1", "[=1]", "é"])
def test_other_text_and_numbers_stay(cell: str) -> None:
    assert not is_formula(cell)
    assert neutral(cell) == original(cell) == cell


@given(st.text(st.sampled_from("'=+-@\t\r\n1.a")) | st.text())
def test_the_quote_comes_off_again(cell: str) -> None:
    assert original(neutral(cell)) == cell
    assert not is_formula(neutral(cell))
