import math
import re

import pytest
from hypothesis import given, strategies as st

from robustcmr.reporting.numbers import as_text


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0.3707, "share", "37.1"),
        (0.0, "share", "0.0"),
        (44.04, "percent", "44.0"),
        (-0.11012, "score", "-0.11"),
        (-0.001, "score", "0.00"),
        (0.003015, "margin", "+0.00"),
        (-0.125, "margin", "-0.12"),
        (11.32, "evidence", "11.3"),
        (7500, "number", "7,500"),
        (12.4008, "number", "12.4"),
        (9.69e-4, "number", "0.000969"),
        (1234.56, "number", "1,235"),
        (0.0, "number", "0"),
        (1e-9, "number", "<0.000001"),
        (math.inf, "number", "∞"),
        (math.nan, "share", "–"),
        (None, "number", "–"),
        (True, "number", "yes"),
        ("text", "number", "text"),
    ],
)
def test_a_number_has_one_form(value, form, text):
    assert as_text(value, form) == text


@given(st.floats(1e-6, 1e12))
def test_numbers_have_no_exponent_and_are_close(value):
    text = as_text(value)
    assert re.fullmatch(r"[\d,]+(\.\d{1,6})?", text)
    assert float(text.replace(",", "")) == pytest.approx(value, rel=5.1e-4, abs=5.1e-7)
