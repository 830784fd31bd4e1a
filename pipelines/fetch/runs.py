"""The values that cross the fetcher's border, and the bookkeeping of one `run` call.

A `Run` is shared by three kinds of threads: the caller waits on it, the fetch thread
takes its rows, decode threads finish them. Every row leaves it exactly once, handled
or dropped, and the caller wakes when none is left.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from shards.commandline import UserError
from shards.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Request:
    """One row to fetch."""

    index: int  # the caller's own number, given back with the response
    url: str  # canonical


@dataclass(frozen=True, slots=True)
class Response:
    """What became of one row."""

    outcome: str  # an Outcome, or the reason `inspect` gave
    body: bytes  # b"" unless the outcome is `success`
    http_status: int  # of the last response, 0 where there was none
    message: str  # short, from a closed vocabulary with numbers; never text of a server


@dataclass(frozen=True, slots=True)
class FetchStats:
    """What one `run` did."""

    rows: int
    outcomes: Mapping[str, int]  # by outcome or reason; sums to `rows`
    attempts: int  # transfers started for first attempts and retries, without redirects
    retries: int
    redirects: int  # hops followed
    received_bytes: int  # bodies on the wire, given-up ones included
    wall_s: float


class NetworkUnhealthy(UserError):
    """Look-ups or connects fail en masse: the network is at fault, not the rows."""


Handle = Callable[[Request, Response], None]
Inspect = Callable[[Request, bytes], str | None]


@dataclass(slots=True, eq=False)
class Run:
    """One `Fetcher.run` call in progress."""

    number: int  # of this fetcher's runs: earlier ones go first
    requests: Sequence[Request]
    handle: Handle
    inspect: Inspect | None
    deadline_at: float  # monotonic
    attempts: int = 0  # this and the next three: written by the fetch thread only
    retries: int = 0
    redirects: int = 0
    received_bytes: int = 0
    error: BaseException | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    _started_at: float = field(default_factory=time.monotonic)
    _outcomes: Counter[str] = field(default_factory=Counter)
    _left: int = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._left = len(self.requests)

    @property
    def cancelled(self) -> bool:
        """Whether rows that are left are dropped instead of handled."""
        return self.error is not None

    def fail(self, error: BaseException) -> None:
        """Make the caller raise `error` once no thread works for this run any more."""
        with self._lock:
            self.error = self.error or error

    def give(self, request: Request, response: Response) -> None:
        """Hand one row to the caller's code; what that raises fails this run."""
        try:
            if not self.cancelled:
                self.handle(request, response)
        except BaseException as error:  # noqa: BLE001  raised again in the thread that called run
            self.fail(error)
        finally:
            self._leave(str(response.outcome))

    def drop(self, rows: int) -> None:
        """Account for rows of a cancelled run that nobody will handle."""
        assert self.cancelled
        self._leave("", rows)

    def look(self, request: Request, head: bytes) -> str | None:
        """Ask the caller's `inspect`; what that raises fails this run."""
        if self.inspect is None or self.cancelled:
            return None
        try:
            return self.inspect(request, head)
        except BaseException as error:  # noqa: BLE001  raised again in the thread that called run
            self.fail(error)
            return Outcome.DEADLINE

    def stats(self) -> FetchStats:
        """Return the counts so far."""
        with self._lock:
            outcomes = dict(sorted(self._outcomes.items()))
        return FetchStats(
            rows=len(self.requests),
            outcomes=outcomes,
            attempts=self.attempts,
            retries=self.retries,
            redirects=self.redirects,
            received_bytes=self.received_bytes,
            wall_s=time.monotonic() - self._started_at,
        )

    def _leave(self, outcome: str, rows: int = 1) -> None:
        with self._lock:
            self._outcomes[outcome] += rows
            self._left -= rows
            assert self._left >= 0, "a row left twice"
            last = self._left == 0
        if last:
            self.finished.set()
