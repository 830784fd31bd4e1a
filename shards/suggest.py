"""What somebody may have meant: the nearest of the known names, as the end of an error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that is most like `name`; None where none is like it."""
    return next(iter(difflib.get_close_matches(name, list(known), 1, cutoff)), None)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `did you mean X?`, or `known: A, B, C` where no name is like it."""
    names = list(known)
    close = nearest(name, names)
    return f"did you mean {close}?" if close else f"known: {', '.join(names)}"
