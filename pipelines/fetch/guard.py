"""Which network addresses may be connected to: an allow-list of address space.

In: the address and port of a socket about to be opened (after DNS, after every
redirect). Out: None when it may be reached, else the `Outcome` that says why not.

Global unicast is what is left of 1.0.0.0-223.255.255.255 and of 2000::/3 without
the blocks IANA's special-purpose registries set apart. An IPv6 address that carries
an IPv4 one is judged by the inner address, because that is where the packets go:
`ipaddress.is_global` says yes to the NAT64 form of a cloud's metadata service.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable

from shards.outcomes import Outcome

_REFUSED_V4 = (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # carrier-grade NAT
    "127.0.0.0/8",  # loopback
    "168.63.129.16/32",  # Azure's host agent, public only in form
    "169.254.0.0/16",  # link local, cloud metadata
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # IETF protocol assignments
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # 6to4 relays, withdrawn
    "192.168.0.0/16",  # private
    "198.18.0.0/15",  # benchmarking
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/3",  # multicast, reserved, broadcast
)
_REFUSED_V6 = (
    "2001::/23",  # IETF protocol assignments; Teredo is unwrapped before
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4, unwrapped before
    "3fff::/20",  # documentation
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_V4_IN_LOW_BITS = frozenset(
    {
        0,  # v4-compatible, ::1 and :: too
        0xFFFF,  # v4-mapped
        0x0064_FF9B << 64,  # NAT64
        0x0064_FF9B_0001 << 48,  # local NAT64 in its one unambiguous form; others are refused
    }
)
"""Values of the upper 96 bits below which the lower 32 are an IPv4 address."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class _Ranges:
    """Disjoint networks of one family, searched by bisection."""

    def __init__(self, networks: Iterable[str]) -> None:
        ordered = sorted(map(ipaddress.ip_network, networks), key=lambda n: int(n[0]))
        self._first = [int(n[0]) for n in ordered]
        self._last = [int(n[-1]) for n in ordered]

    def __contains__(self, value: int) -> bool:
        at = bisect_right(self._first, value) - 1
        return at >= 0 and value <= self._last[at]


_V4 = _Ranges(_REFUSED_V4)
_V6 = _Ranges(_REFUSED_V6)


def carried_v4(address: ipaddress.IPv6Address) -> list[int]:
    """Return the IPv4 addresses that packets to an IPv6 address end at, if it only wraps them."""
    value = int(address)
    if value >> 32 in _V4_IN_LOW_BITS:
        return [value & 0xFFFFFFFF]
    if value >> 112 == 0x2002:  # 6to4
        return [(value >> 80) & 0xFFFFFFFF]
    if value >> 96 == 0x20010000:  # Teredo: the server, and the client inverted
        return [(value >> 64) & 0xFFFFFFFF, (value & 0xFFFFFFFF) ^ 0xFFFFFFFF]
    return []


def is_global(address: _Address) -> bool:
    """Return whether packets to this address leave for the public unicast internet."""
    value = int(address)
    if isinstance(address, ipaddress.IPv4Address):
        return value not in _V4
    carried = carried_v4(address)
    if carried:
        return all(v4 not in _V4 for v4 in carried)
    if (value >> 32) & 0xFDFFFFFF == 0x5EFE and value & 0xFFFFFFFF in _V4:
        return False  # ISATAP: a tunnel to a private IPv4 address, in anybody's prefix
    return address in _GLOBAL_V6 and value not in _V6


class Guard:
    """The address and port rules of one fetcher; `check` costs a few microseconds."""

    def __init__(self, ports: Iterable[int], allow_addresses: Iterable[str] = ()) -> None:
        self._ports = frozenset(ports)
        self._exempt = tuple(map(ipaddress.ip_network, allow_addresses))

    def check(self, address: str, port: int) -> Outcome | None:
        """Return None if a socket to (address, port) may be opened, else why not.

        `address` is what the resolver gave: text of an IPv4 or IPv6 address, with or
        without a scope. A v4-mapped address is exempt where its IPv4 form is.
        """
        parsed = ipaddress.ip_address(address)
        mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
        if any(parsed in network or (mapped or parsed) in network for network in self._exempt):
            return None
        if not is_global(parsed):
            return Outcome.PRIVATE_ADDRESS
        return None if port in self._ports else Outcome.PORT_NOT_ALLOWED
