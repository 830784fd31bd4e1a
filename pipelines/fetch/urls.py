"""From a URL, or a redirect's Location, to what libcurl is asked for.

In: text from metadata or bytes from a server. Out: a `Target` in printable ASCII, or
the `Outcome` that refuses it. The host found here decides queues and rates only;
what may be reached is decided by `guard` on the address of the socket.
"""

from __future__ import annotations

import re
import socket
import urllib.parse
from dataclasses import dataclass

from shards.numbers import bounded_int
from shards.outcomes import Outcome
from shards.urls import ascii_host, slashes_forward

MAX_URL_BYTES = 16_384
"""Longer ones are data in disguise; servers refuse them anyway."""

DEFAULT_PORTS = {"http": 80, "https": 443}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_HOST = re.compile(r"[a-z0-9._\-]+")
_BREAKS = re.compile("[\t\n\r]")
_BLANK = "".join(map(chr, range(0x21)))
_UNSAFE = re.compile(rb"[^\x21-\x7e]|[\"<>]")


@dataclass(frozen=True, slots=True)
class Target:
    """Where one hop goes."""

    url: str  # printable ASCII, no fragment
    host: str  # lower case, without brackets of IPv6
    port: int


def target(url: str) -> Target | Outcome:
    """Return where `url` leads, or `BAD_URL` / `SCHEME_NOT_ALLOWED`."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return Outcome.BAD_URL
    name = scheme[1].lower()
    if name not in DEFAULT_PORTS:
        return Outcome.SCHEME_NOT_ALLOWED
    rest = slashes_forward(url[scheme.end() :].partition("#")[0])
    authority, tail = _cut(rest.lstrip("/"))
    host, port = _host_and_port(authority, DEFAULT_PORTS[name])
    if not host or port is None:
        return Outcome.BAD_URL
    wire = _quote(tail)
    if wire is None or len(wire) > MAX_URL_BYTES:
        return Outcome.BAD_URL
    shown = f"[{host}]" if ":" in host else host
    suffix = "" if port == DEFAULT_PORTS[name] else f":{port}"
    return Target(f"{name}://{shown}{suffix}{wire}", host, port)


def redirect_target(base: str, location: bytes) -> Target | Outcome:
    """Return where a Location leads from `base`; bytes that are not UTF-8 are read as Latin-1."""
    try:
        text = location.decode("utf-8")
    except UnicodeDecodeError:
        text = location.decode("latin-1")
    try:
        return target(_joined(base, _BREAKS.sub("", text).strip(_BLANK)))
    except ValueError:  # brackets that are no IPv6 address
        return Outcome.BAD_URL


def _joined(base: str, location: str) -> str:
    """Resolve a Location as browsers do, for whom a backslash is a slash.

    `http:/x` stays on the base's host where the scheme is the same; `///b.org/x` leads to b.org.
    """
    before, mark, fragment = location.partition("#")
    location = slashes_forward(before) + mark + fragment
    scheme = urllib.parse.urlsplit(base).scheme
    same = re.match(rf"{scheme}:(?!//)", location, re.IGNORECASE)
    if same is not None:
        location = location[same.end() :]
    elif _SCHEME.match(location):
        return location
    if location.startswith("//"):
        return f"{scheme}://" + location.lstrip("/")
    return urllib.parse.urljoin(base, location)


def is_numeric(host: str) -> bool:
    """Return whether a host is an address in any of the forms libcurl takes for one."""
    if ":" in host:
        return True
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


def _cut(rest: str) -> tuple[str, str]:
    end = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    tail = rest[end:]
    return rest[:end], tail if tail.startswith("/") else "/" + tail


def _host_and_port(authority: str, default: int) -> tuple[str, int | None]:
    if "@" in authority:
        return "", None  # credentials: no image of a public corpus needs them
    bracket = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::(\d*))?", authority)
    if bracket is not None:
        host, port = bracket[1].lower(), bracket[2]
    else:
        host, _, port = authority.partition(":")
        host = ascii_host(host) or ""
        host = host if _HOST.fullmatch(host) else ""
    number = bounded_int(port, maximum=65536) if port else default
    return host, number if number and number < 65536 else None


def _quote(tail: str) -> str | None:
    """Percent-encode what may not stand in a request line; existing escapes stay."""
    try:
        raw = tail.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate
        return None
    return _UNSAFE.sub(lambda m: b"%%%02X" % m[0][0], raw).decode("ascii")
