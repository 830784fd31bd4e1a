"""The one fetcher of a process, started when first asked for and stopped at exit."""

from __future__ import annotations

import atexit
import os
import threading

from pipelines.fetch.config import FetchConfig
from pipelines.fetch.fetcher import Fetcher

_lock = threading.Lock()
_fetcher: Fetcher | None = None


def shared_fetcher(config: FetchConfig) -> Fetcher:
    """Return this process's fetcher, starting it on the first call.

    Raises:
        ValueError: a fetcher with another config is running; host limits and the
            connection pool hold only if there is one.
    """
    global _fetcher
    with _lock:
        if _fetcher is not None and not _fetcher.closed:
            different = _fetcher.config.differences(config)
            if different:
                raise ValueError(
                    "a fetcher with other settings runs in this process "
                    f"({'; '.join(different)}, running / asked for): "
                    "use one config per process, or close_shared_fetcher() first"
                )
            return _fetcher
        _fetcher = Fetcher(config)
        return _fetcher


def close_shared_fetcher() -> None:
    """Stop the process's fetcher, if there is one; the next call starts another."""
    global _fetcher
    with _lock:
        fetcher, _fetcher = _fetcher, None
    if fetcher is not None:
        fetcher.close()


def _forget() -> None:
    """In a forked child: the parent's threads are not here, so its fetcher is of no use."""
    global _fetcher, _lock
    _fetcher, _lock = None, threading.Lock()


atexit.register(close_shared_fetcher)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
