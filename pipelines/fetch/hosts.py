"""Who may be asked next: per-host concurrency, rate and back-off, without blocking anybody.

In: work filed under a host name with a rank, and the present time. Out: the work of
lowest rank whose host is free now. Work for a saturated host waits in that host's own
queue and is taken as soon as the host is free again, so it neither blocks other hosts
nor starts later than it must. No clock, no thread, no network: the caller holds them.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Generic, TypeVar

CATCH_UP_S = 0.1
"""Starts missed by a late caller may be made up within this time, never more."""

_SWEEP_ABOVE = 20_000

Work = TypeVar("Work")
Rank = tuple[int, ...]


@dataclass(slots=True)
class _Host:
    interval_s: float
    limit: int  # connections
    queue: list[tuple[Rank, int, Any]] = field(default_factory=list)  # heap
    active: int = 0
    free_at: float = -math.inf
    strikes: int = 0  # refusals in a row
    ticket: int = 0  # entries of the two heaps with an older ticket are void


def shipped_rates() -> dict[str, float]:
    """Return `hosts.txt` as host (or `.suffix`) to requests per second."""
    text = resources.files(__package__).joinpath("hosts.txt").read_text("utf-8")
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {host: float(rate) for host, rate in rows}


def rate_of(host: str, rates: Mapping[str, float], default: float) -> float:
    """Return the rate of a host: its own entry, else its longest `.suffix`, else the default."""
    if host in rates:
        return rates[host]
    labels = host.split(".")
    for start in range(1, len(labels)):
        suffix = "." + ".".join(labels[start:])
        if suffix in rates:
            return rates[suffix]
    return default


class HostTable(Generic[Work]):
    """Queues of work by host. All times are seconds of one monotonic clock.

    A host with its own rate gets connections in the same proportion as the default:
    one number says how much it bears.
    """

    def __init__(
        self,
        *,
        connections: int,
        rate_per_s: float,
        rates: Mapping[str, float],
        max_connections: int,
        back_off_cap_s: float,
    ) -> None:
        self._connections = connections
        self._rate = rate_per_s
        self._rates = dict(rates)
        self._max = max_connections
        self._cap = back_off_cap_s
        self._hosts: dict[str, _Host] = {}
        self._ready: list[tuple[Rank, int, int, str]] = []  # rank of head, serial, ticket, host
        self._timed: list[tuple[float, int, int, str]] = []  # free at, serial, ticket, host
        self._serial = 0
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def offer(self, host: str, rank: Rank, work: Work, now: float) -> None:
        """File work under a host; lower ranks go first."""
        entry = self._hosts.get(host) or self._admit(host, now)
        self._serial += 1
        heapq.heappush(entry.queue, (rank, self._serial, work))
        self._waiting += 1
        if entry.queue[0][1] == self._serial:
            self._place(host, entry, now)

    def take(self, now: float) -> tuple[str, Work] | None:
        """Return (host, work) to start now, or None. The caller must `release` the host."""
        self._wake(now)
        while self._ready:
            _, _, ticket, host = heapq.heappop(self._ready)
            entry = self._hosts.get(host)
            if entry is None or entry.ticket != ticket:
                continue
            work = heapq.heappop(entry.queue)[2]
            self._waiting -= 1
            entry.active += 1
            entry.free_at = max(entry.free_at, now - CATCH_UP_S) + entry.interval_s
            self._place(host, entry, now)
            return host, work
        return None

    def release(self, host: str, now: float) -> None:
        """Say that work taken for this host has ended, well or not."""
        entry = self._hosts[host]
        assert entry.active > 0, host
        entry.active -= 1
        self._place(host, entry, now)

    def back_off(self, host: str, now: float, delay_s: float | None) -> float:
        """Leave a host alone for `delay_s`, or 1, 2, 4... s where it named none; at most the cap.

        Returns when it is free again.
        """
        entry = self._hosts[host]
        delay = 2.0 ** min(entry.strikes, 16) if delay_s is None else delay_s
        entry.strikes += 1
        entry.free_at = max(entry.free_at, now + min(delay, self._cap))
        self._place(host, entry, now)
        return entry.free_at

    def answered(self, host: str) -> None:
        """Say that the host served a request: the next refusal starts at 1 s again."""
        self._hosts[host].strikes = 0

    def next_wake(self) -> float | None:
        """Return when the clock alone will free a host that has work, None if never."""
        while self._timed:
            free_at, _, ticket, host = self._timed[0]
            entry = self._hosts.get(host)
            if entry is not None and entry.ticket == ticket:
                return free_at
            heapq.heappop(self._timed)
        return None

    def remove(self, unwanted: Callable[[Work], bool], now: float) -> Iterator[Work]:
        """Yield and forget the waiting work for which `unwanted` holds."""
        for host, entry in list(self._hosts.items()):
            gone = [item for item in entry.queue if unwanted(item[2])]
            if not gone:
                continue
            entry.queue = [item for item in entry.queue if not unwanted(item[2])]
            heapq.heapify(entry.queue)
            self._waiting -= len(gone)
            self._place(host, entry, now)
            yield from (item[2] for item in sorted(gone, key=lambda item: item[:2]))

    def _admit(self, host: str, now: float) -> _Host:
        if len(self._hosts) >= _SWEEP_ABOVE + self._waiting:
            self._sweep(now)
        rate = rate_of(host, self._rates, self._rate)
        share = math.ceil(round(self._connections * rate / self._rate, 6))
        entry = _Host(interval_s=1.0 / rate, limit=min(max(share, 1), self._max))
        self._hosts[host] = entry
        return entry

    def _sweep(self, now: float) -> None:
        """Forget idle hosts; one in back-off is remembered until it is over."""
        self._hosts = {
            host: entry
            for host, entry in self._hosts.items()
            if entry.queue or entry.active or entry.free_at > now
        }

    def _wake(self, now: float) -> None:
        while self._timed and self._timed[0][0] <= now:
            _, _, ticket, host = heapq.heappop(self._timed)
            entry = self._hosts.get(host)
            if entry is not None and entry.ticket == ticket:
                self._place(host, entry, now)

    def _place(self, host: str, entry: _Host, now: float) -> None:
        """Put a host where it belongs after any change: ready, timed, or nowhere."""
        self._serial += 1
        entry.ticket = self._serial
        if not entry.queue or entry.active >= entry.limit:
            return
        if entry.free_at > now:
            heapq.heappush(self._timed, (entry.free_at, self._serial, self._serial, host))
        else:
            heapq.heappush(self._ready, (entry.queue[0][0], self._serial, self._serial, host))
