r"""The one regex dialect of all rules, and how a pattern meets a column.

Arrow runs RE2, where `\b \w \s \d` know ASCII only and would disagree with every other engine
in the middle of a word in another script. So patterns spell their classes out: `\pL`, `\pN`,
`\pM`, `[0-9]`, `[ ]`. A test refuses the short forms anywhere in this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from filters.base import Mask, mask_of

if TYPE_CHECKING:
    import pyarrow as pa

WORD_CHARACTER = r"\pL\pN\pM_"
"""Inside a class: what continues a word. A combining mark belongs to the letter before it."""


def bounded(alternation: str) -> str:
    """Wrap a pattern so that it only matches whole words.

    The match includes the neighbouring characters, so it is for testing, not for extraction.
    """
    edge = f"[^{WORD_CHARACTER}]"
    return f"(?:^|{edge})(?:{alternation})(?:$|{edge})"


def escaped(text: str) -> str:
    """Quote the characters that mean something in a pattern; letters of any script stay."""
    return "".join(f"\\{c}" if c in r"\.+*?()|[]{}^$-&#~" else c for c in text)


def matching(column: pa.Array, pattern: str, *, ignore_case: bool = False) -> Mask:
    """Return which rows hold a match of `pattern`, shape (rows,); null rows do not."""
    import pyarrow.compute as pc

    return mask_of(pc.match_substring_regex(column, pattern, ignore_case=ignore_case))
