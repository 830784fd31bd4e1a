"""Whole numbers in text from outside: headers, URLs, addresses.

Python's `int` raises for more than 4,300 digits and takes signs, blanks, underscores and digits of
all scripts. What strangers send is read here instead: it never raises, and costs no more than the
length of its bound.
"""

from __future__ import annotations


def bounded_int(text: str, *, maximum: int, base: int = 10) -> int | None:
    """Return the number that `text` writes, None where it is not one.

    Args:
        text: Digits of `base` in ASCII and nothing else; leading zeros count for nothing.
        maximum: Larger numbers give this one, so callers compare with less than it.
        base: 8, 10 or 16, without a prefix.
    """
    if not text or not _DIGITS[base].issuperset(text):
        return None
    significant = text.lstrip("0")
    if len(significant) > len(_written(maximum, base)):
        return maximum
    return min(int(significant or "0", base), maximum)


_DIGITS = {
    8: frozenset("01234567"),
    10: frozenset("0123456789"),
    16: frozenset("0123456789abcdefABCDEF"),
}


def _written(number: int, base: int) -> str:
    return format(number, {8: "o", 10: "d", 16: "x"}[base])
