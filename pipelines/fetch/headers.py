"""What a response's header lines say that matters before its body arrives.

In: header lines as libcurl hands them over, one at a time. Out: a `Head` with the
status, the announced length, the coding of the body and the reservations of rights.
"""

from __future__ import annotations

import email.utils
import re
from dataclasses import dataclass

OPT_OUT_DIRECTIVES = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
"""X-Robots-Tag words that keep an image out; `none` is defined as noindex and nofollow."""

INFLATABLE = frozenset({"gzip", "x-gzip", "deflate"})
REFUSED_CODINGS = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})
"""Never asked for. Unknown words (`none`, `utf-8`, ...) are misconfigured servers: ignored."""

_READ = frozenset(
    {
        b"content-length",
        b"content-encoding",
        b"x-robots-tag",
        b"tdm-reservation",
        b"retry-after",
    }
)
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})")


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
            self.complete = self.status >= 200  # 1xx is followed by the real one
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
            self.content_length = int(value) if value.isascii() and value.isdecimal() else None
        elif name == b"content-encoding":
            words = (word.strip().lower() for word in value.split(","))
            known = INFLATABLE | REFUSED_CODINGS
            self.codings += tuple(word for word in words if word in known)
        elif name == b"x-robots-tag":
            self.opt_out = self.opt_out or reserves_rights(value)
        elif name == b"tdm-reservation":
            self.opt_out = self.opt_out or value == "1"
        elif name == b"retry-after":
            self.retry_after = value


def reserves_rights(robots_tag: str) -> bool:
    """Return whether an X-Robots-Tag value keeps images out, whichever crawler it names.

    `noindex`, `otherbot: noindex, nofollow` and `a: nofollow, b: noai` all do: a
    crawler the site does not know by name cannot be named.
    """
    words = (word.rpartition(":")[2].strip().lower() for word in robots_tag.split(","))
    return any(word in OPT_OUT_DIRECTIVES for word in words)


def retry_after_s(value: str | None, now: float) -> float | None:
    """Return the seconds a Retry-After asks for, None where it is absent or unreadable.

    Args:
        value: delta seconds or an HTTP date.
        now: seconds since the epoch, the clock an HTTP date is compared with.
    """
    if value is None:
        return None
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
        return max(0.0, moment.timestamp() - now)
    except (ValueError, OverflowError, TypeError):
        return None
