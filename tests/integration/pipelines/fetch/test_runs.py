"""What a run promises: every row once, limits, retries, deadlines, errors, memory."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from helpers.pipelines.servers import NameServer, WebServer, body_of

from pipelines.fetch import FetchConfig, Fetcher, FetchStats, NetworkUnhealthy, Request, Response
from shards.outcomes import Outcome

CONFIG = FetchConfig(
    allow_addresses=("127.0.0.0/8",),
    deadline_s=3.0,
    connect_timeout_s=1.0,
    low_speed_s=2,
    retries=2,
    retry_delay_s=0.05,
    host_connections=32,
    host_rate_per_s=10_000.0,
    decode_threads=2,
)


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer(max_s=60) as running:
        yield running


class Sink:
    """A `handle` that remembers what it was given."""

    def __init__(self) -> None:
        self.found: dict[int, Response] = {}
        self.calls: Counter[int] = Counter()
        self._lock = threading.Lock()

    def __call__(self, request: Request, response: Response) -> None:
        with self._lock:
            self.found[request.index] = response
            self.calls[request.index] += 1

    @property
    def outcomes(self) -> list[str]:
        return [self.found[n].outcome for n in sorted(self.found)]


def rows(*urls: str) -> list[Request]:
    return [Request(n, url) for n, url in enumerate(urls)]


def fetch(
    config: FetchConfig, urls: list[str], deadline_s: float = 20.0
) -> tuple[Sink, FetchStats]:
    sink, fetcher = Sink(), Fetcher(config)
    try:
        return sink, fetcher.run(rows(*urls), handle=sink, deadline_s=deadline_s)
    finally:
        fetcher.close()


def test_every_row_is_handled_exactly_once_and_counted(server: WebServer) -> None:
    urls = [server.url(f"/good/{n}" if n % 3 else "/status/404") for n in range(1, 601)]
    sink, stats = fetch(CONFIG, urls)
    assert set(sink.calls.values()) == {1}
    assert len(sink.calls) == 600
    assert stats.outcomes == {"http_not_found": 200, "success": 400}
    assert (stats.rows, stats.attempts, stats.retries) == (600, 600, 0)
    bodies = sum(n for n in range(1, 601) if n % 3)
    assert bodies <= stats.received_bytes <= bodies + 200 * 20


def test_no_rows_is_no_work() -> None:
    sink, stats = fetch(CONFIG, [])
    assert (sink.calls, stats.rows) == (Counter(), 0)


RETRIED = [
    ("/flaky/1?name=a", 2, Outcome.SUCCESS, 2),
    ("/flaky/2?name=b", 2, Outcome.SUCCESS, 3),
    ("/flaky/3?name=c", 2, Outcome.HTTP_SERVER_ERROR, 3),
    ("/flaky/1?name=d", 0, Outcome.HTTP_SERVER_ERROR, 1),
    ("/lying", 1, Outcome.BODY_TRUNCATED, 2),
    ("/status/404", 2, Outcome.HTTP_NOT_FOUND, 1),
    ("/status/403", 2, Outcome.HTTP_FORBIDDEN, 1),
    ("/empty", 2, Outcome.BODY_EMPTY, 1),
    ("/busy/1?name=e&after=0", 2, Outcome.SUCCESS, 2),
    ("/busy/9?name=f&after=0", 2, Outcome.HTTP_TOO_MANY_REQUESTS, 3),
]


@pytest.mark.parametrize(("path", "retries", "outcome", "requests"), RETRIED)
def test_only_transient_failures_are_tried_again(
    server: WebServer, path: str, retries: int, outcome: Outcome, requests: int
) -> None:
    config = dataclasses.replace(CONFIG, retries=retries)
    sink, stats = fetch(config, [server.url(path)])
    assert sink.outcomes == [outcome]
    assert len(server.log.seen) == requests == 1 + stats.retries


def test_retry_after_holds_back_the_host_and_nobody_else(server: WebServer) -> None:
    with WebServer() as other:
        paths = ["/busy/1?after=1", *(f"/good/{n}" for n in range(1, 4))]
        config = dataclasses.replace(CONFIG, host_connections=1)
        # 127.0.0.2 is another host name for the same machine.
        urls = [server.url(path) for path in paths]
        urls += [other.url("/good/5", host="localhost")] * 5
        sink, _ = fetch(config, urls)
    times = [seen.at for seen in server.log.seen]
    assert sink.outcomes == [Outcome.SUCCESS] * 9
    assert times[1] - times[0] >= 0.95
    assert server.log.seen[-1].path == "/busy/1?after=1"  # behind the host's other rows
    assert max(seen.at for seen in other.log.seen) < times[0] + 0.9


def test_retry_after_is_capped_and_a_wait_past_the_deadline_is_not_waited(
    server: WebServer,
) -> None:
    capped = dataclasses.replace(CONFIG, retry_after_cap_s=0.3)
    started = time.monotonic()
    sink, _ = fetch(capped, [server.url("/busy/1?after=3600")])
    late, _ = fetch(CONFIG, [server.url("/busy/1?after=3600&name=x")], deadline_s=5.0)
    assert sink.outcomes == [Outcome.SUCCESS]
    assert late.outcomes == [Outcome.HTTP_TOO_MANY_REQUESTS]
    assert time.monotonic() - started < 5.0


def test_host_limits_hold_over_concurrent_runs(server: WebServer) -> None:
    config = dataclasses.replace(CONFIG, host_connections=3, host_rate_per_s=40.0)
    fetcher, sinks = Fetcher(config), [Sink(), Sink()]
    requests = rows(*[server.url("/good/10?wait=0.02")] * 20)
    threads = [
        threading.Thread(
            target=fetcher.run, args=(requests,), kwargs={"handle": s, "deadline_s": 20}
        )
        for s in sinks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    fetcher.close()
    times = sorted(seen.at for seen in server.log.seen)
    assert [len(sink.calls) for sink in sinks] == [20, 20]
    assert server.log.busiest <= 3
    assert times[-1] - times[0] >= 39 / 40 - 0.15  # one catch-up window


def test_a_saturated_host_does_not_block_the_others(server: WebServer) -> None:
    config = dataclasses.replace(CONFIG, host_rates={"127.0.0.1": 5.0}, connections=8)
    with WebServer() as other:
        urls = [server.url("/good/10")] * 8 + [other.url("/good/10", host="localhost")] * 100
        sink, _ = fetch(config, urls)
        quick = max(seen.at for seen in other.log.seen)
    assert sink.outcomes == [Outcome.SUCCESS] * 108
    assert quick < server.log.seen[3].at


def test_a_slow_run_does_not_keep_another_waiting(server: WebServer) -> None:
    fetcher, slow, quick = Fetcher(CONFIG), Sink(), Sink()
    thread = threading.Thread(
        target=fetcher.run,
        args=(rows(*[server.url("/never")] * 10),),
        kwargs={"handle": slow, "deadline_s": 2.5},
    )
    thread.start()
    started = time.monotonic()
    fetcher.run(rows(*[server.url("/good/10")] * 50), handle=quick, deadline_s=20)
    quick_s = time.monotonic() - started
    thread.join(10)
    fetcher.close()
    assert quick.outcomes == [Outcome.SUCCESS] * 50
    assert quick_s < 2.0
    assert slow.outcomes == [Outcome.DEADLINE] * 10


def test_what_is_left_at_the_deadline_gets_it(server: WebServer) -> None:
    config = dataclasses.replace(CONFIG, host_connections=4, deadline_s=60.0, low_speed_s=60)
    urls = [server.url("/good/10")] * 4 + [server.url("/never")] * 40
    started = time.monotonic()
    sink, stats = fetch(config, urls, deadline_s=1.0)
    assert time.monotonic() - started < 5.0
    assert sink.outcomes == [Outcome.SUCCESS] * 4 + [Outcome.DEADLINE] * 40
    assert stats.outcomes == {"deadline": 40, "success": 4}


@pytest.mark.parametrize("where", ["handle", "inspect"])
def test_an_exception_fails_its_own_run_only(server: WebServer, where: str) -> None:
    fetcher, good = Fetcher(CONFIG), Sink()
    calls = Counter[str]()

    def boom(request: Request, _: object) -> None:
        calls[where] += 1
        if request.index == 7:
            raise KeyError("the caller's own bug")

    def ignore(_: Request, __: object) -> None:
        calls["handle"] += 1

    slow = [server.url("/good/1000?wait=0.02")] * 200
    bad = {"handle": boom} if where == "handle" else {"handle": ignore, "inspect": boom}
    thread = threading.Thread(
        target=fetcher.run, args=(rows(*slow),), kwargs={"handle": good, "deadline_s": 20}
    )
    thread.start()
    with pytest.raises(KeyError, match="own bug"):
        fetcher.run(rows(*slow), deadline_s=20, **bad)
    stopped = calls.total()
    thread.join(20)
    fetcher.close()
    assert good.outcomes == [Outcome.SUCCESS] * 200
    assert calls.total() == stopped  # nothing is handled after run has returned


def test_closing_ends_runs_and_refuses_new_ones(server: WebServer) -> None:
    fetcher, errors = Fetcher(CONFIG), []

    def run() -> None:
        try:
            fetcher.run(rows(*[server.url("/never")] * 5), handle=Sink(), deadline_s=30)
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.2)
    fetcher.close()
    fetcher.close()
    thread.join(5)
    assert errors == ["the fetcher was closed"]
    with pytest.raises(RuntimeError, match="closed"):
        fetcher.run(rows(server.url("/good/1")), handle=Sink(), deadline_s=1)


def test_memory_is_bounded_by_a_slow_decoder(server: WebServer) -> None:
    config = dataclasses.replace(
        CONFIG,
        connections=4,
        decode_threads=1,
        host_connections=4,
        max_held_bytes=20_000_000,
        deadline_s=30.0,
    )
    fetcher, held = Fetcher(config), []
    done = 0

    def slow(_: Request, response: Response) -> None:
        nonlocal done
        assert response.body == body_of(5_000_000)
        time.sleep(0.02)
        held.append(len(server.log.seen) - done)
        done += 1

    stats = fetcher.run(rows(*[server.url("/good/5000000")] * 40), handle=slow, deadline_s=50)
    fetcher.close()
    assert stats.outcomes == {"success": 40}
    # Four bodies of 5 MB in memory, of which one is being handled; a transfer starts below that,
    # and four at a time may be on their way.
    assert max(held) <= 4 + 4


def test_bodies_in_memory_stay_below_their_limit(server: WebServer) -> None:
    """32 connections at once to 5 MB bodies: at the limit all but the oldest pause."""
    config = dataclasses.replace(
        CONFIG, decode_threads=1, max_held_bytes=10_000_000, deadline_s=30.0
    )
    fetcher = Fetcher(config)
    engine, highest = fetcher._engine, [0]
    resume = engine._resume

    def watch() -> None:
        arriving = sum(t._body.getbuffer().nbytes for t, _ in engine._active.values())
        highest.append(arriving + engine.pool.held_bytes)
        resume()

    engine._resume = watch  # type: ignore[method-assign]
    stats = fetcher.run(
        rows(*[server.url("/good/5000000")] * 40), handle=lambda *_: None, deadline_s=40
    )
    fetcher.close()
    assert stats.outcomes == {"success": 40}
    assert 5_000_000 < max(highest) <= 10_000_000 + 5_000_000 + 32 * 262_144


def test_bandwidth_is_limited_on_average(server: WebServer) -> None:
    config = dataclasses.replace(CONFIG, max_mbps=8.0, connections=2)  # 1 MB/s
    started = time.monotonic()
    sink, _ = fetch(config, [server.url("/good/200000")] * 15)  # 3 MB, 1 s of it in advance
    assert sink.outcomes == [Outcome.SUCCESS] * 15
    assert 1.3 < time.monotonic() - started < 6.0


SICK = dataclasses.replace(
    CONFIG,
    health_window=50,
    health_min_events=20,
    health_pause_s=0.1,
    health_rounds=2,
    health_probe_urls=("http://probe-1.test/", "http://probe-2.test/"),
    retries=0,
)


def test_mass_dns_failure_stops_the_run_instead_of_failing_rows() -> None:
    sink = Sink()
    with NameServer({}, default="servfail") as names:
        fetcher = Fetcher(dataclasses.replace(SICK, dns_servers=(names.address,)))
        urls = [f"http://h{n}.test/x.jpg" for n in range(500)]
        with pytest.raises(NetworkUnhealthy, match="look-ups failed"):
            fetcher.run(rows(*urls), handle=sink, deadline_s=30)
        fetcher.close()
    assert len(sink.calls) < 150
    assert {"probe-1.test", "probe-2.test"} <= set(names.asked)


def test_a_resolver_that_never_answers_stops_the_run_too() -> None:
    config = dataclasses.replace(SICK, connect_timeout_s=0.3)
    with NameServer({}, default="silent") as names:
        fetcher = Fetcher(dataclasses.replace(config, dns_servers=(names.address,)))
        urls = [f"http://h{n}.test/x.jpg" for n in range(500)]
        with pytest.raises(NetworkUnhealthy):
            fetcher.run(rows(*urls), handle=Sink(), deadline_s=30)
        fetcher.close()


def test_names_the_system_cannot_find_stop_the_run() -> None:
    fetcher = Fetcher(
        dataclasses.replace(SICK, health_rounds=1, health_probe_urls=("http://p.invalid/",))
    )
    with pytest.raises(NetworkUnhealthy, match="look-ups failed"):
        fetcher.run(
            rows(*[f"http://h{n}.invalid/x.jpg" for n in range(100)]), handle=Sink(), deadline_s=30
        )
    fetcher.close()


def test_a_deadline_while_the_gate_is_closed_fails_the_run_not_its_rows() -> None:
    sink = Sink()
    with NameServer({}, default="servfail") as names:
        config = dataclasses.replace(SICK, dns_servers=(names.address,), health_pause_s=60.0)
        fetcher = Fetcher(config)
        with pytest.raises(NetworkUnhealthy, match="when the deadline came"):
            fetcher.run(
                rows(*[f"http://h{n}.test/x" for n in range(500)]), handle=sink, deadline_s=2.5
            )
        fetcher.close()
    assert Outcome.DEADLINE not in sink.outcomes


def test_dead_hosts_on_a_sound_network_are_just_dead(server: WebServer) -> None:
    table = {f"h{n}.test": ("127.0.0.1",) for n in range(0, 200, 2)}
    probes = tuple(server.url("/status/404", host=f"h{n}.test") for n in (0, 2))
    with NameServer({**table}) as names:
        config = dataclasses.replace(SICK, dns_servers=(names.address,), health_probe_urls=probes)
        sink, stats = fetch(config, [server.url("/good/9", f"h{n}.test") for n in range(200)])
    assert stats.outcomes == {"dns_error": 100, "success": 100}
    assert sink.outcomes[:2] == [Outcome.SUCCESS, Outcome.DNS_ERROR]


def test_mass_connect_failure_stops_the_run() -> None:
    with NameServer({}, default="") as names:
        names._table = {f"h{n}.test": ("127.0.0.1",) for n in range(200)}
        config = dataclasses.replace(
            SICK, dns_servers=(names.address,), health_probe_urls=("http://127.0.0.1:1/",)
        )
        fetcher = Fetcher(config)
        with pytest.raises(NetworkUnhealthy, match="connects failed"):
            fetcher.run(
                rows(*[f"http://h{n}.test:1/x" for n in range(200)]), handle=Sink(), deadline_s=30
            )
        fetcher.close()


NAMES: dict[str, tuple[str, ...] | str] = {
    "good.test": ("127.0.0.1",),
    "inside.test": ("10.0.0.1",),
    "metadata.test": ("169.254.169.254",),
    "mixed.test": ("10.0.0.1", "127.0.0.1"),
    "mapped.test": ("::ffff:10.0.0.1",),
    "none.test": (),
    "broken.test": "servfail",
}
RESOLVED = [
    ("good.test", Outcome.SUCCESS),
    ("GOOD.test", Outcome.SUCCESS),
    ("inside.test", Outcome.PRIVATE_ADDRESS),
    ("metadata.test", Outcome.PRIVATE_ADDRESS),
    ("mixed.test", Outcome.SUCCESS),  # only the address that is allowed was tried
    ("mapped.test", Outcome.PRIVATE_ADDRESS),
    ("none.test", Outcome.DNS_ERROR),
    ("broken.test", Outcome.DNS_ERROR),
    ("missing.test", Outcome.DNS_ERROR),
    ("2130706433", Outcome.SUCCESS),  # an address needs no resolver, and is exempt here
]


def test_answers_of_a_chosen_resolver_are_guarded_and_remembered(server: WebServer) -> None:
    sink, again = Sink(), Sink()
    with NameServer(NAMES) as names:
        fetcher = Fetcher(dataclasses.replace(CONFIG, dns_servers=(names.address,), retries=0))
        urls = [server.url("/good/10", host) for host, _ in RESOLVED]
        fetcher.run(rows(*urls, *[urls[0]] * 20), handle=sink, deadline_s=20)
        fetcher.run(rows(*urls), handle=again, deadline_s=20)
        fetcher.close()
    expected = [outcome for _, outcome in RESOLVED]
    assert (sink.outcomes[: len(expected)], again.outcomes) == (expected, expected)
    counts = {name: names.asked.count(name) for name in ("good.test", "missing.test")}
    assert counts == {"good.test": 1, "missing.test": 1}
    assert names.asked.count("broken.test") == 2 * 3  # a failure is asked again, every time


def test_a_second_resolver_helps_out(server: WebServer) -> None:
    with NameServer({}, default="servfail") as broken, NameServer(NAMES) as sound:
        config = dataclasses.replace(CONFIG, dns_servers=(broken.address, sound.address))
        sink, stats = fetch(config, [server.url("/good/10", "good.test")])
    assert (sink.outcomes, stats.retries) == ([Outcome.SUCCESS], 0)
