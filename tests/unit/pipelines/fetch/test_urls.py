"""URLs and redirects: what libcurl is asked for, and what is refused before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.fetch.urls import Target, is_numeric, redirect_target, target
from shards.outcomes import Outcome

TARGETS = [
    ("http://a.org/x.jpg", Target("http://a.org/x.jpg", "a.org", 80)),
    ("HTTPS://A.org", Target("https://a.org/", "a.org", 443)),
    ("https://a.org:443/", Target("https://a.org/", "a.org", 443)),
    ("http://a.org:443/", Target("http://a.org:443/", "a.org", 443)),
    ("http://a.org:/", Target("http://a.org/", "a.org", 80)),
    ("http://a.org?q=1#frag", Target("http://a.org/?q=1", "a.org", 80)),
    ("http://a.org/%7Eb c", Target("http://a.org/%7Eb%20c", "a.org", 80)),
    ("http://a.org/\r\nHost: b", Target("http://a.org/%0D%0AHost:%20b", "a.org", 80)),
    ("http://a.org/\u00e9", Target("http://a.org/%C3%A9", "a.org", 80)),
    ("http://b\u00fccher.de/", Target("http://xn--bcher-kva.de/", "xn--bcher-kva.de", 80)),
    ("http://[2001:DB8::1]:8080/", Target("http://[2001:db8::1]:8080/", "2001:db8::1", 8080)),
    ("http://a.org\\@b.org/", Target("http://a.org/@b.org/", "a.org", 80)),
    ("http:\\\\a.org\\x\\y?z\\", Target("http://a.org/x/y?z\\", "a.org", 80)),
    ("http:/a.org", Target("http://a.org/", "a.org", 80)),
    ("http:///a.org/x", Target("http://a.org/x", "a.org", 80)),
    ("http://\u2603.net/", Target("http://xn--n3h.net/", "xn--n3h.net", 80)),
    ("http://a_b.org./", Target("http://a_b.org./", "a_b.org.", 80)),
    ("", Outcome.BAD_URL),
    ("a.org/x", Outcome.BAD_URL),
    ("http://u@a.org/", Outcome.BAD_URL),
    ("http://a.org:0/", Outcome.BAD_URL),
    ("http://a.org:65536/", Outcome.BAD_URL),
    ("http://a.org:8x/", Outcome.BAD_URL),
    ("http://a%2eorg/", Outcome.BAD_URL),
    ("http://a b.org/", Outcome.BAD_URL),
    ("http://[::1/", Outcome.BAD_URL),
    ("http://a.org/\ud800", Outcome.BAD_URL),
    ("http://a.org/" + "x" * 20_000, Outcome.BAD_URL),
    ("ftp://a.org/", Outcome.SCHEME_NOT_ALLOWED),
    ("file:///etc/passwd", Outcome.SCHEME_NOT_ALLOWED),
    ("javascript:alert(1)", Outcome.SCHEME_NOT_ALLOWED),
    ("data:image/png;base64,AAAA", Outcome.SCHEME_NOT_ALLOWED),
]


@pytest.mark.parametrize(("url", "expected"), TARGETS)
def test_target(url: str, expected: Target | Outcome) -> None:
    assert target(url) == expected


LOCATIONS = [
    (b"/y", "http://a.org/y"),
    (b"y?z", "http://a.org/d/y?z"),
    (b"//b.org/y", "http://b.org/y"),
    (b"https://b.org:8443/y", "https://b.org:8443/y"),
    ("/\u00e9".encode(), "http://a.org/%C3%A9"),
    (b"/\xe9", "http://a.org/%C3%A9"),
    (b"http://b\xc3\xbccher.de/", "http://xn--bcher-kva.de/"),
    (b"\\y", "http://a.org/y"),
    (b"y\\z?q\\", "http://a.org/d/y/z?q\\"),
    (b"\\\\b.org\\y", "http://b.org/y"),
    (b"///b.org/y", "http://b.org/y"),
    (b"http:\\\\b.org\\y", "http://b.org/y"),
    (b"http:/y", "http://a.org/y"),  # the same scheme: relative
    (b"HTTP:y", "http://a.org/d/y"),
    (b"https:/b.org/y", "https://b.org/y"),  # another one: the host follows
    (b"http://b.org\\@c.org/y", "http://b.org/@c.org/y"),
    (b" /y\t\n ", "http://a.org/y"),
    (b"http://i\xe2\x9d\xa4.ws/", "http://xn--i-7iq.ws/"),
    (b"http:?y", "http://a.org/d/x?y"),
    (b"file:///etc/passwd", Outcome.SCHEME_NOT_ALLOWED),
    (b"http://[::1/", Outcome.BAD_URL),
]


@pytest.mark.parametrize(("location", "expected"), LOCATIONS)
def test_redirects_are_resolved_against_where_they_came_from(
    location: bytes, expected: str | Outcome
) -> None:
    actual = redirect_target("http://a.org/d/x", location)
    assert (actual.url if isinstance(actual, Target) else actual) == expected


@given(st.text())
def test_any_text_is_a_printable_target_or_refused(text: str) -> None:
    for url in (text, "http://" + text, "http://a.org/" + text):
        found = target(url)
        if isinstance(found, Target):
            assert all("!" <= c <= "~" for c in found.url)
            assert found.url.split("://")[0] in ("http", "https")


@given(st.binary())
def test_any_location_is_a_target_or_refused(location: bytes) -> None:
    assert isinstance(redirect_target("http://a.org/d/x", location), Target | Outcome)


NUMERIC = [
    ("1.2.3.4", True),
    ("2130706433", True),
    ("0x7f.1", True),
    ("0177.0.0.1", True),
    ("::1", True),
    ("a.org", False),
    ("1.2.3.4.org", False),
    ("256.1.1.1", False),
]


@pytest.mark.parametrize(("host", "expected"), NUMERIC)
def test_addresses_in_disguise_are_known(host: str, expected: bool) -> None:
    assert is_numeric(host) is expected
