"""Every way a server can answer, and the one outcome it must get, in bounded time."""

from __future__ import annotations

import dataclasses
import threading
import time
import urllib.parse
from collections.abc import Iterator

import pytest
from helpers.pipelines.fetching import fetch
from helpers.pipelines.servers import WebServer, body_of

from pipelines.fetch import FetchConfig, Fetcher, Request, Response
from shards.outcomes import Outcome

CONFIG = FetchConfig(
    allow_addresses=("127.0.0.0/8",),
    deadline_s=3.0,
    connect_timeout_s=1.0,
    low_speed_bytes_s=2000,
    low_speed_s=1,
    max_body_bytes=2_000_000,
    retries=0,
    host_connections=32,
    host_rate_per_s=1000.0,
    decode_threads=2,
)


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with WebServer(max_s=90) as running:
        yield running


def to(url: str) -> str:
    return "/to?" + urllib.parse.urlencode({"url": url})


ROUTES = [
    ("/good/1000", Outcome.SUCCESS),
    ("/good/1900000", Outcome.SUCCESS),
    ("/hints", Outcome.SUCCESS),
    ("/html", Outcome.SUCCESS),  # what a body is, is the decoder's business
    ("/redirect/4", Outcome.SUCCESS),
    ("/gzip/good", Outcome.SUCCESS),
    ("/header?Content-Encoding=utf-8", Outcome.SUCCESS),
    ("/header?X-Robots-Tag=nofollow", Outcome.SUCCESS),
    ("/header?tdm-reservation=0", Outcome.SUCCESS),
    ("/redirect/5", Outcome.TOO_MANY_REDIRECTS),
    ("/loop", Outcome.TOO_MANY_REDIRECTS),
    (to("file:///etc/passwd"), Outcome.SCHEME_NOT_ALLOWED),
    (to("ftp://127.0.0.1/x.jpg"), Outcome.SCHEME_NOT_ALLOWED),
    (to("gopher://127.0.0.1:70/"), Outcome.SCHEME_NOT_ALLOWED),
    (to("data:image/png;base64,AAAA"), Outcome.SCHEME_NOT_ALLOWED),
    (to("http://10.0.0.1/x.jpg"), Outcome.PRIVATE_ADDRESS),
    (to("http://169.254.169.254/latest/meta-data/"), Outcome.PRIVATE_ADDRESS),
    (to("//2852039166/"), Outcome.PRIVATE_ADDRESS),
    (to("http://0xa9fea9fe/"), Outcome.PRIVATE_ADDRESS),
    (to("http://[::ffff:10.0.0.1]/"), Outcome.PRIVATE_ADDRESS),
    (to("http://[64:ff9b::a9fe:a9fe]/"), Outcome.PRIVATE_ADDRESS),
    (to("http://1.1.1.1:22/"), Outcome.PORT_NOT_ALLOWED),
    (to("http://user:pw@127.0.0.1/"), Outcome.BAD_URL),
    (to("http://[::1/"), Outcome.BAD_URL),
    (to("http://127.0.0.1:1/"), Outcome.CONNECT_ERROR),
    ("/header?X-Robots-Tag=noai", Outcome.OPT_OUT),
    ("/header?X-Robots-Tag=otherbot:%20noindex,%20nofollow", Outcome.OPT_OUT),
    ("/header?tdm-reservation=1", Outcome.OPT_OUT),
    ("/status/404", Outcome.HTTP_NOT_FOUND),
    ("/status/410", Outcome.HTTP_NOT_FOUND),
    ("/status/403", Outcome.HTTP_FORBIDDEN),
    ("/status/401", Outcome.HTTP_FORBIDDEN),
    ("/status/418", Outcome.HTTP_CLIENT_ERROR),
    ("/status/500", Outcome.HTTP_SERVER_ERROR),
    ("/status/304", Outcome.HTTP_OTHER),
    ("/status/302", Outcome.HTTP_OTHER),  # no Location
    ("/huge/announced", Outcome.BODY_TOO_LARGE),
    ("/huge/chunked", Outcome.BODY_TOO_LARGE),
    ("/huge/until-close", Outcome.BODY_TOO_LARGE),
    ("/gzip/bomb", Outcome.BODY_TOO_LARGE),
    ("/gzip/cut", Outcome.BODY_TRUNCATED),
    ("/header?Content-Encoding=br", Outcome.FORMAT_NOT_SUPPORTED),
    ("/header?Content-Encoding=gzip,%20gzip", Outcome.FORMAT_NOT_SUPPORTED),
    ("/header?Content-Encoding=gzip", Outcome.DECODE_FAILED),
    ("/lying", Outcome.BODY_TRUNCATED),
    ("/cut-chunks", Outcome.BODY_TRUNCATED),
    ("/empty", Outcome.BODY_EMPTY),
    ("/nothing", Outcome.BODY_EMPTY),
    ("/hangup", Outcome.NETWORK_ERROR),
    ("/garbage", Outcome.NETWORK_ERROR),
    ("/endless-head", Outcome.NETWORK_ERROR),
    ("/drip", Outcome.TOO_SLOW),
    ("/never", Outcome.TOO_SLOW),
    ("/steady", Outcome.TIMEOUT),
]


