"""Text of the web made fit to be shown, and numbers as people read them."""

from __future__ import annotations

import re

CAPTION_CHARS = 300

# Nothing that a browser could take for structure, and no half of a surrogate pair: UTF-8 has none.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_WEB_ADDRESS = re.compile(r"https?://[^\s\x00-\x1f\x7f]+", re.IGNORECASE)


def shown(value: object, limit: int = CAPTION_CHARS) -> str:
    """Return the first `limit` code points, each in its place, and an ellipsis if there were more.

    Markup is not escaped here: the template does that.
    """
    if value is None:
        return ""
    text = str(value)
    cut = _UNSHOWABLE.sub("\ufffd", text[:limit])
    return f"{cut}…" if len(text) > limit else cut


def web_address(url: object) -> str | None:
    """Return a URL that may become a link: http and https, nothing else."""
    return url if isinstance(url, str) and _WEB_ADDRESS.fullmatch(url) else None


def number(value: int) -> str:
    """Return a count with its thousands apart."""
    return f"{value:,}"


def percent(part: float, whole: float) -> str:
    """Return a share in per cent; a small one is never called nothing."""
    if not whole:
        return "n/a"
    value = 100 * part / whole
    return "< 0.01 %" if 0 < value < 0.01 else f"{value:.2f} %"
