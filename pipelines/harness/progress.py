"""Progress of a stage, read from done-markers: the same on every runner and after a resume.

On a terminal one bar; elsewhere a plain line every 30 s.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from shards.files.store import Store

_PLAIN_EVERY_S = 30.0
_POLL_S = {True: 0.5, False: 10.0}  # local disk, object store

logger = logging.getLogger(__name__)


class Progress:
    """Shows how many items of a stage are done."""

    @contextmanager
    def stage(self, store: Store, stage: str, total: int, generation: int = 0) -> Iterator[None]:
        """Show a stage's progress for as long as the block runs."""
        stop = threading.Event()
        local = store.local_path("") is not None
        show = partial(self._bar, _POLL_S[local]) if sys.stderr.isatty() else self._lines
        thread = threading.Thread(
            target=show,
            args=(lambda: _count(store, stage, generation), stage, total, stop),
            name="progress",
            daemon=True,
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _bar(
        self, poll_s: float, count: Callable[[], int], stage: str, total: int, stop: threading.Event
    ) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bar

        with Bar(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(stage, total=total, completed=count())
            while not stop.wait(poll_s):
                bar.update(task, completed=count())
            bar.update(task, completed=count())

    def _lines(
        self, count: Callable[[], int], stage: str, total: int, stop: threading.Event
    ) -> None:
        started, before = time.monotonic(), count()
        while not stop.wait(_PLAIN_EVERY_S):
            done = count()
            rate = (done - before) / (time.monotonic() - started)
            left = f", about {(total - done) / rate / 60:.0f} min left" if rate > 0 else ""
            logger.info("%s: %d of %d items done%s", stage, done, total, left)


def _count(store: Store, stage: str, generation: int) -> int:
    return len(store.list(f"stats/{stage}", f".g{generation}.json"))
