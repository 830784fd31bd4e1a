"""Sweeps: `--retry_failed` retries the rows that failed transiently, shard by shard.

Sweep g is generation g of the shards it touches. It starts from the published shard, so
nothing that succeeded is fetched again, and selection, order and shard membership do not
change. Readers follow the manifest, which names each shard's generation.
"""

from __future__ import annotations

from pipelines.harness import planfile
from pipelines.harness.items import PlannedShard
from pipelines.harness.launch import Done, done_items, plan_name, read_results
from shards.files.commit import ItemId, read_marker
from shards.files.store import Store
from shards.outcomes import TRANSIENT

_STAGE = "download"


def unfinished_or_next(store: Store) -> int:
    """Return the generation to work on: an unfinished sweep, else a new one."""
    generation = _planned(store)
    if generation and _missing(store, generation):
        return generation
    return generation + 1


def plan(store: Store, generation: int, fingerprint: str) -> int:
    """Plan a sweep unless it is planned, and return how many shards it touches."""
    name = plan_name(_STAGE, generation)
    head = planfile.read_head(store, name)
    if head is not None:
        return len(head["names"])
    failed = {
        done.name
        for done in newest_results(store)
        if not TRANSIENT.isdisjoint(done.result["outcomes"])
    }
    items = [
        PlannedShard.from_json(record)
        for record in planfile.read_all(store, _STAGE)
        if record["name"] in failed
    ]
    if items:
        planfile.write(store, name, fingerprint, {}, items, planfile.ITEMS_PER_FILE)
    return len(items)


def newest_results(store: Store) -> list[Done]:
    """Return every shard's result of its newest finished generation, in shard order."""
    results = {done.name: done for done in read_results(store, _STAGE)}
    for generation in range(1, _planned(store) + 1):
        for name in done_items(store, _STAGE, generation):
            marker = read_marker(store, ItemId(_STAGE, name, generation))
            assert marker is not None, name
            results[name] = Done(name, marker["result"], marker["run"], generation)
    return [results[name] for name in sorted(results)]


def _planned(store: Store) -> int:
    """Return the number of the last planned sweep, 0 where there was none."""
    generation = 0
    while planfile.read_head(store, plan_name(_STAGE, generation + 1)) is not None:
        generation += 1
    return generation


def _missing(store: Store, generation: int) -> bool:
    names = set(planfile.read_names(store, plan_name(_STAGE, generation)))
    return bool(names - done_items(store, _STAGE, generation))
