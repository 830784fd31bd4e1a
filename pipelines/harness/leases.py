"""Leases: who works on an item now. They save work; claims decide who wins.

A holder rewrites `leases/<stage>/<item>.json` every `lease_s` seconds for all its
running items, with how many rows they have done; the watchdog reads those numbers.
A lease counts as alive for three intervals by the store's own clock.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shards.files.commit import ItemId, encode
from shards.files.store import Store

ALIVE_INTERVALS = 3

logger = logging.getLogger(__name__)


@dataclass
class Running:
    """An item in the hands of this process."""

    item: ItemId
    rows_done: int = 0


class LeaseKeeper:
    """Refreshes the leases of this process's running items from one daemon thread."""

    def __init__(self, store: Store, holder: str, interval_s: float) -> None:
        self._store = store
        self._holder = holder
        self._interval_s = interval_s
        self._items: dict[int, Running] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def hold(self, item: ItemId, respect_others: bool) -> Iterator[Running | None]:
        """Keep a lease on an item for as long as the block runs.

        Yields None where `respect_others` and another living launcher has it.
        """
        running = Running(item)
        if respect_others and not self._take(running):
            yield None
            return
        with self._lock:
            self._items[id(running)] = running
            if self._thread is None:
                self._thread = threading.Thread(target=self._refresh, name="leases", daemon=True)
                self._thread.start()
        self._write(running)
        try:
            yield running
        finally:
            with self._lock:
                del self._items[id(running)]
            with _only_a_lease():
                self._store.delete(item.lease)

    def _take(self, running: Running) -> bool:
        """Make the lease, one winner among any number of launchers, or take over a dead one."""
        # Creating is atomic on every store, so one of several launchers wins. A dead lease is taken
        # over without that: two launchers may both take it and both do the item. That costs work
        # and nothing else, because the commit lets one attempt win. A lease of our own name is
        # from before a restart and must not block us.
        item = running.item
        if self._store.create(item.lease, self._content(running)):
            return True
        others = held_by_others(self._store, item.stage, self._holder, self._interval_s)
        return item.item not in others

    def _refresh(self) -> None:
        while True:
            time.sleep(self._interval_s)
            with self._lock:
                items = list(self._items.values())
            for running in items:
                self._write(running)

    def _write(self, running: Running) -> None:
        with self._lock, _only_a_lease():
            if id(running) in self._items:
                self._store.write(running.item.lease, self._content(running))

    def _content(self, running: Running) -> bytes:
        return encode({"holder": self._holder, "rows_done": running.rows_done})


@contextmanager
def _only_a_lease() -> Iterator[None]:
    """Go on where the store does not answer: leases save work, nothing depends on them."""
    try:
        yield
    except OSError as error:
        logger.warning("a lease could not be written: %s", error)


def held_by_others(store: Store, stage: str, holder: str, lease_s: float) -> set[str]:
    """Return the names of items that another living launcher works on now."""
    entries = store.list(f"leases/{stage}", ".json")
    now = _store_time(store, f"leases/{stage}.clock/{holder}") if entries else 0.0
    alive = [entry for entry in entries if now - entry.modified_s < ALIVE_INTERVALS * lease_s]
    return {
        entry.name.rpartition("/")[2].removesuffix(".json")
        for entry in alive
        if _holder(store, entry.name) not in (None, holder)
    }


def rows_done(store: Store, stage: str) -> dict[str, int]:
    """Return the rows that running items report, by item name: the watchdog's pulse."""
    found = {}
    for entry in store.list(f"leases/{stage}", ".json"):
        try:
            found[entry.name] = int(json.loads(store.read(entry.name))["rows_done"])
        except FileNotFoundError:
            continue
    return found


def _holder(store: Store, name: str) -> str | None:
    try:
        holder: str = json.loads(store.read(name))["holder"]
    except FileNotFoundError:
        return None
    return holder


def _store_time(store: Store, probe: str) -> float:
    """Ask the store what time it is: launchers' own clocks may differ by minutes."""
    store.write(probe, b"")
    entry = store.stat(probe)
    return entry.modified_s if entry else time.time()
