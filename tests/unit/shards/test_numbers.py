"""Whole numbers from outside: never an exception, never more than the bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.numbers import bounded_int

NUMBERS = [
    ("0", 0),
    ("0012", 12),
    ("255", 255),
    ("256", 255),
    ("9" * 5000, 255),
    ("0" * 5000 + "9", 9),
    ("", None),
    ("-1", None),
    ("+1", None),
    (" 1", None),
    ("1_0", None),
    ("\u0661", None),  # a digit, but not one of ASCII
    ("\u00b2", None),
    ("1e3", None),
]


@pytest.mark.parametrize(("text", "expected"), NUMBERS)
def test_numbers(text: str, expected: int | None) -> None:
    assert bounded_int(text, maximum=255) == expected


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=2**70))
def test_a_number_is_read_as_python_reads_it_up_to_the_bound(number: int, maximum: int) -> None:
    assert bounded_int(str(number), maximum=maximum) == min(number, maximum)


@given(st.text())
def test_any_text_is_a_number_or_none(text: str) -> None:
    number = bounded_int(text, maximum=1000)
    assert number is None or 0 <= number <= 1000
