"""What a response's header lines say that matters before its body arrives.

In: header lines as libcurl hands them over, one at a time. Out: a `Head` with the
status, the announced length, the coding of the body and the reservations of rights.
"""

from __future__ import annotations

import email.utils
import re
from dataclasses import dataclass

from shards.numbers import bounded_int

OPT_OUT_DIRECTIVES = frozenset({"noai", "noimageai", "noml", "noindex", "noimageindex", "none"})
"""X-Robots-Tag words that keep an image out; `none` is defined as noindex and nofollow."""

_WITH_VALUE = re.compile(r"max-(?:image-preview|video-preview|snippet)\s*[:=]\s*[\w-]+")
"""Directives whose value is not a directive: `max-image-preview: none` hides a preview only."""

_NO_TRAINING = re.compile(
    r"(?<![\w-])(?:train-ai|train-genai|ai-train|genai|ai|tdm|bots)\s*=\s*[\"']?(?:n|no|\?0)(?![\w-])"
)
"""`Content-Usage: train-ai=n` of the IETF's preferences draft with its earlier category names, and
`Content-Signal: ai-train=no`."""

INFLATABLE = frozenset({"gzip", "x-gzip", "deflate"})
REFUSED_CODINGS = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})
"""Never asked for. Unknown words (`none`, `utf-8`, ...) are misconfigured servers: ignored."""

_READ = frozenset(
    {
        b"content-length",
        b"content-encoding",
        b"x-robots-tag",
        b"tdm-reservation",
        b"content-usage",
        b"content-signal",
        b"retry-after",
    }
)
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?!\d)")
_SWITCHING = 101  # final, although 1xx: what follows is not HTTP any more
_MOST_BYTES = 2**63 - 1
_MOST_S = 999_999_999  # thirty years


@dataclass(slots=True)
class Head:
    """Header fields of one response; lines before the last status line are forgotten."""

    status: int = 0
    complete: bool = False  # the blank line of a final response has been seen
    content_length: int | None = None  # bytes
    codings: tuple[str, ...] = ()
    opt_out: bool = False
    retry_after: str | None = None
    location: bytes | None = None

    def feed(self, line: bytes) -> bool:
        """Take one line with its line break; return True when it ends a final response's head."""
        if self.complete:
            return False  # a trailer after a chunked body
        if line.startswith(b"HTTP/"):
            self._start(line)
        elif line in (b"\r\n", b"\n"):
            # Other 1xx heads are followed by the real one.
            self.complete = self.status >= 200 or self.status == _SWITCHING
            return self.complete
        else:
            name, _, value = line.partition(b":")
            name = name.strip().lower()
            if name == b"location":
                self.location = value.strip() or None
            elif name in _READ:
                self._take(name, value.decode("latin-1").strip())
        return False

    def _start(self, line: bytes) -> None:
        match = _STATUS.match(line)
        self.status = int(match[1]) if match else 0
        self.content_length, self.retry_after = None, None
        self.location = None
        self.codings, self.opt_out = (), False

    def _take(self, name: bytes, value: str) -> None:
        if name == b"content-length":
            self.content_length = bounded_int(value, maximum=_MOST_BYTES)
        elif name == b"content-encoding":
            words = (word.strip().lower() for word in value.split(","))
            known = INFLATABLE | REFUSED_CODINGS
            self.codings += tuple(word for word in words if word in known)
        elif name == b"x-robots-tag":
            self.opt_out = self.opt_out or reserves_rights(value)
        elif name == b"tdm-reservation":
            self.opt_out = self.opt_out or reserves_mining(value)
        elif name in (b"content-usage", b"content-signal"):
            self.opt_out = self.opt_out or bool(_NO_TRAINING.search(value.lower()))
        elif name == b"retry-after":
            self.retry_after = value


def reserves_rights(robots_tag: str) -> bool:
    """Return whether an X-Robots-Tag value keeps images out, whichever crawler it names.

    `noindex`, `otherbot: noindex, nofollow` and `a: nofollow; b: "noai"` all do: a crawler the site
    does not know by name cannot be named. Servers separate words by commas, semicolons and blanks.
    """
    words = re.split(r"[^\w-]+", _WITH_VALUE.sub(" ", robots_tag.lower()))
    return not OPT_OUT_DIRECTIVES.isdisjoint(words)


def reserves_mining(tdm_reservation: str) -> bool:
    """Return whether a TDM-Reservation value is 1: also quoted, in a list, with parameters."""
    values = re.split(r"[,;\s]+", tdm_reservation.lower())
    return any(value.strip("\"'") in ("1", "?1", "true") for value in values)


def retry_after_s(value: str | None, now: float) -> float | None:
    """Return the seconds a Retry-After asks for, None where it is absent or unreadable.

    Args:
        value: delta seconds or an HTTP date.
        now: seconds since the epoch, the clock an HTTP date is compared with.
    """
    if value is None:
        return None
    delay_s = bounded_int(value, maximum=_MOST_S)
    if delay_s is not None:
        return float(delay_s)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        return max(0.0, moment.timestamp() - now)
    except (ValueError, OverflowError, TypeError):
        return None
