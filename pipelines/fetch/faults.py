"""Faults of this program that one row brought out: the row ends, the others go on.

What strangers write may lead into code that nobody thought of. An error there is logged once with
its traceback, and each row that it ends has the outcome `internal_error`, so that the run can count
them and fail at its end instead of in the middle.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from pipelines.fetch.headers import Head
from pipelines.fetch.results import Result
from shards.outcomes import Outcome

_LOG = logging.getLogger(__name__)


T = TypeVar("T")


class Faults:
    """The faults of one fetcher, or one process; any thread may report one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged: set[tuple[str, int]] = set()

    def attempt(self, action: Callable[[], T]) -> T | Result:
        """Return what an action returns, or what its row ends with where it raises."""
        try:
            return action()
        except Exception as error:  # noqa: BLE001  one row never ends what serves all
            return self.result(error)

    def result(self, error: Exception) -> Result:
        """Return what the row ends with; the first error from each place is logged in full."""
        place = _place(error)
        with self._lock:
            is_new = place not in self._logged
            self._logged.add(place)
        if is_new:
            _LOG.error("a row ends with a fault of this program", exc_info=error)
        return Result(Outcome.INTERNAL_ERROR, type(error).__name__, Head())


def _place(error: Exception) -> tuple[str, int]:
    """Return file and line that raised the error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return ("", 0) if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
