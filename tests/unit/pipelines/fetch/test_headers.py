"""Response heads: lengths, codings, reservations of rights, Retry-After."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.fetch.headers import Head, reserves_rights, retry_after_s

NOON = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def head_of(*lines: bytes) -> Head:
    head = Head()
    for line in lines:
        head.feed(line + b"\r\n")
    return head


def test_a_final_head_replaces_interim_ones() -> None:
    head = head_of(
        b"HTTP/1.1 103 Early Hints", b"X-Robots-Tag: noai", b"Content-Length: 7", b"",
        b"HTTP/2 200", b"CONTENT-LENGTH: 12", b"Location:  /x ", b"",
        b"X-Robots-Tag: noindex",
    )  # fmt: skip
    assert (head.status, head.complete, head.content_length) == (200, True, 12)
    assert (head.opt_out, head.location) == (False, b"/x")  # a trailer comes too late


LENGTHS = [
    (b"12", 12),
    (b"0", 0),
    (b"-1", None),
    (b"1e9", None),
    (b"", None),
    (b"\xb2", None),
    (b"1_0", None),
    (b"0" * 9000 + b"7", 7),
    (b"8" * 9000, 2**63 - 1),  # int() would raise
]


@pytest.mark.parametrize(("value", "expected"), LENGTHS)
def test_content_length(value: bytes, expected: int | None) -> None:
    assert head_of(b"HTTP/1.1 200 OK", b"Content-Length: " + value).content_length == expected


STATUS_LINES = [
    (b"HTTP/1.1 200 OK", 200, True),
    (b"HTTP/1.1\t404 Not Found", 404, True),  # libcurl takes a tab, too
    (b"HTTP/1.1   503", 503, True),
    (b"HTTP/1.1 101 Switching Protocols", 101, True),
    (b"HTTP/1.1 2000 OK", 0, False),
    (b"HTTP/1.1 OK", 0, False),
]


@pytest.mark.parametrize(("line", "status", "complete"), STATUS_LINES)
def test_status_lines(line: bytes, status: int, complete: bool) -> None:
    head = head_of(line, b"")
    assert (head.status, head.complete) == (status, complete)


CODINGS = [
    (b"gzip", ("gzip",)),
    (b"GZIP", ("gzip",)),
    (b"br, gzip", ("br", "gzip")),
    (b"identity", ()),
    (b"utf-8", ()),
    (b"", ()),
]


@pytest.mark.parametrize(("value", "expected"), CODINGS)
def test_codings(value: bytes, expected: tuple[str, ...]) -> None:
    assert head_of(b"HTTP/1.1 200 OK", b"Content-Encoding: " + value).codings == expected


TAGS = [
    ("noai", True),
    ("NoImageAI", True),
    ("noindex", True),
    ("noimageindex", True),
    ("none", True),
    ("nofollow, noindex", True),
    ("googlebot: noindex", True),
    ("googlebot: nofollow, otherbot: noai, nofollow", True),
    ("all", False),
    ("", False),
    ("nofollow", False),
    ("noarchive, nosnippet", False),
    ("unavailable_after: 25 Jun 2010 15:00:00 PST", False),
    ("noindexing", False),
    ("max-image-preview:none-such", False),
    ("max-image-preview: none", False),  # hides a preview; the picture may be used
    ("max-image-preview:none, noimageai", True),
    ("max-snippet:0; nofollow", False),
    ("nofollow noai", True),
    ("nofollow;noml", True),
    ('"noai", "noimageai"', True),
    ("otherbot: nofollow; noindex", True),
    ("none-bot: nofollow", False),
]


@pytest.mark.parametrize(("value", "expected"), TAGS)
def test_x_robots_tag(value: str, expected: bool) -> None:
    assert reserves_rights(value) is expected


RESERVATIONS = [
    (b"1", True),
    (b"1, 1", True),
    (b"0, 1", True),
    (b'"1"', True),
    (b'1;policy="https://a.org/p.json"', True),
    (b"?1", True),
    (b"0", False),
    (b"", False),
    (b"11", False),
    (b"0; policy=1", False),
    (b"1" * 9000, False),
]


@pytest.mark.parametrize(("value", "expected"), RESERVATIONS)
def test_tdm_reservation(value: bytes, expected: bool) -> None:
    assert head_of(b"HTTP/1.1 200 OK", b"TDM-Reservation: " + value).opt_out is expected


PREFERENCES = [
    (b"Content-Usage: train-ai=n", True),
    (b"Content-Usage: search=y, train-ai=n", True),
    (b'content-usage: Train-AI="n"', True),
    (b"Content-Usage: ai=n", True),
    (b"Content-Usage: train-ai=y", False),
    (b"Content-Usage: train-ai=never-mind", False),
    (b"Content-Usage: search=n", False),
    (b"Content-Signal: search=yes, ai-train=no", True),
    (b"Content-Signal: ai-train=yes", False),
]


@pytest.mark.parametrize(("line", "expected"), PREFERENCES)
def test_preferences_about_training(line: bytes, expected: bool) -> None:
    assert head_of(b"HTTP/1.1 200 OK", line).opt_out is expected


WAITS = [
    (None, None),
    ("0", 0.0),
    ("120", 120.0),
    ("9" * 400, 999_999_999.0),
    ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
    ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
    ("soon", None),
    ("-5", None),
    ("", None),
]


@pytest.mark.parametrize(("value", "expected"), WAITS)
def test_retry_after(value: str | None, expected: float | None) -> None:
    assert retry_after_s(value, NOON) == expected


@given(st.lists(st.binary(max_size=80)))
def test_any_bytes_can_be_fed(lines: list[bytes]) -> None:
    head = Head()
    for line in lines:
        head.feed(line)
    assert head.content_length is None or head.content_length >= 0


@given(st.text())
def test_any_retry_after_is_none_or_a_wait(text: str) -> None:
    wait = retry_after_s(text, NOON)
    assert wait is None or wait >= 0
