"""URLs that cannot or must not be fetched.

In: `canonical_url` (null where there is none) and the raw `url`. Out: verdicts. Patterns clear
nearly every row; Python looks only at the few hosts that are not plainly public names.

All rules look at the canonical form, or at the raw one where there is none, and a row without a
URL is `url.present`'s business alone. Their order in a preset goes from the specific reason to
the general one: a `data:` URL is `url_scheme` and only then `url_malformed`.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import numpy as np

from filters.addresses import is_allowed, is_public, parse_address, parse_networks
from filters.base import Filter, Verdict, mask_of, verdict_of
from filters.regex import escaped, matching
from filters.urls import has_url, judged, taken, url_text

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("url", "canonical_url")
_ALLOW_HELP = "network blocks in CIDR form whose literal addresses are exempt"

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+-]*):(?![0-9])")
_AUTHORITY = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/?#]*@)?(\[[^\]/?#]*\]|[^:/?#]*)([^/?#]*)")

_CREDENTIALS = r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*@"
_PORT_GIVEN = r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*:[0-9]+(?:[/?#]|$)"
_PLAIN_HOST = r"^https?://(?:[a-z0-9_-]+\.)+[a-z][a-z0-9-]*(?:[:/?#]|$)"

_LOCAL_NAMES = (
    *("alt", "corp", "example", "home", "home.arpa", "internal", "intranet", "invalid", "lan"),
    *("local", "localdomain", "localhost", "onion", "private", "test"),
)
"""Top-level names that never lead to the public web (RFC 6761, 6762, 8375 and common practice)."""

_LOCAL_HOST = rf"^https?://(?:[^/?#]*\.)?(?:{'|'.join(map(escaped, _LOCAL_NAMES))})(?:[:/?#]|$)"

_PIXEL = (
    r"^[^?#]*/(?:(?:1x1|spacer|blank|transparent)\.(?:gif|png)|(?:pixel|cleardot|shim)\.gif)"
    r"(?:[?#]|$)"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class UrlPresent(Filter):
    """Rejects rows without a URL."""

    name = "url.present"
    columns = ("url",)
    reasons = ("url_missing",)
    summary = "There is a URL."

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Reject null, empty and white-space URLs."""
        return verdict_of(~has_url(batch))


@dataclasses.dataclass(frozen=True, kw_only=True)
class UrlScheme(Filter):
    """Rejects schemes other than http and https."""

    name = "url.scheme"
    columns = _COLUMNS
    reasons = ("url_scheme",)
    summary = "The scheme is http or https: no data:, file:, ftp:, blob: and the like."

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """A text without any scheme is left to `url.form`."""
        import pyarrow.compute as pc

        text = url_text(batch)
        web = pc.or_(pc.starts_with(text, "http://"), pc.starts_with(text, "https://"))
        return verdict_of(judged(text, ~mask_of(web), _has_other_scheme))


@dataclasses.dataclass(frozen=True, kw_only=True)
class UrlCredentials(Filter):
    """Rejects URLs with a user name or password in front of the host."""

    name = "url.credentials"
    columns = _COLUMNS
    reasons = ("url_credentials",)
    summary = "There is no user:password@ in front of the host."

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Look for an @ before the path."""
        return verdict_of(matching(url_text(batch), _CREDENTIALS))


@dataclasses.dataclass(frozen=True, kw_only=True)
class UrlHost(Filter):
    """Rejects hosts without a public name: empty, one label, local domains, special addresses."""

    name = "url.host"
    columns = _COLUMNS
    reasons = ("url_host", "url_private_address")
    summary = "The host is a public name or a global unicast address."

    allow_addresses: tuple[str, ...] = dataclasses.field(default=(), metadata={"help": _ALLOW_HELP})

    def __post_init__(self) -> None:
        parse_networks("url.host.allow_addresses", self.allow_addresses)

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Patterns clear plain names; what is left is parsed."""
        text = url_text(batch)
        doubtful = ~matching(text, _PLAIN_HOST) | matching(text, _LOCAL_HOST)
        verdict: Verdict = np.zeros(len(text), dtype=np.int8)
        rows = np.flatnonzero(doubtful)
        verdict[rows] = [self._judge(url) for url in taken(text, rows)]
        return verdict

    def _judge(self, url: str) -> int:
        split = _AUTHORITY.match(url)
        if split is None:
            return 0
        host = split.group(1).lower().removesuffix(".")
        address = parse_address(host)
        if address is not None:
            networks = parse_networks("url.host.allow_addresses", self.allow_addresses)
            return 0 if is_public(address) or is_allowed(address, networks) else 2
        if host.startswith("["):
            return 0  # no address in the brackets: url.form's business
        return int(_is_local_name(host))


