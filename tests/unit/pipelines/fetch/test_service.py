"""One fetcher per process; the config that describes it; an import that costs nothing."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.fetch import FetchConfig, close_shared_fetcher, shared_fetcher
from pipelines.fetch.config import parse_server


@pytest.fixture(autouse=True)
def no_fetcher_left() -> Iterator[None]:
    yield
    close_shared_fetcher()


def test_the_same_config_gets_the_same_fetcher_and_another_is_an_error() -> None:
    first = shared_fetcher(FetchConfig(decode_threads=1))
    assert shared_fetcher(FetchConfig(decode_threads=1)) is first
    with pytest.raises(ValueError, match=r"decode_threads: 1 / 2"):
        shared_fetcher(FetchConfig(decode_threads=2))


def test_a_closed_fetcher_is_replaced() -> None:
    first = shared_fetcher(FetchConfig(decode_threads=1))
    first.close()
    second = shared_fetcher(FetchConfig(decode_threads=2))
    assert second is not first
    assert not second.closed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_starts_its_own() -> None:
    code = (
        "import os, sys\n"
        "from pipelines.fetch import FetchConfig, shared_fetcher\n"
        "config = FetchConfig(decode_threads=1)\n"
        "first = shared_fetcher(config)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    second = shared_fetcher(config)\n"
        "    second.run([], handle=print, deadline_s=1)\n"
        "    os._exit(0 if second is not first and not second.closed else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    assert done.returncode == 0


def test_a_process_ends_with_its_fetcher_running() -> None:
    code = (
        "from pipelines.fetch import FetchConfig, shared_fetcher\n"
        "shared_fetcher(FetchConfig(decode_threads=1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=30, check=False, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_config_travels_to_workers() -> None:
    config = FetchConfig(host_rates={"a.org": 3.0}, allow_addresses=("127.0.0.0/8",))
    assert pickle.loads(pickle.dumps(config)) == config


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"connections": 0}, "connections=0"),
    ({"deadline_s": -1.0}, "deadline_s=-1.0"),
    ({"deadline_s": float("nan")}, "deadline_s=nan"),
    ({"retries": -1}, "retries=-1"),
    ({"max_mbps": 0.0}, "max_mbps=0.0"),
    ({"health_lookup_failures": 1.5}, "health_lookup_failures=1.5"),
    ({"allow_addresses": ("localhost",)}, "allow_addresses='localhost'"),
    ({"allow_addresses": ("127.0.0.1/8",)}, "allow_addresses='127.0.0.1/8'"),
    ({"ports": (80, 70_000)}, "ports=70000"),
    ({"host_rates": {"a": 0.0}}, r"host_rates\['a'\]=0.0"),
    ({"dns_servers": ("dns.google",)}, "dns_servers='dns.google'"),
    ({"ca_file": "no/such.pem"}, "ca_file='no/such.pem'"),
    ({"health_probe_urls": ("example.com",)}, "health_probe_urls='example.com'"),
]


@pytest.mark.parametrize(("values", "message"), WRONG)
def test_wrong_values_name_their_field(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        FetchConfig(**values)
    assert "\n" not in str(caught.value)


SERVERS = [
    ("9.9.9.9", ("9.9.9.9", 53)),
    ("127.0.0.1:5353", ("127.0.0.1", 5353)),
    ("2620:fe::fe", ("2620:fe::fe", 53)),
    ("[2620:fe::fe]:54", ("2620:fe::fe", 54)),
    ("[2620:fe::fe]", ("2620:fe::fe", 53)),
]


@pytest.mark.parametrize(("text", "expected"), SERVERS)
def test_resolvers_are_parsed(text: str, expected: tuple[str, int]) -> None:
    assert parse_server(text) == expected
