"""What happens to one item inside a worker process, on every runner.

In: a `Work` order and an item's number. Out: the item's recorded result. One process
runs at most `items_at_once` items, keeps their leases alive, and ends itself when the
launcher that started it is gone, so that no orphan keeps writing.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.harness import planfile
from pipelines.harness.leases import LeaseKeeper, Running
from shards.files.commit import ItemId, Result, recorded, run_facts
from shards.files.store import Store

_ORPHAN_POLL_S = 1.0


class StageConfig(Protocol):
    """A stage's settings, sent to workers: a frozen dataclass that knows its own code."""

    @property
    def stage(self) -> str:
        """Name of the stage."""
        ...

    def process(self, store: Store, record: dict[str, Any], running: Running) -> Result:
        """Do one item, from its record in the plan to its done-marker."""
        ...


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a worker needs to do items of one stage."""

    root: str  # the run directory
    config: StageConfig
    plan: str  # folder of the plan under `_items/`
    per_file: int  # items per plan file
    fingerprint: str
    generation: int = 0  # 0, or the number of the sweep
    holder: str = "task-0"  # this launcher's name on leases
    lease_s: float = 30.0
    respect_leases: bool = False  # skip items that another launcher holds
    items_at_once: int = 1  # per process
    launcher_pid: int | None = None  # on this machine; None for remote runners


def do_item(work: Work, index: int, gate: threading.BoundedSemaphore | None = None) -> str | None:
    """Do one item unless it is done, and return its name; None where another launcher has it.

    Args:
        work: The stage.
        index: The item's number in the plan.
        gate: Limits the items that run together; by default that of the process.
    """
    store = Store(work.root)
    record = planfile.read_one(store, work.plan, index, work.per_file, work.fingerprint)
    item = ItemId(work.config.stage, record["name"], work.generation)
    if recorded(store, item, run_facts(time.time())) is not None:
        return item.item
    keeper = _keeper(work.root, work.holder, work.lease_s)
    with gate or _gate(work.items_at_once), keeper.hold(item, work.respect_leases) as running:
        if running is None:
            return None
        if recorded(store, item, run_facts(time.time())) is not None:
            return item.item  # done by another launcher while we waited
        try:
            work.config.process(store, record, running)
        except FileNotFoundError:
            # Another launcher may have finished the item and cleaned up under us.
            if recorded(store, item, run_facts(time.time())) is None:
                raise
    return item.item


@functools.cache
def _gate(items_at_once: int) -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(items_at_once)


@functools.cache
def _keeper(root: str, holder: str, lease_s: float) -> LeaseKeeper:
    return LeaseKeeper(Store(root), holder, lease_s)


def end_with_launcher(launcher_pid: int | None) -> None:
    """Make this process end soon after its launcher does. Does nothing in the launcher itself."""
    if launcher_pid is not None and launcher_pid != os.getpid():
        _watch_launcher(launcher_pid, _start_time)


@functools.cache
def _watch_launcher(pid: int, start_time: Callable[[int], str | None]) -> None:
    born = start_time(pid)

    def watch() -> None:
        while start_time(pid) == born is not None:
            time.sleep(_ORPHAN_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="launcher-watch", daemon=True).start()


def _start_time(pid: int) -> str | None:
    """Return when a process started (clock ticks since boot), None where there is none.

    Process numbers are used again, so the number alone does not tell.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