@dataclasses.dataclass(frozen=True, kw_only=True)
class UrlPort(Filter):
    """Rejects ports that web servers do not use."""

    name = "url.port"
    columns = _COLUMNS
    reasons = ("url_port",)
    summary = "The port is 80, 443, 8080 or 8443."

    ports: tuple[int, ...] = dataclasses.field(
        default=(80, 443, 8080, 8443), metadata={"help": "TCP ports that are kept"}
    )
    allow_addresses: tuple[str, ...] = dataclasses.field(default=(), metadata={"help": _ALLOW_HELP})

    def __post_init__(self) -> None:
        parse_networks("url.port.allow_addresses", self.allow_addresses)
        for port in self.ports:
            if not 0 < port < 65536:
                raise ValueError(f"url.port.ports must be from 1 to 65535, not {port}")

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Parse the rows that give a port; no port means the scheme's own."""
        text = url_text(batch)
        return verdict_of(judged(text, matching(text, _PORT_GIVEN), self._refuses))

    def _refuses(self, url: str) -> bool:
        split = _AUTHORITY.match(url)
        if split is None or not re.fullmatch(r":[0-9]+", split.group(2)):
            return False
        digits = split.group(2).lstrip(":0")
        if digits in map(str, self.ports):  # as text: int() refuses thousands of digits
            return False
        networks = parse_networks("url.port.allow_addresses", self.allow_addresses)
        return not is_allowed(parse_address(split.group(1)), networks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class UrlForm(Filter):
    """Rejects what cannot be brought to canonical form."""

    name = "url.form"
    columns = _COLUMNS
    reasons = ("url_malformed",)
    summary = "The URL has a canonical form."

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Reject a URL whose canonical form is null."""
        return verdict_of(mask_of(batch.column("canonical_url").is_null()) & has_url(batch))


@dataclasses.dataclass(frozen=True, kw_only=True)
class UrlLength(Filter):
    """Rejects URLs longer than servers accept."""

    name = "url.length"
    columns = _COLUMNS
    reasons = ("url_too_long",)
    summary = "The URL has at most 2048 characters."

    maximum: int = dataclasses.field(
        default=2048, metadata={"help": "longest kept URL, characters"}
    )

    def __post_init__(self) -> None:
        if self.maximum < 1:
            raise ValueError(f"url.length.maximum must be at least 1, not {self.maximum}")

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Count code points."""
        import pyarrow.compute as pc

        return verdict_of(mask_of(pc.greater(pc.utf8_length(url_text(batch)), self.maximum)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class UrlTrackingPixel(Filter):
    """Rejects the file names of tracking pixels.

    Only a whole last path segment counts: words such as `default`, `icon` or `logo` inside a path
    stand in many good URLs (2.4 % of LAION-400M hold `default`).
    """

    name = "url.tracking_pixel"
    columns = _COLUMNS
    reasons = ("url_tracking_pixel",)
    summary = "The last path segment is not 1x1.gif, spacer.gif, blank.gif, pixel.gif or the like."

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Match the last path segment in any casing; the query is not looked at."""
        return verdict_of(matching(url_text(batch), _PIXEL, ignore_case=True))


def _has_other_scheme(url: str) -> bool:
    scheme = _SCHEME.match(url)
    return scheme is not None and scheme.group(1).lower() not in ("http", "https")


def _is_local_name(host: str) -> bool:
    labels = host.split(".")
    numeric = re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]) is not None
    return (
        len(labels) < 2
        or numeric
        or labels[-1] in _LOCAL_NAMES
        or ".".join(labels[-2:]) in _LOCAL_NAMES
    )
