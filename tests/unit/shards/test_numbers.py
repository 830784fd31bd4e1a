"""Whole numbers from outside: never an exception, never more than the bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.numbers import bounded_int

NUMBERS = [
    ("0", 10, 0),
    ("0012", 10, 12),
    ("255", 10, 255),
    ("256", 10, 255),
    ("9" * 5000, 10, 255),
    ("0" * 5000 + "9", 10, 9),
    ("ff", 16, 255),
    ("F" * 5000, 16, 255),
    ("377", 8, 255),
    ("8", 8, None),
    ("", 10, None),
    ("-1", 10, None),
    ("+1", 10, None),
    (" 1", 10, None),
    ("1_0", 10, None),
    ("\u0661", 10, None),  # a digit, but not one of ASCII
    ("\u00b2", 10, None),
    ("1e3", 10, None),
]


@pytest.mark.parametrize(("text", "base", "expected"), NUMBERS)
def test_numbers(text: str, base: int, expected: int | None) -> None:
    assert bounded_int(text, maximum=255, base=base) == expected


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=2**70))
def test_a_number_is_read_as_python_reads_it_up_to_the_bound(number: int, maximum: int) -> None:
    assert bounded_int(str(number), maximum=maximum) == min(number, maximum)
    assert bounded_int(f"{number:x}", maximum=maximum, base=16) == min(number, maximum)
    assert bounded_int(f"{number:o}", maximum=maximum, base=8) == min(number, maximum)


@given(st.text())
def test_any_text_is_a_number_or_none(text: str) -> None:
    number = bounded_int(text, maximum=1000)
    assert number is None or 0 <= number <= 1000
