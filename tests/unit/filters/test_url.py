"""URL rules: a URL and the reason that owns the row in preset `none`."""

from __future__ import annotations

import pytest
from helpers.filters.filter_rows import answers, batch_of, row
from helpers.filters.reference_filters import REFERENCE

import filters
from filters.rules.url import UrlHost, UrlPort

CASES = [
    # harmless
    ("https://example.org/a.jpg", None),
    ("HTTP://Example.ORG/A.JPG", None),
    ("//cdn.example.org/a.jpg", None),
    ("https://example.org:443/a.jpg", None),
    ("http://example.org:8080/a.jpg", None),
    ("https://xn--bcher-kva.example.net/", None),
    ("https://bücher.de/a.jpg", None),
    ("https://a_b.example.org/a.jpg", None),
    ("https://example.org./a.jpg", None),
    ("https://93.184.216.34/a.jpg", None),
    ("https://[2606:2800:220:1:248:1893:25c8:1946]/a.jpg", None),
    ("https://example.org/path:81/a.jpg", None),
    ("https://example.org/?u=http://127.0.0.1/", None),
    ("https://example.org/a@b.jpg", None),
    ("https://example.org/?mail=a@b.org", None),
    ("https://essex.example.net/sites/default/files/logo-icon.png", None),
    ("https://localhost.example.net/a.jpg", None),
    ("https://local.example.net/a.jpg", None),
    ("https://例え.テスト/a.jpg", None),
    # missing
    (None, "url_missing"),
    ("", "url_missing"),
    (" \t\n", "url_missing"),
    ("\u00a0\u2003", "url_missing"),
    # scheme before form
    ("data:image/png;base64,iVBORw0KGgo=", "url_scheme"),
    ("file:///etc/passwd", "url_scheme"),
    ("ftp://example.org/a.jpg", "url_scheme"),
    ("blob:https://example.org/1234", "url_scheme"),
    ("javascript:alert(1)", "url_scheme"),
    ("about:blank", "url_scheme"),
    # credentials
    ("https://user:secret@example.org/a.jpg", "url_credentials"),
    ("https://@example.org/a.jpg", "url_credentials"),
    ("https://user@127.0.0.1/", "url_credentials"),
    # host
    ("https:///a/b.jpg", "url_host"),  # to a browser, too, `a` is the host
    ("https:///", "url_host"),
    ("http://" + "7" * 5000 + "/a.jpg", "url_host"),
    ("http://0x" + "f" * 5000 + ".1/a.jpg", "url_host"),
    ("http://1.2.3." + "0" * 5000 + "4/a.jpg", "url_malformed"),
    ("http://localhost/a.jpg", "url_host"),
    ("http://localhost:8080/a.jpg", "url_host"),
    ("http://intranet/a.jpg", "url_host"),
    ("http://printer.local/a.jpg", "url_host"),
    ("http://db.prod.internal/a.jpg", "url_host"),
    ("http://router.home.arpa/a.jpg", "url_host"),
    ("http://home.arpa/a.jpg", "url_host"),
    ("http://a.onion/a.jpg", "url_host"),
    ("http://256.256.256.256/a.jpg", "url_host"),
    ("http://1.2.3.4.5/a.jpg", "url_host"),
    # special addresses, as browsers read them
    ("http://127.0.0.1/a.jpg", "url_private_address"),
    ("http://127.1/a.jpg", "url_private_address"),
    ("http://2130706433/a.jpg", "url_private_address"),
    ("http://0x7f.0.0.1/a.jpg", "url_private_address"),
    ("http://0177.0.0.1/a.jpg", "url_private_address"),
    ("http://10.1.2.3/a.jpg", "url_private_address"),
    ("http://169.254.169.254/latest/meta-data", "url_private_address"),
    ("http://100.64.0.1/a.jpg", "url_private_address"),
    ("http://0.0.0.0/a.jpg", "url_private_address"),
    ("http://224.0.0.1/a.jpg", "url_private_address"),
    ("http://[::1]/a.jpg", "url_private_address"),
    ("http://[::ffff:10.0.0.1]/a.jpg", "url_private_address"),
    ("http://[fd00::1]/a.jpg", "url_private_address"),
    ("http://[64:ff9b::a00:1]/a.jpg", "url_private_address"),
    ("http://127.0.0.1:9000/a.jpg", "url_private_address"),
    # port
    ("http://example.org:8081/a.jpg", "url_port"),
    ("http://example.org:22/a.jpg", "url_port"),
    ("https://example.org:99999/a.jpg", "url_port"),
    ("https://93.184.216.34:25/a.jpg", "url_port"),
    # form
    ("example.org/a.jpg", "url_malformed"),
    ("example.org:8080/a.jpg", "url_malformed"),
    ("/images/a.jpg", "url_malformed"),
    ("https:/example.org/a.jpg", None),
    ("https://exa mple.org/a.jpg", "url_malformed"),
    ("https://[not-an-address]/a.jpg", "url_malformed"),
    ("not a url", "url_malformed"),
    # length
    ("https://example.org/" + "a" * 2028, None),
    ("https://example.org/" + "a" * 2029, "url_too_long"),
    # tracking pixels: the whole last segment, nothing else
    ("https://example.org/t/1x1.gif", "url_tracking_pixel"),
    ("https://example.org/Spacer.GIF?x=1", "url_tracking_pixel"),
    ("https://example.org/blank.gif#top", "url_tracking_pixel"),
    ("https://example.org/pixel.gif", "url_tracking_pixel"),
    ("https://example.org/transparent.png", "url_tracking_pixel"),
    ("https://example.org/google-pixel.png", None),
    ("https://example.org/pixel.png", None),
    ("https://example.org/blank.gif/photo.jpg", None),
    ("https://example.org/photo.jpg?next=/blank.gif", None),
]


