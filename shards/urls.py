"""URLs read as browsers read them: what the canonical form and the fetcher have in common.

A backslash before the query is a slash. A host goes on the wire in lower case and A-labels; a
symbol such as a heart is not a letter to IDNA 2008 and has a name all the same: browsers map by
UTS 46 and encode what is left, and so does this where the strict way refuses.
"""

from __future__ import annotations

import re
import unicodedata

import idna

MAX_CHARACTERS = 254
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f%<>\[\]\\^`{|}\"@:/?#]")
_JOINERS = frozenset("\u200c\u200d")  # between most letters they make a name that only looks alike


def slashes_forward(text: str) -> str:
    """Return text of a web URL with the backslashes before its query turned."""
    before, mark, query = text.partition("?")
    return before.replace("\\", "/") + mark + query


def ascii_host(host: str) -> str | None:
    """Return the ASCII form of a host name or IPv4 address, None where it has none."""
    if len(host) > MAX_CHARACTERS:
        return None  # and idna takes the square of the length for some
    try:
        ascii_form = host.lower() if host.isascii() else _encoded(host)
    except (idna.IDNAError, UnicodeError):
        return None
    return None if not ascii_form or _FORBIDDEN.search(ascii_form) else ascii_form


def _encoded(host: str) -> str:
    try:
        return idna.encode(host, uts46=True, transitional=False).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        mapped = idna.uts46_remap(host, std3_rules=False, transitional=False)
        return ".".join(map(_label, mapped.split(".")))


def _label(label: str) -> str:
    if label.isascii():
        return label
    if unicodedata.category(label[0]).startswith("M") or not _JOINERS.isdisjoint(label):
        raise idna.IDNAError(f"{label!r} begins with a mark, or has a joiner")
    encoded = "xn--" + label.encode("punycode").decode("ascii")
    if len(encoded) > 63:
        raise idna.IDNAError(f"{label!r} is longer than 63 octets")
    return encoded
