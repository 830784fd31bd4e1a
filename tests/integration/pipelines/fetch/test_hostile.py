"""Servers and names that once ended the fetch thread, hid an outage or outlived a deadline."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import textwrap
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.pipelines.fetching import fetch
from helpers.pipelines.servers import NameServer, WebServer

from pipelines.fetch import FetchConfig
from shards.outcomes import Outcome

CONFIG = FetchConfig(
    allow_addresses=("127.0.0.0/8",),
    deadline_s=2.0,
    connect_timeout_s=1.5,
    low_speed_s=1,
    retries=0,
    host_connections=32,
    host_rate_per_s=10_000.0,
    decode_threads=2,
)


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with WebServer(max_s=90) as running:
        yield running


def raw(text: str) -> str:
    return "/raw?" + urllib.parse.urlencode({"text": text})


HEADS = [
    ("/announce/4301", Outcome.BODY_TOO_LARGE),
    ("/announce/60000", Outcome.BODY_TOO_LARGE),
    (raw(r"HTTP/1.1\t404\r\nContent-Length: 3\r\n\r\nabc"), Outcome.HTTP_NOT_FOUND),
    (raw(r"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nabc"), Outcome.HTTP_OTHER),
    (raw(r"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"), Outcome.SUCCESS),
    ("/to?url=/good/9&X-Robots-Tag=noai", Outcome.OPT_OUT),
    ("/to?url=/good/9&TDM-Reservation=1", Outcome.OPT_OUT),
    ("/to?url=/good/9&X-Robots-Tag=nofollow", Outcome.SUCCESS),
    ("/status/404?", Outcome.HTTP_NOT_FOUND),
]


def test_odd_heads_cost_their_own_row_only(server: WebServer) -> None:
    responses = fetch(CONFIG, *(server.url(path) for path, _ in HEADS))
    assert [response.outcome for response in responses] == [outcome for _, outcome in HEADS]
    assert max(len(response.message) for response in responses) < 60  # nothing of a server's text


def test_a_transfer_given_up_as_it_resumes_ends_its_row_only(server: WebServer) -> None:
    """At the memory limit transfers pause; resumed ones turn out to be larger than allowed."""
    config = dataclasses.replace(
        CONFIG, max_held_bytes=600_000, max_body_bytes=500_000, decode_threads=1, deadline_s=9.0
    )
    urls = [server.url("/huge/chunked?mb=4"), server.url("/good/400000")] * 24
    outcomes = [response.outcome for response in fetch(config, *urls, deadline_s=40)]
    assert outcomes == [Outcome.BODY_TOO_LARGE, Outcome.SUCCESS] * 24


FAULTY = ["_on_header", "_on_body", "_on_socket", "start", "finish"]


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_of_ours_ends_its_row_and_is_logged_once(
    server: WebServer,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from pipelines.fetch.transfer import Transfer

    sound = getattr(Transfer, name)

    def faulty(self: Transfer, *arguments: object, **options: object) -> object:
        target = arguments[0] if name == "start" else self._target
        if "/good/13" in getattr(target, "url", ""):
            raise ZeroDivisionError("planted")
        return sound(self, *arguments, **options)

    monkeypatch.setattr(Transfer, name, faulty)
    paths = ["/good/13", "/good/10", "/good/13?again", "/good/11"]
    responses = fetch(CONFIG, *map(server.url, paths))
    fault, good = Outcome.INTERNAL_ERROR, Outcome.SUCCESS
    assert [response.outcome for response in responses] == [fault, good, fault, good]
    assert responses[0].message == "ZeroDivisionError"
    logged = [record for record in caplog.records if record.exc_info]
    assert len(logged) == 1
    assert "planted" in str(logged[0].exc_info)


def test_look_ups_and_waits_are_part_of_the_deadline(server: WebServer) -> None:
    """A redirect leads to a name that is never found; another to a host without a free place."""
    table: dict[str, tuple[str, ...] | str] = {"silent.test": "silent", "slow.test": ("127.0.0.1",)}
    with NameServer(table) as names:
        config = dataclasses.replace(
            CONFIG,
            connect_timeout_s=60.0,
            host_rates={"slow.test": 0.1},
            dns_servers=(names.address,),
        )
        to_silent = "/to?wait=0.5&url=http://silent.test/x.jpg"
        to_slow = "/to?wait=0.5&url=" + server.url("/good/9", "slow.test")
        urls = [server.url("/good/9", "slow.test"), *map(server.url, (to_silent, to_slow, to_slow))]
        started = time.monotonic()
        responses = fetch(config, *urls, deadline_s=30)
    assert time.monotonic() - started < 1.1 * CONFIG.deadline_s + 1.0
    outcomes = [response.outcome for response in responses]
    assert outcomes == [Outcome.SUCCESS, Outcome.DNS_ERROR, Outcome.TIMEOUT, Outcome.TIMEOUT]


NAMESPACE = """
    import socket, sys, time
    from pipelines.fetch import FetchConfig, Fetcher, NetworkUnhealthy, Request

    mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    mute.bind(("127.0.0.1", 53))  # hears every question and answers none
    config = FetchConfig(
        deadline_s=3.0, connect_timeout_s=0.5, retries=0, health_window=50, health_min_events=20,
        health_pause_s=0.1, health_rounds=1, health_probe_urls=("http://probe.example.org/",),
    )
    rows = [Request(n, f"http://h{n}.example.org/x.jpg") for n in range(200)]
    outcomes = []
    fetcher = Fetcher(config)
    try:
        fetcher.run(rows, handle=lambda _, got: outcomes.append(got.outcome), deadline_s=30)
    except NetworkUnhealthy as error:
        print("unhealthy:", error)
    print("outcomes:", sorted(set(map(str, outcomes))), len(outcomes) < 200, flush=True)
    fetcher.close()
"""


def test_the_gate_sees_look_ups_of_the_system_that_time_out(tmp_path: Path) -> None:
    """With libcurl's own look-ups, in a network whose name server answers nothing."""
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\n")
    inside = f"ip link set lo up && mount --bind {resolv} /etc/resolv.conf"
    namespace = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-c"]
    can = shutil.which("unshare") and shutil.which("ip")
    if not can or subprocess.run([*namespace, inside], capture_output=True, check=False).returncode:
        pytest.skip("needs Linux, and leave to make network namespaces")
    script = tmp_path / "inside.py"
    script.write_text(textwrap.dedent(NAMESPACE))
    ended = subprocess.run(
        [*namespace, f"{inside} && exec {sys.executable} {script}"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        check=False,
    )
    assert "unhealthy: network unhealthy" in ended.stdout, ended.stdout + ended.stderr
    assert "look-ups failed" in ended.stdout
    assert "outcomes: ['dns_error'] True" in ended.stdout
