"""Which addresses may be connected to: a table, and IANA's view as a property."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.fetch.guard import Guard, is_global
from shards.outcomes import Outcome

PORTS = (80, 443, 8080, 8443)

GLOBAL = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "3ffe::1",
    "::ffff:8.8.8.8",
    "::8.8.8.8",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::8.8.8.8",
    "2002:808:808::1",
    "2001:0:808:808:0:0:f7f7:f7f7",  # Teredo, client 8.8.8.8
    "2606:4700::5efe:8.8.8.8",
]
REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",  # Alibaba's metadata service
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # Azure's host agent
    "169.254.0.1",
    "169.254.169.254",  # metadata service of most clouds
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",  # Oracle's metadata service
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::2",
    "::127.0.0.1",
    "::169.254.169.254",
    "::ffff:0.0.0.0",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:8.8.8.8",  # SIIT
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b:1::10.0.0.1",
    "64:ff9b:1:a9fe:a9:fe00::",  # the metadata service in the /48 layout
    "64:ff9b:1:ffff::8.8.8.8",
    "100::1",
    "2001:0:808:808:0:0:5601:5601",  # Teredo, client 169.254.169.254
    "2001:0:a00:1:0:0:f7f7:f7f7",  # Teredo, server 10.0.0.1
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:c0a8:1::1",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:10.0.0.1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",  # Amazon's metadata service
    "fd20:ce::254",  # Google's metadata service
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "ffff::1",
]


@pytest.mark.parametrize("address", GLOBAL)
def test_global_unicast_is_allowed_on_the_four_ports(address: str) -> None:
    guard = Guard(PORTS)
    actual = [guard.check(address, port) for port in (80, 443, 8080, 8443, 22, 81, 0)]
    assert actual == [None] * 4 + [Outcome.PORT_NOT_ALLOWED] * 3


@pytest.mark.parametrize("address", REFUSED)
def test_everything_else_is_private_on_any_port(address: str) -> None:
    guard = Guard(PORTS)
    assert [guard.check(address, port) for port in (80, 22)] == [Outcome.PRIVATE_ADDRESS] * 2


EXEMPT = [
    ("127.0.0.1", 12345, None),
    ("::ffff:127.0.0.1", 12345, None),
    ("127.1.0.1", 80, Outcome.PRIVATE_ADDRESS),
    ("fd12::1", 25, None),
    ("fd13::1", 80, Outcome.PRIVATE_ADDRESS),
    ("64:ff9b::7f00:1", 80, Outcome.PRIVATE_ADDRESS),
    ("8.8.8.8", 12345, Outcome.PORT_NOT_ALLOWED),
]


@pytest.mark.parametrize(("address", "port", "expected"), EXEMPT)
def test_exempt_networks_are_free_of_both_rules(
    address: str, port: int, expected: Outcome | None
) -> None:
    guard = Guard(PORTS, ("127.0.0.0/16", "fd12::/32"))
    assert guard.check(address, port) == expected


@given(st.integers(0, 2**32 - 1))
def test_never_wider_than_the_standard_library_on_ipv4(value: int) -> None:
    address = ipaddress.IPv4Address(value)
    if is_global(address):
        assert address.is_global
        assert not address.is_multicast


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
def test_every_wrapping_is_judged_by_what_it_wraps(value: int, tail: int) -> None:
    expected = is_global(ipaddress.IPv4Address(value))
    wrapped = {
        "mapped": 0xFFFF << 32 | value,
        "compatible": value,
        "nat64": 0x64FF9B << 96 | value,
        "6to4": 0x2002 << 112 | value << 80 | tail,
        "teredo": 0x20010000 << 96 | 0x08080808 << 64 | value ^ 0xFFFFFFFF,
    }
    actual = {name: is_global(ipaddress.IPv6Address(v)) for name, v in wrapped.items()}
    assert actual == dict.fromkeys(wrapped, expected)


@given(st.integers(0, 2**128 - 1))
def test_never_wider_than_global_unicast_on_ipv6(value: int) -> None:
    address = ipaddress.IPv6Address(value)
    if is_global(address):
        assert not address.is_multicast
        assert not address.is_link_local
        assert not address.is_site_local
