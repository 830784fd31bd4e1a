"""Literal addresses: how a host reads as one, and whether it is public."""

from __future__ import annotations

import pytest
from helpers.filters.reference_common import listed
from helpers.filters.reference_urls import literal_address, public

from filters.addresses import is_public, parse_address


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3.4.", "1.2.3.4"),
        ("1.2.772", "1.2.3.4"),
        ("1.131844", "1.2.3.4"),
        ("16909060", "1.2.3.4"),
        ("0x1020304", "1.2.3.4"),
        ("0X1.0x2.03.4", "1.2.3.4"),
        ("0x", "0.0.0.0"),
        ("0", "0.0.0.0"),
        ("4294967295", "255.255.255.255"),
        ("4294967296", None),
        ("1.2.3.256", None),
        ("256.1.1.1", None),
        ("1.2.3.08", None),
        ("1.2.3.4.5", None),
        ("1..2", None),
        ("", None),
        ("example.org", None),
        ("1.2.3.x", None),
        ("[::1]", "::1"),
        ("[fe80::1%25eth0]", "fe80::1"),
        ("[::ffff:1.2.3.4]", "::ffff:1.2.3.4"),
        ("[::g]", None),
        ("[]", None),
        ("9" * 4000, None),
        ("1.0x" + "0" * 4000 + "3", "1.0.0.3"),
        ("0" * 4000 + "1", "0.0.0.1"),
    ],
)
def test_parse(host: str, expected: str | None) -> None:
    actual = parse_address(host)
    assert actual == literal_address(host)
    assert (None if actual is None else actual) == (
        None
        if expected is None
        else parse_address(f"[{expected}]" if ":" in expected else expected)
    )


PUBLIC = listed(
    """1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 192.0.1.0
    191.255.255.255 198.17.255.255 198.20.0.0 223.255.255.255 2606:4700::1111
    2a00:1450::1 ::ffff:8.8.8.8 ::8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1
    2001:0:808:808:0:ffff:f7f7:f7f7"""
)

SPECIAL = listed(
    """0.0.0.0 0.1.2.3 10.0.0.0 100.64.0.0 100.127.255.255 127.255.255.255 169.254.0.1
    172.16.0.0 172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.0
    198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1
    255.255.255.255 :: ::1 ::10.0.0.1 ::ffff:127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1
    100::1 fc00::1 fdff::1 fe80::1 fec0::1 ff02::1 2001:db8::1 3fff::1 2002:7f00:1::1
    2002:c0a8:1:: 2001:10::1 2001:0:1::f5ff:fffe 4000::1 5f00::1"""
)


@pytest.mark.parametrize(
    ("text", "expected"), [*((a, True) for a in PUBLIC), *((a, False) for a in SPECIAL)]
)
def test_is_public(text: str, expected: bool) -> None:
    address = parse_address(f"[{text}]" if ":" in text else text)
    assert address is not None
    assert is_public(address) is expected
    assert public(address) is expected, "the reference disagrees"


@pytest.mark.parametrize("host", ["9" * 5000, "0x" + "f" * 5000, "1.2.3." + "0" * 5000 + "8"])
def test_numbers_too_long_for_python_are_not_addresses(host: str) -> None:
    assert parse_address(host) is None
