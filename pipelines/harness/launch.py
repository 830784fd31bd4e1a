"""The launcher: plans each stage from the previous one's markers and sees its items done.

A stage begins when all markers of the previous one exist. Several launchers may share
an output: each takes its share of items and then helps with the rest. Whoever sees all
markers checks the accounting and finalises, which can be repeated.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipelines.harness import planfile
from pipelines.harness.fingerprint import Fingerprint, differences, only_libraries
from pipelines.harness.leases import held_by_others, rows_done
from pipelines.harness.progress import Progress
from pipelines.harness.worker import StageConfig, Work
from shards.files.commit import ItemId, Result, read_marker
from shards.files.store import Store

READ_THREADS = 32
_WAIT_S = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How this launcher runs things; nothing here changes a byte of the output."""

    store: Store
    beam_flags: tuple[str, ...] = ()
    local: bool = True
    workers: int = 1
    mode: str = "processes"  # processes | threads
    items_per_process: int = 2  # downloads only
    num_tasks: int = 1
    task_index: int = 0
    lease_s: float = 30.0
    stall_timeout_s: float = 2400.0
    launcher_pid: int | None = None
    allow_library_change: bool = False
    gc_min_age_s: float | None = None  # of a losing attempt; None: as the store asks for

    @property
    def holder(self) -> str:
        """This launcher's name on leases: the same after a restart, so its own never block it."""
        return f"task-{self.task_index}"


def plan_stage(
    store: Store,
    now: Fingerprint,
    items: Iterable[planfile.Plannable] | None,
    per_file: int = planfile.ITEMS_PER_FILE,
) -> str:
    """Record a stage's items unless they are recorded, and return the fingerprint in force.

    Args:
        store: The run.
        now: The stage's fingerprint; `check_fingerprint` has compared it before.
        items: The plan; None where it is recorded already.
        per_file: Items per plan file.
    """
    head = planfile.read_head(store, now.stage)
    if head is not None:
        fingerprint: str = head["fingerprint"]
        return fingerprint
    assert items is not None
    planfile.write(store, now.stage, now.digest, dict(now.facts), items, per_file)
    return now.digest


