"""Rows for filter tests: a harmless one to change, batches from dicts, answers in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from filters import Filter
from filters.base import DEFERRED
from shards.identity import canonical_url
from shards.schema import CANONICAL, DERIVED

SCHEMA = pa.schema([*CANONICAL, *DERIVED])

GOOD = {
    "url": "https://example.org/a.jpg",
    "caption": "a red bicycle leaning on a wall",
    "width": 640,
    "height": 480,
    "nsfw_score": 0.01,
    "nsfw_tag": "UNLIKELY",
    "invalid_text": False,
}


def row(**changes: Any) -> dict[str, Any]:
    """Return the good row with changes; the canonical URL is derived unless given."""
    values: dict[str, Any] = dict.fromkeys(SCHEMA.names) | GOOD | changes
    if "canonical_url" not in changes and values["url"] is not None:
        values["canonical_url"] = canonical_url(values["url"])
    return values


def batch_of(rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Make a record batch of the canonical and derived columns."""
    return pa.RecordBatch.from_pylist(list(rows), schema=SCHEMA)


def answers(rule: Filter, batch: pa.RecordBatch) -> list[str | None]:
    """Return the reason per row, None for keep, `(deferred)` for undecided."""
    words = {0: None, DEFERRED: "(deferred)"} | dict(enumerate(rule.reasons, start=1))
    return [words[int(k)] for k in rule.verdicts(batch)]
