"""Whole numbers in text from outside: headers, ports.

Python's `int` raises for more than 4,300 digits and takes signs, blanks, underscores and digits of
all scripts. What strangers send is read here instead: it never raises.
"""

from __future__ import annotations

_DIGITS = frozenset("0123456789")


def bounded_int(text: str, *, maximum: int) -> int | None:
    """Return the number that `text` writes, None where it is not one.

    Args:
        text: ASCII digits and nothing else; leading zeros count for nothing.
        maximum: Larger numbers give this one, so callers compare with less than it.
    """
    if not text or not _DIGITS.issuperset(text):
        return None
    significant = text.lstrip("0")
    if len(significant) > len(str(maximum)):
        return maximum
    return min(int(significant or "0"), maximum)