def test_every_route_gets_its_outcome_within_the_deadline(server: WebServer) -> None:
    started = time.monotonic()
    responses = fetch(CONFIG, *(server.url(path) for path, _ in ROUTES))
    wall_s = time.monotonic() - started

    wrong = [
        (path, expected, response.outcome, response.message)
        for (path, expected), response in zip(ROUTES, responses, strict=True)
        if response.outcome != expected
    ]
    assert wrong == []
    assert wall_s < 8.0
    for response in responses:
        assert (response.body != b"") == (response.outcome == Outcome.SUCCESS)
        assert len(response.message) < 60


def test_bodies_arrive_unchanged_and_inflated(server: WebServer) -> None:
    plain, large, inflated = fetch(
        CONFIG, *map(server.url, ("/good/1000", "/good/1900000", "/gzip/good"))
    )
    assert (plain.body, large.body, inflated.body) == (
        body_of(1000),
        body_of(1_900_000),
        body_of(1000),
    )


DIRECT = [
    ("not a url", Outcome.BAD_URL),
    ("", Outcome.BAD_URL),
    ("http://", Outcome.BAD_URL),
    ("http://exa mple.org/", Outcome.BAD_URL),
    ("http://h:99999/", Outcome.BAD_URL),
    ("file:///etc/passwd", Outcome.SCHEME_NOT_ALLOWED),
    ("ftp://127.0.0.1/", Outcome.SCHEME_NOT_ALLOWED),
    ("http://127.0.0.1/", Outcome.PRIVATE_ADDRESS),
    ("http://127.0.0.1:22/", Outcome.PRIVATE_ADDRESS),
    ("http://localhost/", Outcome.PRIVATE_ADDRESS),
    ("http://2130706433/", Outcome.PRIVATE_ADDRESS),
    ("http://0x7f.1/", Outcome.PRIVATE_ADDRESS),
    ("http://0177.0.0.1/", Outcome.PRIVATE_ADDRESS),
    ("http://[::1]/", Outcome.PRIVATE_ADDRESS),
    ("http://[::]/", Outcome.PRIVATE_ADDRESS),
    ("http://[fe80::1]/", Outcome.PRIVATE_ADDRESS),
    ("http://[fd00:ec2::254]/", Outcome.PRIVATE_ADDRESS),
    ("http://1.1.1.1:25/", Outcome.PORT_NOT_ALLOWED),
]


def test_without_an_exemption_nothing_local_is_reached(server: WebServer) -> None:
    before = len(server.log.seen)
    config = dataclasses.replace(CONFIG, allow_addresses=())
    rows = [*DIRECT, (server.url("/good/1"), Outcome.PRIVATE_ADDRESS)]

    actual = [r.outcome for r in fetch(config, *(url for url, _ in rows))]

    assert actual == [outcome for _, outcome in rows]
    assert len(server.log.seen) == before


def test_proxies_of_the_environment_are_ignored(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WebServer() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        good, metadata = fetch(CONFIG, server.url("/good/10"), "http://169.254.169.254/")
    assert (good.outcome, metadata.outcome) == (Outcome.SUCCESS, Outcome.PRIVATE_ADDRESS)
    assert proxy.log.seen == []


def test_opt_out_can_be_switched_off(server: WebServer) -> None:
    config = dataclasses.replace(CONFIG, respect_opt_out=False)
    (response,) = fetch(config, server.url("/header?X-Robots-Tag=noai"))
    assert response.outcome == Outcome.SUCCESS


def test_request_headers_are_honest(server: WebServer) -> None:
    fetch(CONFIG, server.url("/good/11?caf\u00e9=a b"))
    seen = next(s for s in server.log.seen if s.path.startswith("/good/11"))
    assert seen.path == "/good/11?caf%C3%A9=a%20b"
    assert seen.headers["user-agent"] == CONFIG.user_agent
    assert seen.headers["host"] == f"127.0.0.1:{server.port}"
    assert not {"accept-encoding", "cookie", "authorization", "referer"} & seen.headers.keys()


def test_inspect_aborts_early_and_sees_small_heads(server: WebServer) -> None:
    heads: dict[int, int] = {}
    found: dict[int, Response] = {}
    lock = threading.Lock()

    def inspect(request: Request, head: bytes) -> str | None:
        with lock:
            heads[request.index] = len(head)
        return "side_ratio" if request.index % 2 else None

    paths = ["/good/100", "/good/100", "/good/1900000", "/huge/chunked?mb=1", "/gzip/good"]
    fetcher = Fetcher(CONFIG)
    fetcher.run(
        [Request(n, server.url(path)) for n, path in enumerate(paths)],
        handle=lambda request, response: found.__setitem__(request.index, response),
        inspect=inspect,
        deadline_s=20,
    )
    fetcher.close()

    outcomes = [found[n].outcome for n in range(len(paths))]
    assert outcomes == ["success", "side_ratio", "success", "side_ratio", "success"]
    assert heads == {0: 100, 1: 100, 2: 65536, 3: 65536, 4: 1000}
