"""The slow reference of the URL rules: one row at a time, string operations only."""

from __future__ import annotations

import ipaddress
import re

from helpers.filters.reference_common import Answer, Row, ascii_fold, category, listed


def has_url(row: Row) -> bool:
    blank = "".join(map(chr, range(0x21))) + "\x7f\x85"
    url = row["url"] or ""
    return any(c not in blank and category(c) != "Z" for c in url)


def url_text(row: Row) -> str:
    if row["canonical_url"] is not None:
        return str(row["canonical_url"])
    return (row["url"] or "").strip()


def split_url(text: str) -> tuple[str, str, str, str] | None:
    """Return scheme, user, host and port text, or None where there is no `scheme://`."""
    scheme, mark, rest = text.partition("://")
    if not mark or not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*", scheme):
        return None
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, host_port = authority.rpartition("@")
    if host_port.startswith("[") and "]" in host_port:
        host, _, port = host_port.partition("]")
        return scheme, user + at, host + "]", port
    host, colon, port = host_port.partition(":")
    return scheme, user + at, host, colon + port


def url_present(row: Row) -> Answer:
    return None if has_url(row) else "url_missing"


def url_scheme(row: Row) -> Answer:
    scheme, colon, rest = url_text(row).partition(":")
    looks_like_one = bool(colon) and bool(re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+-]*", scheme))
    if not looks_like_one or rest[:1] in set("0123456789"):
        return None
    return None if scheme.lower() in ("http", "https") else "url_scheme"


def url_credentials(row: Row) -> Answer:
    split = split_url(url_text(row))
    return "url_credentials" if split and split[1] else None


LOCAL = listed(
    """alt corp example home home.arpa internal intranet invalid lan local localdomain
    localhost onion private test"""
)


def url_host(row: Row, allow_addresses: tuple[str, ...] = ()) -> Answer:
    split = split_url(url_text(row))
    if split is None:
        return None
    host = split[2].lower().removesuffix(".")
    address = literal_address(host)
    if address is not None:
        fine = public(address) or allowed(address, allow_addresses)
        return None if fine else "url_private_address"
    if host.startswith("["):
        return None
    labels = host.split(".")
    last = labels[-1]
    numeric = (last != "" and set(last) <= set("0123456789")) or bool(
        re.fullmatch("0x[0-9a-f]*", last)
    )
    local = any(host == name or host.endswith("." + name) for name in LOCAL)
    return "url_host" if len(labels) == 1 or numeric or local else None


def url_port(
    row: Row,
    ports: tuple[int, ...] = (80, 443, 8080, 8443),
    allow_addresses: tuple[str, ...] = (),
) -> Answer:
    split = split_url(url_text(row))
    if split is None or not re.fullmatch(":[0-9]+", split[3]):
        return None
    if split[3].lstrip(":").lstrip("0") in [str(port) for port in ports]:
        return None
    address = literal_address(split[2])
    exempt = address is not None and allowed(address, allow_addresses)
    return None if exempt else "url_port"


def url_form(row: Row) -> Answer:
    return "url_malformed" if has_url(row) and row["canonical_url"] is None else None


def url_length(row: Row, maximum: int = 2048) -> Answer:
    return "url_too_long" if len(url_text(row)) > maximum else None


def url_tracking_pixel(row: Row) -> Answer:
    path = re.split("[?#]", ascii_fold(url_text(row)), maxsplit=1)[0]
    if "/" not in path:
        return None
    names = {f"{n}.{e}" for n in ["1x1", "spacer", "blank", "transparent"] for e in ("gif", "png")}
    names |= {"pixel.gif", "cleardot.gif", "shim.gif"}
    return "url_tracking_pixel" if path.rsplit("/", 1)[1] in names else None


def literal_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        if host.startswith("["):
            return ipaddress.IPv6Address(host[1:-1].split("%")[0])
        parts = [_inet_number(part) for part in host.removesuffix(".").split(".")]
        if len(parts) > 4 or any(part > 255 for part in parts[:-1]):
            return None
        tail = parts.pop().to_bytes(4 - len(parts), "big")
        return ipaddress.IPv4Address(bytes(parts) + tail)
    except (ValueError, OverflowError):
        return None


def _inet_number(text: str) -> int:
    if not re.fullmatch("[0-9]+|0[xX][0-9a-fA-F]*", text):
        raise ValueError(text)
    if text[:2] in ("0x", "0X"):
        return int("0" + text[2:], 16)
    return int(text, 8) if text.startswith("0") else int(text)


def public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        relay = address in ipaddress.ip_network("192.88.99.0/24")
        special = address in ipaddress.ip_network("192.0.0.0/24")
        return address.is_global and not (address.is_multicast or relay or special)
    words = address.exploded.split(":")
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if words[:6] in (["0000"] * 6, ["0000"] * 5 + ["ffff"], ["0064", "ff9b"] + ["0000"] * 4):
        return public(low)
    if address.sixtofour is not None:
        return public(address.sixtofour)
    if address.teredo is not None:
        return public(address.teredo[1])
    special = any(address in ipaddress.ip_network(block) for block in ("2001::/23", "3fff::/20"))
    return words[0][0] in "23" and address.is_global and not special


def allowed(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, blocks: tuple[str, ...]
) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(block) for block in blocks)
