"""The fetcher: rows in, one response per row to the caller's code, under every guard.

One libcurl thread and one decode pool serve any number of concurrent `run` calls. They
share connections, DNS answers, per-host limits and the health gate; rows of an earlier
call go first, so that the next shard fills the connections of the last one's tail.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Sequence

from pipelines.fetch.config import FetchConfig
from pipelines.fetch.engine import Engine
from pipelines.fetch.runs import FetchStats, Handle, Inspect, Request, Run

_LOG = logging.getLogger(__name__)


class Fetcher:
    """A libcurl thread, a host table and a decode pool. Use `shared_fetcher` in workers."""

    def __init__(self, config: FetchConfig) -> None:
        self.config = config
        self._engine = Engine(config)
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._engine.work, name="fetch", daemon=True)
        self._thread.start()

    @property
    def rows_done(self) -> int:
        """Rows finished since the start, over all runs: what a watchdog watches."""
        return self._engine.pool.rows_done

    @property
    def closed(self) -> bool:
        """Whether the fetch thread has ended or is about to."""
        return self._engine.closing

    def run(
        self,
        requests: Sequence[Request],
        *,
        handle: Handle,
        inspect: Inspect | None = None,
        deadline_s: float,
    ) -> FetchStats:
        """Fetch all `requests` and return when each was handled exactly once.

        Args:
            requests: rows in the order they should be tried; their indexes decide ties.
            handle: called once per row, in a decode thread, several at a time.
            inspect: called with the first `head_bytes` of a successful body, or all of a
                shorter one, in the fetch thread or a decode thread: it must be quick. A
                reason it returns ends the transfer and is the row's outcome.
            deadline_s: after so many seconds, rows that are left get `deadline`. Rows
                already with `handle` are waited for.

        Raises:
            NetworkUnhealthy: look-ups or connects fail en masse and probes fail too; rows
                not yet handled are left alone.
            Exception: whatever `handle` or `inspect` raised; other runs continue.
        """
        run = Run(
            number=next(self._numbers),
            requests=requests,
            handle=handle,
            inspect=inspect,
            deadline_at=time.monotonic() + deadline_s,
        )
        if requests:
            self._engine.submit(run)
            self._wait(run)
        if run.error is not None:
            raise run.error
        stats = run.stats()
        _LOG.info("fetched %d rows in %.1f s: %s", stats.rows, stats.wall_s, stats.outcomes)
        return stats

    def close(self) -> None:
        """End all runs with an error and free threads and sockets. Idempotent."""
        self._engine.stop()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=30.0)

    def _wait(self, run: Run) -> None:
        """Wait for a run; an interrupt ends it, and is only then passed on."""
        try:
            run.finished.wait()
        except BaseException as error:
            run.fail(error)
            self._engine.wake()
            run.finished.wait(timeout=30.0)
            raise