@pytest.mark.parametrize(("url", "expected"), CASES)
def test_reason(url: str | None, expected: str | None) -> None:
    chain = filters.build_chain("none")
    given = row(url=url)
    result = filters.apply_chain(batch_of([given]), chain)
    owner = int(result.owner[0])
    assert (chain.reasons[owner] if owner >= 0 else None) == expected
    for one in chain.filters:
        assert answers(one, batch_of([given])) == [REFERENCE[one.name](given)], one.name


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://127.0.0.1:45123/a.jpg", None, None),
        ("http://127.1:45123/a.jpg", None, None),
        ("http://[::ffff:127.0.0.1]:45123/a.jpg", None, None),
        ("http://[fd00::7]:45123/a.jpg", None, None),
        ("http://10.0.0.1:45123/a.jpg", "url_private_address", "url_port"),
        ("http://localhost:45123/a.jpg", "url_host", "url_port"),
        ("http://example.org:45123/a.jpg", None, "url_port"),
    ],
)
def test_allowed_addresses_are_exempt(url: str, host: str | None, port: str | None) -> None:
    blocks = ("127.0.0.0/8", "fd00::/8")
    batch = batch_of([row(url=url)])
    assert answers(UrlHost(allow_addresses=blocks), batch) == [host]
    assert answers(UrlPort(allow_addresses=blocks), batch) == [port]


def test_a_bad_network_block_is_named() -> None:
    with pytest.raises(ValueError, match=r"url\.host\.allow_addresses.*10\.0\.0\.1/8"):
        UrlHost(allow_addresses=("10.0.0.1/8",))


def test_another_port_can_be_allowed() -> None:
    batch = batch_of([row(url="http://example.org:81/"), row(url="http://example.org:8080/")])
    assert answers(UrlPort(ports=(81,)), batch) == [None, "url_port"]


def test_a_port_of_thousands_of_digits_is_only_a_wrong_port() -> None:
    given = row(url="https://example.org:" + "9" * 5000 + "/a.jpg", canonical_url=None)
    assert answers(UrlPort(), batch_of([given])) == ["url_port"]
