"""img2dataset's free-text errors as outcomes: what Python's urllib and its resizer say.

In: one message. Out: an `Outcome` and a message that is the same on every machine; a text that
nobody foresaw is ENGINE_ERROR with its own words, cut short.
"""

from __future__ import annotations

import re

from pipelines.fetch.results import status_outcome
from shards.outcomes import Outcome

MAX_MESSAGE = 120
"""Longest text taken over, in characters: some errors quote a whole URL or page."""

_STATUS = re.compile(r"HTTP Error ([0-9]{3})")

# The first that matches counts; numbers are Linux's errno and getaddrinfo codes.
_TEXTS = tuple(
    (re.compile(pattern, re.IGNORECASE), outcome)
    for pattern, outcome in (
        (r"redirect error that would lead to an infinite loop", Outcome.TOO_MANY_REDIRECTS),
        (r"disallowed by X-Robots-Tag", Outcome.OPT_OUT),
        (r"\[Errno -[0-9]+\]|name resolution|name or service not known", Outcome.DNS_ERROR),
        (r"\[SSL|certificate verify failed|ssl\.c:", Outcome.TLS_ERROR),
        (r"timed out", Outcome.TIMEOUT),
        (r"\[Errno (?:101|111|113)\]", Outcome.CONNECT_ERROR),
        (r"IncompleteRead", Outcome.BODY_TRUNCATED),
        (r"unknown url type|redirection to url", Outcome.SCHEME_NOT_ALLOWED),
        (r"control characters|nonnumeric port|no host given", Outcome.BAD_URL),
        (r"'(?:ascii|idna)' codec|label empty", Outcome.BAD_URL),
        (r"\[Errno (?:32|103|104)\]|Remote end closed|BadStatusLine", Outcome.NETWORK_ERROR),
        (r"Image decoding error", Outcome.DECODE_FAILED),
        (r"imencode|could not encode", Outcome.ENCODE_FAILED),
    )
)


def outcome_of(text: str | None) -> tuple[Outcome, str | None]:
    """Return the outcome that an error of img2dataset stands for, and what to tell people.

    The text is dropped where the outcome says it all, because it may quote addresses.
    """
    text = text or "no message"
    status = _STATUS.search(text)
    for pattern, outcome in _TEXTS:
        if pattern.search(text):
            return outcome, None
    if status:
        return status_outcome(int(status[1])), f"HTTP {status[1]}"
    return Outcome.ENGINE_ERROR, _bounded(text)


def _bounded(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_MESSAGE else f"{line[: MAX_MESSAGE - 1]}…"
