"""DNS messages of a stub resolver: one question out, addresses back (RFC 1035, 3596, 6891).

In: a host name in ASCII and a record type; bytes of a reply. Out: bytes of a query; an
`Answer`. Pure. A reply is hostile input: every length is checked, and a malformed one
is a `ValueError`.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

A, AAAA = 1, 28
_IN, _OPT = 1, 41
_NO_ERROR, _NAME_ERROR = 0, 3
_UDP_BYTES = 1232  # the size that fits unfragmented nearly everywhere


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reply says about one question."""

    addresses: tuple[str, ...]
    ttl_s: int  # the shortest of the records', 0 where there is none
    failed: bool  # the server could not tell: another may
    missing: bool  # the name does not exist


def question(host: str, kind: int) -> bytes:
    """Return the question section for `host`; `ValueError` if it cannot be a DNS name."""
    labels = host.rstrip(".").split(".")
    if any(not 0 < len(label) < 64 for label in labels) or len(host) > 254:
        raise ValueError(f"{host!r} is not a DNS name")
    name = b"".join(bytes([len(label)]) + label.encode("ascii") for label in labels)
    return name + b"\0" + struct.pack("!HH", kind, _IN)


def query(number: int, asked: bytes) -> bytes:
    """Return a recursive query with one question and an EDNS size."""
    header = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 1)
    return header + asked + b"\0" + struct.pack("!HHIH", _OPT, _UDP_BYTES, 0, 0)


def number_of(reply: bytes) -> int:
    """Return the query number a reply claims to answer."""
    if len(reply) < 12:
        raise ValueError("shorter than a header")
    return int.from_bytes(reply[:2], "big")


def parse(reply: bytes, asked: bytes) -> Answer:
    """Return what `reply` says about the question section `asked`."""
    if len(reply) < 12:
        raise ValueError("shorter than a header")
    _, flags, questions, answers = struct.unpack("!HHHH", reply[:8])
    if not flags & 0x8000 or questions != 1:
        raise ValueError("not a reply to one question")
    end = 12 + len(asked)
    if reply[12:end].lower() != asked.lower():
        raise ValueError("another question's reply")
    code = flags & 0xF
    addresses, ttl = _records(reply, end, answers) if code == _NO_ERROR else ([], 0)
    return Answer(tuple(addresses), ttl, code not in (_NO_ERROR, _NAME_ERROR), code == _NAME_ERROR)


def _records(reply: bytes, at: int, count: int) -> tuple[list[str], int]:
    """Collect the addresses of an answer section; the resolver has followed aliases already."""
    addresses: list[str] = []
    shortest = 2**31
    for _ in range(count):
        at = _skip_name(reply, at)
        if at + 10 > len(reply):
            break  # cut off: what came before still counts
        kind, group, ttl, length = struct.unpack("!HHIH", reply[at : at + 10])
        data = reply[at + 10 : at + 10 + length]
        at += 10 + length
        if group == _IN and (kind, len(data)) in ((A, 4), (AAAA, 16)):
            addresses.append(str(ipaddress.ip_address(data)))
            shortest = min(shortest, ttl)
    return addresses, shortest if addresses else 0


def _skip_name(reply: bytes, at: int) -> int:
    while at < len(reply):
        length = reply[at]
        if length == 0:
            return at + 1
        if length >= 0xC0:
            return at + 2  # a pointer ends a name
        at += 1 + length
    raise ValueError("a name runs over the end")
