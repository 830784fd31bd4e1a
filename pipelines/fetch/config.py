"""What a fetcher may do, as one frozen value.

In: the options of a download job. Out: a checked `FetchConfig`; a wrong value is a
`ValueError` that names the field and what it accepts.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from pipelines.fetch.urls import target
from shards.outcomes import Outcome

USER_AGENT = "Groundwork/0.1 (image fetcher for dataset research; honours X-Robots-Tag)"


def _usable_cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))  # a container's share, not the machine's
    return os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class FetchConfig:
    """Limits, manners and addresses of the one fetcher of a process.

    Raises `ValueError` when a field is out of its range.
    """

    connections: int = 64
    """Transfers at the same time, over all hosts."""

    deadline_s: float = 20.0
    """Longest time one attempt may take, its redirects included."""

    connect_timeout_s: float = 5.0
    """Longest time for name look-up, TCP and TLS of one hop."""

    low_speed_bytes_s: int = 1024
    """A transfer slower than this for `low_speed_s` seconds is given up as `too_slow`."""

    low_speed_s: int = 10
    """How long a transfer may stay below `low_speed_bytes_s`."""

    max_body_bytes: int = 20_000_000
    """Largest body, on the wire and after inflating a compressed one."""

    max_held_bytes: int = 256_000_000
    """No transfer starts while bodies in memory, arriving or undelivered, exceed this."""

    max_redirects: int = 5
    """Hops an attempt may follow."""

    ports: tuple[int, ...] = (80, 443, 8080, 8443)
    """Ports that may be connected to, checked for every hop."""

    allow_addresses: tuple[str, ...] = ()
    """CIDRs exempt from the address and port rules: tests, the demo, an intranet."""

    ca_file: str | None = None
    """PEM bundle of trusted certificate authorities; None is certifi's."""

    user_agent: str = USER_AGENT
    """Sent with every request; operators should add a contact address."""

    respect_opt_out: bool = True
    """Give up a response whose headers reserve the rights to it (`opt_out`)."""

    retries: int = 2
    """Further attempts after a transient failure, made when the item's other rows are done."""

    retry_delay_s: float = 1.0
    """Wait before the first further attempt; doubles with each."""

    retry_after_cap_s: float = 60.0
    """Longest back-off of a host, whatever its Retry-After asks for."""

    host_connections: int = 4
    """Transfers at the same time to one host name."""

    host_rate_per_s: float = 10.0
    """Requests per second to one host name."""

    host_rates: Mapping[str, float] = field(default_factory=dict)
    """Requests per second by host name, or by `.suffix` for every name below it; wins over
    the shipped `hosts.txt`."""

    max_mbps: float | None = None
    """Megabits per second received, averaged; None is no limit."""

    dns_servers: tuple[str, ...] = ()
    """Resolvers to ask, as `ADDRESS` or `ADDRESS:PORT`; () uses the system's."""

    dns_cache_s: int = 600
    """How long an address is remembered."""

    decode_threads: int = field(default_factory=_usable_cores)
    """Threads that run `handle`; bodies wait for them within `max_held_bytes`."""

    head_bytes: int = 65536
    """`inspect` sees this many first bytes, or the whole of a shorter body."""

    health_window: int = 1000
    """The gate judges the last so many hosts looked up, and the last so many connected to."""

    health_min_events: int = 100
    """The gate says nothing before it has seen this many hosts."""

    health_lookup_failures: float = 0.2
    """Share of failed look-ups above which the gate closes."""

    health_connect_failures: float = 0.5
    """Share of failed connects above which the gate closes."""

    health_pause_s: float = 30.0
    """Wait between two rounds of probes while the gate is closed."""

    health_rounds: int = 3
    """Rounds of probes before the run is stopped with `NetworkUnhealthy`."""

    health_probe_urls: tuple[str, ...] = (
        "https://www.iana.org/",
        "https://www.wikipedia.org/",
        "https://example.com/",
    )
    """Asked by the gate; half of them must answer, with any status."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be greater than 0")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: must not be negative")
        for name in _SHARES:
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be in (0, 1]")
        if self.max_mbps is not None and not self.max_mbps > 0:
            raise ValueError(f"max_mbps={self.max_mbps!r}: must be greater than 0, or None")
        if self.ca_file is not None and not os.path.isfile(self.ca_file):
            raise ValueError(f"ca_file={self.ca_file!r}: no such file; None uses certifi's")
        self._check_addresses()

    def _check_addresses(self) -> None:
        for cidr in self.allow_addresses:
            try:
                ipaddress.ip_network(cidr)
            except ValueError as error:
                raise ValueError(
                    f"allow_addresses={cidr!r}: {error}; write a network such as 127.0.0.0/8"
                ) from error
        for port in self.ports:
            if not 0 < port < 65536:
                raise ValueError(f"ports={port!r}: a port is 1 to 65535")
        for host, rate in self.host_rates.items():
            if not rate > 0:
                raise ValueError(f"host_rates[{host!r}]={rate!r}: must be greater than 0")
        for server in self.dns_servers:
            parse_server(server)
        bad = [url for url in self.health_probe_urls if isinstance(target(url), Outcome)]
        if bad:
            raise ValueError(f"health_probe_urls={bad[0]!r}: write a full http or https URL")

    def differences(self, other: FetchConfig) -> list[str]:
        """Return `name: own / theirs` for every field that differs."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return [f"{name}: {own!r} / {theirs!r}" for name, own, theirs in pairs if own != theirs]


_POSITIVE = (
    "connections",
    "deadline_s",
    "connect_timeout_s",
    "low_speed_s",
    "max_body_bytes",
    "max_held_bytes",
    "host_connections",
    "host_rate_per_s",
    "decode_threads",
    "head_bytes",
    "health_window",
    "health_min_events",
    "health_rounds",
    "retry_after_cap_s",
)
_NOT_NEGATIVE = (
    "low_speed_bytes_s",
    "max_redirects",
    "retries",
    "retry_delay_s",
    "dns_cache_s",
    "health_pause_s",
)
_SHARES = ("health_lookup_failures", "health_connect_failures")


def parse_server(text: str) -> tuple[str, int]:
    """Return (address, port) of a resolver written `1.2.3.4`, `1.2.3.4:5353` or `[::1]:53`."""
    address, port = text, "53"
    if text.startswith("[") and "]" in text:
        address, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or "53"
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    try:
        ipaddress.ip_address(address)
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError("a port is 1 to 65535")
    except ValueError as error:
        raise ValueError(
            f"dns_servers={text!r}: {error}; write 9.9.9.9, 9.9.9.9:53 or [2620:fe::fe]:53"
        ) from error
    return address, int(port)
