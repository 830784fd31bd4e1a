"""Literal network addresses in URLs: parsing as browsers do, and which are public.

In: the host of a URL. Out: an address object, and whether strangers may be sent there. The list
of special blocks is ours, from the IANA special-purpose registries, because `ipaddress.is_global`
changes between Python releases and verdicts must not.
"""

from __future__ import annotations

import functools
import ipaddress
import re

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NOT_PUBLIC_V4 = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    ipaddress.IPv6Network(block) for block in ("2001::/23", "2001:db8::/32", "3fff::/20")
)
_EMBEDDING_V6 = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0, 0),  # v4-mapped
    (ipaddress.IPv6Network("::/96"), 0, 0),  # v4-compatible, also :: and ::1
    (ipaddress.IPv6Network("64:ff9b::/96"), 0, 0),  # NAT64
    (ipaddress.IPv6Network("2002::/16"), 80, 0),  # 6to4
    (
        ipaddress.IPv6Network("2001::/32"),
        0,
        0xFFFFFFFF,
    ),  # Teredo, client stored inverted
)
"""Networks whose addresses carry a v4 address: (network, bits to its right, xor mask)."""

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")


def parse_address(host: str) -> Address | None:
    """Parse a URL's host as a literal address, or return None where it is a name.

    Accepts brackets for v6 and, like browsers and libcurl, `127.1`, `0x7f.0.0.1`, `0177.0.0.1`
    and `2130706433` for v4. A numeric host out of range is None: it cannot be canonicalised.
    """
    if host.startswith("["):
        try:
            return ipaddress.IPv6Address(host.strip("[]").partition("%")[0])
        except ValueError:
            return None
    parts = host.removesuffix(".").split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    numbers = [_number(part) for part in parts]
    *leading, last = numbers
    if any(n is None for n in numbers) or last is None:
        return None
    if any(n is None or n > 255 for n in leading) or last >= 256 ** (5 - len(numbers)):
        return None
    high = sum((n or 0) << (8 * (3 - i)) for i, n in enumerate(leading))
    return ipaddress.IPv4Address(high + last)


def is_public(address: Address) -> bool:
    """Return whether an address, unwrapped from any v6 embedding, is global unicast."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _NOT_PUBLIC_V4)
    for network, shift, flip in _EMBEDDING_V6:
        if address in network:
            inner = ((int(address) >> shift) & 0xFFFFFFFF) ^ flip
            return is_public(ipaddress.IPv4Address(inner))
    return address in _PUBLIC_V6 and not any(address in block for block in _NOT_PUBLIC_V6)


@functools.cache
def parse_networks(where: str, blocks: tuple[str, ...]) -> tuple[Network, ...]:
    """Parse CIDR blocks a user gave; `where` names the option in the error."""
    try:
        return tuple(ipaddress.ip_network(block) for block in blocks)
    except ValueError as error:
        raise ValueError(
            f"{where}: {error}; give network blocks such as 127.0.0.0/8 or fd00::/8"
        ) from None


def is_allowed(address: Address | None, networks: tuple[Network, ...]) -> bool:
    """Return whether an address lies in one of the networks; v4-mapped v6 counts as its v4."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address is not None and any(address in network for network in networks)


def _number(text: str) -> int | None:
    base = 10
    if text[:2] in ("0x", "0X"):
        text, base = text[2:] or "0", 16
    elif len(text) > 1 and text[0] == "0":
        text, base = text[1:], 8
        if not set(text) <= set("01234567"):
            return None
    significant = text.lstrip("0")
    # Python refuses to read thousands of digits, and no address has more than eleven.
    return int(significant or "0", base) if len(significant) <= 11 else None
