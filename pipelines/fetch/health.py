"""The gate that tells a sick network from dead hosts.

In: for each first attempt, whether the host's name was found and whether it could be
connected to; the results of probes. Out: whether transfers may start, when to probe,
and the sentence to stop with. Pure: the caller brings the clock and sends the probes.

One host counts once in a window, however many of its rows fail, and retries do not
count: a large dead host, or the dead rows retried at an item's end, say nothing about
the network.
"""

from __future__ import annotations

from collections import deque

from pipelines.fetch.config import FetchConfig


class _Window:
    """Success or failure of the last `size` distinct hosts."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._order: deque[str] = deque()
        self._ok: dict[str, bool] = {}
        self._failed = 0

    def __len__(self) -> int:
        return len(self._ok)

    @property
    def failed_share(self) -> float:
        return self._failed / len(self._ok) if self._ok else 0.0

    def record(self, host: str, ok: bool) -> None:
        if host in self._ok:
            return
        if len(self._order) == self._size:
            self._failed -= not self._ok.pop(self._order.popleft())
        self._order.append(host)
        self._ok[host] = ok
        self._failed += not ok

    def clear(self) -> None:
        self._order.clear()
        self._ok.clear()
        self._failed = 0


class HealthGate:
    """Open, or closed and probing; times are seconds of one monotonic clock."""

    def __init__(self, config: FetchConfig) -> None:
        self._config = config
        self._windows = {
            "look-ups": (_Window(config.health_window), config.health_lookup_failures),
            "connects": (_Window(config.health_window), config.health_connect_failures),
        }
        self._reset(needed=min(config.health_min_events, config.health_window))

    def _reset(self, needed: int) -> None:
        self._needed = needed
        self._probe_at: float | None = None
        self._rounds = 0
        self.complaint = ""
        for window, _ in self._windows.values():
            window.clear()

    @property
    def closed(self) -> bool:
        """Whether no transfer but a probe may start."""
        return bool(self.complaint)

    def record(self, host: str, *, looked_up: bool | None, connected: bool | None) -> None:
        """Note the first attempt at a host; None says that step was not taken."""
        for name, ok in (("look-ups", looked_up), ("connects", connected)):
            window, limit = self._windows[name]
            if ok is None or self.closed:
                continue
            window.record(host, ok)
            if len(window) >= self._needed and window.failed_share > limit:
                share = round(100 * window.failed_share)
                self.complaint = f"{share} % of the last {len(window)} {name} failed"
                self._probe_at = 0.0

    def next_wake(self) -> float | None:
        """Return when the next round of probes is due, None if none is."""
        return self._probe_at

    def take_probe(self, now: float) -> bool:
        """Return whether a round of probes is to be sent now; says so once per round."""
        if self._probe_at is None or now < self._probe_at:
            return False
        self._probe_at = None
        return True

    def probed(self, answered: int, asked: int, now: float) -> str | None:
        """Take the result of a round; return the sentence to stop with when it was the last.

        After a good round the gate needs a full window before it may close again: a
        list of dead hosts on a sound network is fetched, with one pause per window.
        """
        if 2 * answered >= asked:
            self._reset(needed=self._config.health_window)
            return None
        self._rounds += 1
        if self._rounds < self._config.health_rounds:
            self._probe_at = now + self._config.health_pause_s
            return None
        verdict = (
            f"network unhealthy: {self.complaint}, and {asked - answered} of {asked} probes "
            f"in each of {self._rounds} rounds; check the resolver and the route, then run again"
        )
        self._reset(needed=min(self._config.health_min_events, self._config.health_window))
        return verdict