def check_fingerprint(store: Store, now: Fingerprint, allow_library_change: bool) -> list[str]:
    """Compare a stage with what was planned for it before.

    Returns:
        Library versions that differ and were allowed to, as lines for `run.json`.

    Raises:
        ValueError: The output belongs to another run; names every fact with both values.
    """
    head = planfile.read_head(store, now.stage)
    if head is None or head["fingerprint"] == now.digest:
        return []
    different = differences(head["facts"], now.facts)
    lines = [f"{name}: was {_short(was)}, now {_short(new)}" for name, was, new in different]
    if allow_library_change and only_libraries(different):
        return lines
    ways = "--overwrite, or another --output"
    if only_libraries(different):
        ways += ", or --allow_library_change"
    raise ValueError(
        f"{store.root} holds another run ({now.stage} stage): {'; '.join(lines[:12])}"
        f"{f'; and {len(lines) - 12} more' if len(lines) > 12 else ''}. To continue, use {ways}"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def plan_name(stage: str, generation: int) -> str:
    """Return the folder of a stage's plan; a sweep has one of its own."""
    return f"{stage}.g{generation}" if generation else stage


def run_stage(launch: Launch, config: StageConfig, progress: Progress, generation: int = 0) -> None:
    """See every item of a planned stage, or of a sweep of it, done."""
    plan = plan_name(config.stage, generation)
    head = planfile.read_head(launch.store, plan)
    assert head is not None
    names: list[str] = head["names"]
    work = Work(
        root=launch.store.root,
        config=config,
        plan=plan,
        per_file=head["per_file"],
        fingerprint=head["fingerprint"],
        generation=generation,
        holder=launch.holder,
        lease_s=launch.lease_s,
        respect_leases=launch.num_tasks > 1,
        items_at_once=_items_at_once(launch, config.stage),
        launcher_pid=launch.launcher_pid,
    )
    with progress.stage(launch.store, config.stage, len(names), generation):
        for indices in _rounds(launch, config.stage, names, generation):
            _run(launch, work, indices)


def _items_at_once(launch: Launch, stage: str) -> int:
    in_one_process = launch.workers if launch.mode == "threads" else 1
    return max(in_one_process, launch.items_per_process if stage == "download" else 1)


def _rounds(
    launch: Launch, stage: str, names: Sequence[str], generation: int
) -> Iterator[list[int]]:
    """Yield the items to do, round after round, until every marker exists."""
    done = done_items(launch.store, stage, generation)
    share = range(launch.task_index, len(names), launch.num_tasks)
    own = [index for index in share if names[index] not in done]
    if own:
        yield own
    if launch.num_tasks == 1:
        return
    has_said_so = False
    while left := set(names) - done_items(launch.store, stage, generation):
        held = held_by_others(launch.store, stage, launch.holder, launch.lease_s)
        free = [index for index, name in enumerate(names) if name in left and name not in held]
        if free:
            # Helpers begin at different places, so that they seldom want the same item.
            start = (launch.task_index * len(free)) // launch.num_tasks
            yield (free[start:] + free[:start])[: 2 * launch.workers]
        else:
            if not has_said_so:
                logger.info("%s: waiting for %d items of other launchers", stage, len(left))
                has_said_so = True
            time.sleep(min(_WAIT_S, launch.lease_s))


def _run(launch: Launch, work: Work, indices: Sequence[int]) -> None:
    from pipelines.harness.runners import (  # Beam: only when there is something to do
        Pulse,
        run_items,
    )

    store, stage = launch.store, work.config.stage

    def state() -> object:
        done = len(done_items(store, stage, work.generation))
        return done, sorted(rows_done(store, stage).items())

    run_items(
        work,
        indices,
        launch.beam_flags,
        workers=min(launch.workers, max(1, len(indices))),
        mode=launch.mode,
        local=launch.local,
        pulse=Pulse(state, launch.stall_timeout_s),
    )


def done_items(store: Store, stage: str, generation: int = 0) -> set[str]:
    """Return the names of a stage's items that have a done-marker."""
    suffix = f".g{generation}.json"
    entries = store.list(f"stats/{stage}", suffix)
    return {entry.name.rpartition("/")[2].removesuffix(suffix) for entry in entries}


@dataclass(frozen=True)
class Done:
    """One finished item."""

    name: str
    result: Result
    run: Mapping[str, Any]
    generation: int = 0


def read_results(
    store: Store,
    stage: str,
    generation: int = 0,
    *,
    trim: Callable[[Result], Result] | None = None,
) -> list[Done]:
    """Read every marker of a stage, or of a sweep of it, in item order.

    Args:
        store: The run.
        stage: Name of the stage.
        generation: 0, or the number of the sweep.
        trim: What of each result to hold in memory; all of it without.

    Raises:
        ValueError: A marker is missing, so the stage is not finished.
    """

    def read(name: str) -> dict[str, Any] | None:
        marker = read_marker(store, ItemId(stage, name, generation))
        if marker is None or trim is None:
            return marker
        return {**marker, "result": trim(marker["result"])}

    names = planfile.read_names(store, plan_name(stage, generation))
    with ThreadPoolExecutor(READ_THREADS) as pool:
        markers = list(pool.map(read, names))
    missing = [name for name, marker in zip(names, markers, strict=True) if marker is None]
    if missing:
        raise ValueError(
            f"{store.root}: {len(missing)} of {len(names)} {stage} items are not done, "
            f"first {missing[0]}; run the same command again"
        )
    return [
        Done(name, marker["result"], marker["run"], generation)
        for name, marker in zip(names, markers, strict=True)
        if marker is not None
    ]
