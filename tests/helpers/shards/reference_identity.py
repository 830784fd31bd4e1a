"""Canonical URLs, hashes, keys and choices again: one row at a time, as the design says it.

Goes in: Python strings. Comes out: what `shards.identity` must give. Slow and obvious on purpose.
"""

from __future__ import annotations

import html
import html.entities
import ipaddress
import re
import unicodedata
from typing import Any

import idna
import xxhash

Row = dict[str, Any]

_BLANK = "".join(map(chr, range(33))) + "\x7f"


def _entity(match: re.Match[str]) -> str:
    name = match.group(1)
    numeric = re.fullmatch("#[0-9]+;|#[xX][0-9a-fA-F]+;", name)
    return html.unescape(match.group()) if numeric or name in html.entities.html5 else match.group()


def canonical_url(url: str) -> str | None:
    for _ in range(9):
        before = url
        url = re.sub("&(#?[0-9A-Za-z]+;)", _entity, url)
        url = "".join(c for c in url if c >= " " and c != "\x7f").strip(_BLANK)
        if url == before:
            break
    else:
        return None
    url = url.split("#", 1)[0]
    if re.match(r"https?:", url, re.IGNORECASE) or re.match(r"[/\\]{2}", url):
        scheme = url.split(":")[0] if url[0] not in "/\\" else "https"
        bare = url.removeprefix(scheme + ":").lstrip("/\\")
        authority = re.split(r"[/\\?]", bare, maxsplit=1)[0]
        tail = bare[len(authority) :]
        url = scheme + "://" + authority + ("/" + tail[1:] if tail[:1] == "\\" else tail)
    url = url.rstrip(_BLANK)
    parts = re.fullmatch("([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)(.*)", url, re.DOTALL)
    if parts is None:
        return None
    scheme, authority, rest = parts.groups()
    scheme = scheme.lower()
    user = authority[: authority.rfind("@") + 1]
    host_port = re.fullmatch(r"(\[.*?\]|[^:]*)(?::([0-9]*))?", authority[len(user) :])
    host = host_port and _host(host_port.group(1))
    if host_port is None or not host:
        return None
    port = (host_port.group(2) or "").lstrip("0") or ("0" if host_port.group(2) else "")
    if len(port) > 5 or (port and int(port) > 65535):
        return None
    if port and port != {"http": "80", "https": "443"}.get(scheme):
        host += ":" + port
    return f"{scheme}://{user}{host}{rest if rest.startswith('/') else '/' + rest}"


def _host(host: str) -> str | None:
    try:
        if host.startswith("["):
            return f"[{ipaddress.IPv6Address(host[1:-1])}]"
        if len(host) > 254:
            return None
        if not host.isascii():
            host = _a_labels(host)
    except (ipaddress.AddressValueError, UnicodeError):
        return None
    host = host.lower().rstrip(".")
    return None if any(c in '%<>[]\\^`{|}"@:/?#' or c in _BLANK for c in host) else host


def _a_labels(host: str) -> str:
    try:
        return idna.encode(host, uts46=True).decode()
    except UnicodeError:
        labels = idna.uts46_remap(host, std3_rules=False).split(".")
    for place, label in enumerate(labels):
        if not label.isascii():
            if unicodedata.combining(label[0]) or unicodedata.category(label[0])[0] == "M":
                raise UnicodeError(label)
            labels[place] = "xn--" + label.encode("punycode").decode()
            if len(labels[place]) > 63 or "\u200c" in label or "\u200d" in label:
                raise UnicodeError(label)
    return ".".join(labels)


def identify(url: str | None, caption_raw: str | None) -> Row:
    """Return canonical_url, url_hash and key."""
    if url is None:
        return {"canonical_url": None, "url_hash": None, "key": None}
    canonical = canonical_url(url)
    whole = url.strip(_BLANK) if canonical is None else canonical
    bare = whole if canonical is None else whole.split("://", 1)[1]
    key = whole.encode() + b"\0" + (caption_raw or "").encode()
    return {
        "canonical_url": canonical,
        "url_hash": xxhash.xxh3_128_digest(bare.encode()),
        "key": xxhash.xxh3_128_hexdigest(key),
    }


def choice(domain: str, seed: int, number: int) -> int:
    """Return the 64 bits that decide about a 128-bit id."""
    salt = xxhash.xxh3_128_intdigest(f"{domain}\0{seed}".encode())
    high, low = number >> 64, number % 2**64
    first = _splitmix(high ^ (salt >> 64))
    return _splitmix((first + (low ^ (salt % 2**64))) % 2**64)


def _splitmix(word: int) -> int:
    word = (word + 0x9E3779B97F4A7C15) % 2**64
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return word ^ (word >> 31)
