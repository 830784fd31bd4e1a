"""A stage's work items in files, so that a job graph carries numbers, not file lists.

`_items/<stage>/plan.json` tells how many items there are and of which fingerprint;
`_items/<stage>/00000.json` … hold their records, `per_file` to a file. Bytes depend on the
plan alone, so any launcher may write them.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from shards.files.commit import encode
from shards.files.store import Store

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
    items: Iterable[Plannable],
    per_file: int,
) -> None:
    """Write a stage's items; the head file last, because it means that all are there.

    Items are taken one file's worth at a time: those of a mix of billions of rows would not
    all fit in memory.
    """
    names: list[str] = []
    left = iter(items)
    while chunk := list(itertools.islice(left, per_file)):
        number = len(names) // per_file
        names += [item.name for item in chunk]
        records = [item.to_json() for item in chunk]
        store.write(f"_items/{stage}/{number:05d}.json", encode(records))
    head = {
        "fingerprint": fingerprint,
        "facts": dict(facts),
        "names": names,
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


def read_names(store: Store, stage: str) -> list[str]:
    """Return the names of a planned stage's items, in order."""
    head = read_head(store, stage)
    assert head is not None, stage
    names: list[str] = head["names"]
    return names


def read_all(store: Store, stage: str) -> Iterator[dict[str, Any]]:
    """Yield every item's record, in order."""
    head = read_head(store, stage)
    assert head is not None, stage
    for start in range(0, len(head["names"]), head["per_file"]):
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
