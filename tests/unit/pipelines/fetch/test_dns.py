"""DNS messages: what is asked, what is believed, and that garbage is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.fetch import dns

ASKED = dns.question("a.example", dns.A)
LOUD = dns.question("A.EXAMPLE", dns.A)


def reply(*records: bytes, flags: int = 0x8180, asked: bytes = ASKED, count: int = -1) -> bytes:
    answers = len(records) if count < 0 else count
    return struct.pack("!HHHHHH", 7, flags, 1, answers, 0, 0) + asked + b"".join(records)


def record(kind: int, data: bytes, ttl: int = 60) -> bytes:
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


ALIAS = record(5, b"\x01b\xc0\x0e", 5)
FOUR, SIX = record(1, b"\x01\x02\x03\x04", 90), record(28, bytes(15) + b"\x01", 30)

REPLIES = [
    (reply(FOUR), dns.Answer(("1.2.3.4",), 90, False, False)),
    (reply(ALIAS, FOUR, SIX), dns.Answer(("1.2.3.4", "::1"), 30, False, False)),
    (reply(ALIAS), dns.Answer((), 0, False, False)),
    (reply(), dns.Answer((), 0, False, False)),
    (reply(flags=0x8183), dns.Answer((), 0, False, True)),
    (reply(flags=0x8182), dns.Answer((), 0, True, False)),
    (reply(flags=0x8185), dns.Answer((), 0, True, False)),
    (reply(FOUR, asked=LOUD), dns.Answer(("1.2.3.4",), 90, False, False)),
    (reply(record(1, b"\x01\x02\x03")), dns.Answer((), 0, False, False)),
]  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), REPLIES)
def test_parse(message: bytes, expected: dns.Answer) -> None:
    assert dns.parse(message, ASKED) == expected


REFUSED = [
    b"",
    b"\0" * 11,
    reply(flags=0x0100),
    reply(asked=dns.question("b.example", dns.A)),
    reply(asked=dns.question("a.example", dns.AAAA)),
    reply(FOUR, count=9),
]


@pytest.mark.parametrize("message", REFUSED)
def test_other_replies_are_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|reply|runs over"):
        dns.parse(message, ASKED)


def test_a_query_is_one_recursive_question_with_edns() -> None:
    message = dns.query(0x1234, ASKED)
    assert message[:12] == bytes.fromhex("1234 0100 0001 0000 0000 0001")
    assert message[12 : 12 + len(ASKED)] == b"\x01a\x07example\0\0\x01\0\x01"
    assert message[-11:] == bytes.fromhex("00 0029 04d0 00000000 0000")


@pytest.mark.parametrize("host", ["", ".", "a..b", "x" * 64, ".".join(["abc"] * 70)])
def test_impossible_names_are_refused(host: str) -> None:
    with pytest.raises(ValueError, match="not a DNS name"):
        dns.question(host, dns.A)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_value_error(tail: bytes) -> None:
    for message in (tail, reply(tail, count=3)):
        try:
            answer = dns.parse(message, ASKED)
        except ValueError:
            continue
        assert all("." in text or ":" in text for text in answer.addresses)
