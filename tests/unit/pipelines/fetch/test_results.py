"""From libcurl's codes and statuses to outcomes; further hops and attempts; inflating."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.fetch.config import FetchConfig
from pipelines.fetch.delivery import inflate
from pipelines.fetch.headers import Head
from pipelines.fetch.results import Facts, Result, code_outcome, status_outcome
from pipelines.fetch.runs import Request, Run
from pipelines.fetch.tasks import Task, next_attempt, next_hop
from pipelines.fetch.urls import Target, target
from shards.outcomes import TRANSIENT, Outcome

REACHED = Facts(
    code=0,
    opened=1,
    addressed=True,
    refused=None,
    named=True,
    reached=True,
    headed=True,
    deadline_hit=False,
    received_bytes=9,
)
CONNECTING = replace(REACHED, reached=False, headed=False, received_bytes=0)
LOOKING = replace(CONNECTING, opened=0, addressed=False)
PRIVATE, PORT = Outcome.PRIVATE_ADDRESS, Outcome.PORT_NOT_ALLOWED

CODES = [
    (REACHED, Outcome.SUCCESS),
    (replace(REACHED, received_bytes=0), Outcome.BODY_EMPTY),
    (replace(LOOKING, code=3), Outcome.BAD_URL),
    (replace(LOOKING, code=6), Outcome.DNS_ERROR),
    (replace(LOOKING, code=28), Outcome.DNS_ERROR),
    (replace(LOOKING, code=28, deadline_hit=True), Outcome.DNS_ERROR),
    (replace(LOOKING, code=28, named=False), Outcome.TIMEOUT),
    (replace(CONNECTING, code=7), Outcome.CONNECT_ERROR),
    (replace(LOOKING, code=7, refused=PRIVATE), PRIVATE),
    (replace(LOOKING, code=7, refused=PORT), PORT),
    (replace(LOOKING, code=28, refused=PRIVATE), PRIVATE),
    (replace(CONNECTING, code=7, refused=PRIVATE), Outcome.CONNECT_ERROR),
    (replace(REACHED, refused=PRIVATE), Outcome.SUCCESS),  # another address answered
    (replace(CONNECTING, code=28), Outcome.TIMEOUT),
    (replace(REACHED, code=28), Outcome.TOO_SLOW),
    (replace(REACHED, code=28, deadline_hit=True), Outcome.TIMEOUT),
    (replace(REACHED, opened=0, code=28), Outcome.TOO_SLOW),  # on a kept connection
    (replace(CONNECTING, code=35), Outcome.TLS_ERROR),
    (replace(CONNECTING, code=60), Outcome.TLS_ERROR),
    (replace(REACHED, code=18), Outcome.BODY_TRUNCATED),
    (replace(REACHED, code=92), Outcome.BODY_TRUNCATED),
    (replace(REACHED, code=56, received_bytes=0), Outcome.NETWORK_ERROR),
    (replace(REACHED, code=52, received_bytes=0), Outcome.NETWORK_ERROR),
    (replace(REACHED, code=1), Outcome.NETWORK_ERROR),
    (replace(REACHED, code=8), Outcome.NETWORK_ERROR),
    (replace(REACHED, code=99), Outcome.NETWORK_ERROR),
    (replace(REACHED, headed=False), Outcome.NETWORK_ERROR),  # a body without a head of its own
    (replace(REACHED, code=23), Outcome.INTERNAL_ERROR),  # a callback failed without a reason
]


@pytest.mark.parametrize(("facts", "expected"), CODES)
def test_codes(facts: Facts, expected: Outcome) -> None:
    assert code_outcome(facts)[0] == expected


STATUSES = [
    (404, "http_not_found"), (410, "http_not_found"), (401, "http_forbidden"),
    (403, "http_forbidden"), (451, "http_forbidden"), (429, "http_too_many_requests"),
    (400, "http_client_error"), (418, "http_client_error"), (500, "http_server_error"),
    (503, "http_server_error"), (599, "http_server_error"), (304, "http_other"),
    (302, "http_other"), (600, "http_other"), (999, "http_other"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "expected"), STATUSES)
def test_statuses(status: int, expected: str) -> None:
    assert status_outcome(status) == expected


CONFIG = FetchConfig(max_redirects=2, retries=2, retry_delay_s=1.0)


def task(attempt: int = 0, deadline_at: float = 100.0) -> Task:
    request = Request(0, "http://a.org/x")
    run = Run(0, [request], lambda *_: None, None, deadline_at)
    start = target(request.url)
    assert isinstance(start, Target)
    return Task(run, request, start, attempt)


def test_hops_end_at_the_limit() -> None:
    going = task()
    hop = Result(Outcome.HTTP_OTHER, "http 302", Head(), location=b"/y")
    assert next_hop(going, hop, CONFIG) is None
    assert going.target.url == "http://a.org/y"
    assert next_hop(going, hop, CONFIG) is None
    end = next_hop(going, hop, CONFIG)
    assert end is not None
    assert (end.outcome, end.message) == (Outcome.TOO_MANY_REDIRECTS, "more than 2 redirects")


HOPS = [
    (b"file:///x", Outcome.SCHEME_NOT_ALLOWED),
    (b"http://u:p@b.org/", Outcome.BAD_URL),
]


@pytest.mark.parametrize(("location", "expected"), HOPS)
def test_hops_that_end(location: bytes, expected: Outcome) -> None:
    hop = Result(Outcome.HTTP_OTHER, "http 302", Head(), location=location)
    end = next_hop(task(), hop, CONFIG)
    assert end is not None
    assert end.outcome == expected


ATTEMPTS = [
    (0, 0.0, 11.0),  # attempt, host free at, due
    (1, 0.0, 12.0),
    (2, 0.0, None),
    (0, 50.0, 50.0),
    (0, 100.0, None),  # past the run's deadline
]


@pytest.mark.parametrize(("attempt", "free_at", "due"), ATTEMPTS)
def test_attempts(attempt: int, free_at: float, due: float | None) -> None:
    failed = Result(Outcome.HTTP_SERVER_ERROR, "http 500", Head())
    again = next_attempt(task(attempt=attempt), failed, CONFIG, free_at=free_at, now=10.0)
    assert (again and again[0]) == due


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_transient_outcomes_get_another_attempt(outcome: Outcome) -> None:
    failed = Result(outcome, "", Head())
    again = next_attempt(task(), failed, CONFIG, free_at=0.0, now=10.0)
    assert (again is not None) == (outcome in TRANSIENT)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@given(st.binary(min_size=1, max_size=5000))
def test_inflating_gives_back_what_was_packed(data: bytes) -> None:
    assert inflate(gzip.compress(data), "gzip", 5000) == data
    assert inflate(zlib.compress(data), "deflate", 5000) == data
    assert inflate(raw_deflate(data), "deflate", 5000) == data
    assert inflate(gzip.compress(data)[:-9], "gzip", 5000) == Outcome.BODY_TRUNCATED
    assert inflate(gzip.compress(data + b"x" * 5000), "gzip", 5000) == Outcome.BODY_TOO_LARGE


def test_a_body_of_several_gzip_members_is_read_to_its_end() -> None:
    members = [gzip.compress(b"a" * 40_000), gzip.compress(b""), gzip.compress(b"b")]
    body = b"".join(members)
    assert inflate(body, "gzip", 50_000) == b"a" * 40_000 + b"b"
    assert inflate(body + b"\0" * 512, "gzip", 50_000) == b"a" * 40_000 + b"b"  # padding
    assert inflate(body[:-3], "gzip", 50_000) == Outcome.BODY_TRUNCATED
    assert inflate(body, "gzip", 40_000) == Outcome.BODY_TOO_LARGE
    assert inflate(gzip.compress(b"") * 2000, "gzip", 50_000) == Outcome.DECODE_FAILED


@given(st.binary(max_size=300))
def test_any_bytes_inflate_or_have_an_outcome(data: bytes) -> None:
    for coding in ("gzip", "deflate"):
        found = inflate(data, coding, 1000)
        assert isinstance(found, Outcome) or 0 < len(found) <= 1000
