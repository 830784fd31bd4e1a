"""What all transfers together may hold and receive: connections, memory, bandwidth.

In: bytes as they arrive and leave, and the present time. Out: whether a transfer may
start, and whether one may take more bytes. Belongs to the fetch thread; the pool's
counters it reads are written by decode threads.
"""

from __future__ import annotations

from pipelines.fetch.config import FetchConfig
from pipelines.fetch.delivery import DecodePool

_ADVANCE_S = 1.0
"""Bandwidth that was not used may be made up for within this time."""


class Limits:
    """The process-wide limits of one fetcher.

    Memory stays below `max_held_bytes` plus one body and one receive buffer per
    connection: at the limit all transfers pause. The oldest continues when no body waits for
    the decode threads either, because then nothing else would ever make room.
    """

    def __init__(self, config: FetchConfig, pool: DecodePool) -> None:
        self._config = config
        self._pool = pool
        self._arriving_bytes = 0
        self._paid_until = 0.0

    @property
    def has_room(self) -> bool:
        """Whether bodies in memory are below their limit."""
        return self._arriving_bytes + self._pool.held_bytes < self._config.max_held_bytes

    def may_start(self, now: float, transfers: int) -> bool:
        """Return whether one more transfer may start beside `transfers` others."""
        return transfers < self._config.connections and self.has_room and self._paid_until <= now

    def may_grow(self, *, oldest: bool) -> bool:
        """Return whether a transfer may take more bytes."""
        return self.has_room or (oldest and not self._pool.held_bytes)

    def take(self, size: int, *, oldest: bool) -> bool:
        """Reserve memory for bytes that have arrived; False: pause the transfer."""
        if not self.may_grow(oldest=oldest):
            return False
        self._arriving_bytes += size
        return True

    def release(self, size: int) -> None:
        """Give back what a transfer had taken; delivered bodies are the pool's from then on."""
        self._arriving_bytes -= size
        assert self._arriving_bytes >= 0

    def pay(self, received_bytes: int, now: float) -> None:
        """Charge the bandwidth limit: the next start waits until what was received fits."""
        if self._config.max_mbps is not None:
            cost_s = received_bytes / (self._config.max_mbps * 125_000)
            self._paid_until = max(self._paid_until, now - _ADVANCE_S) + cost_s

    def next_wake(self, now: float) -> float | None:
        """Return when the clock alone will allow a start, None if it forbids none."""
        return self._paid_until if self._paid_until > now else None
