"""A stage's work items in files, so that a job graph carries numbers, not file lists.

`_items/<stage>/plan.json` tells how many items there are and of which fingerprint;
`_items/<stage>/00000.json` … hold their records, `chunk` to a file. Bytes depend on the
plan alone, so any launcher may write them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from shards.commit import encode
from shards.store import Store

ITEMS_PER_FILE = 512


class Plannable(Protocol):
    """What an item of any stage can do."""

    @property
    def name(self) -> str:
        """The item's deterministic name."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        ...


def write(
    store: Store,
    stage: str,
    fingerprint: str,
    facts: Mapping[str, Any],
    items: Sequence[Plannable],
    per_file: int,
) -> None:
    """Write a stage's items; the head file last, because it means that all are there."""
    for start in range(0, len(items), per_file):
        records = [item.to_json() for item in items[start : start + per_file]]
        store.write(f"_items/{stage}/{start // per_file:05d}.json", encode(records))
    head = {
        "fingerprint": fingerprint,
        "facts": dict(facts),
        "items": len(items),
        "per_file": per_file,
    }
    store.write(f"_items/{stage}/plan.json", encode(head))


def read_head(store: Store, stage: str) -> dict[str, Any] | None:
    """Return the head of a stage's plan, None where it was not planned yet."""
    try:
        head: dict[str, Any] = json.loads(store.read(f"_items/{stage}/plan.json"))
    except FileNotFoundError:
        return None
    return head


def read_all(store: Store, stage: str) -> Iterator[dict[str, Any]]:
    """Yield every item's record, in order."""
    head = read_head(store, stage)
    assert head is not None, stage
    for start in range(0, head["items"], head["per_file"]):
        yield from json.loads(store.read(f"_items/{stage}/{start // head['per_file']:05d}.json"))


@functools.lru_cache(maxsize=8)
def _chunk(store: Store, stage: str, number: int, fingerprint: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(store.read(f"_items/{stage}/{number:05d}.json"))
    return records


def read_one(
    store: Store, stage: str, index: int, per_file: int, fingerprint: str
) -> dict[str, Any]:
    """Return item `index`; the file around it stays in memory for its neighbours."""
    return _chunk(store, stage, index // per_file, fingerprint)[index % per_file]
