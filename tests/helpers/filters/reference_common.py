"""What the parts of the slow reference share: rows, answers, and how characters are told apart."""

from __future__ import annotations

import unicodedata
from typing import Any

Row = dict[str, Any]
Answer = str | None


def ascii_fold(text: str) -> str:
    """Lower-case ASCII, and the two characters that fold to it in Unicode."""
    folded = "".join(c.lower() if c.isascii() else c for c in text)
    return folded.replace("\u017f", "s").replace("\u212a", "k")


def category(character: str) -> str:
    return unicodedata.category(character)[0]


def listed(text: str) -> list[str]:
    """Cut a list written as one text at its white space."""
    return text.split()
