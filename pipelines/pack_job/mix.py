"""One mix item: a bucket of keys over all parts; every key once, in hashed order.

Goes in: the bucket's segments of every part. Comes out: `plan/bucket-N.parquet`, one row group for
each shard; within a shard by key. Of equal keys the first record in the input's order stays.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.harness.buckets import read_segment
from pipelines.harness.items import BucketItem
from pipelines.harness.leases import Running
from pipelines.pack_job.tables import PLAN, READ
from shards.files import parquet
from shards.files.commit import Attempt, Result, commit, run_facts
from shards.files.store import Store
from shards.identity import Domain, choice, key_words

STAGE = "mix"
DUPLICATE = "duplicate"


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """What a mix item needs to know."""

    seed: int
    shard_size: int
    stage: str = STAGE

    def process(self, store: Store, record: dict[str, Any], running: Running) -> Result:
        """Deduplicate one bucket and commit its plan."""
        started_s, name = time.time(), record["name"]
        segments = BucketItem.from_json(record).segments
        pieces = [read_segment(data) for data in store.read_ranges(segments)]
        rows = pa.concat_tables([READ.empty_table(), *pieces]).unify_dictionaries()
        unique = _first_of_each_key(rows)
        running.rows_done = rows.num_rows
        with Attempt(store, running.item) as attempt:
            planned = parquet.write(
                attempt.path(f"plan/{name}.parquet"),
                _shards(unique, self.seed, self.shard_size),
                PLAN,
                row_group_rows=self.shard_size,
            )
            result = {
                "readable": rows.num_rows,
                "planned": planned,
                "left_out": {DUPLICATE: rows.num_rows - planned},
            }
            return commit(attempt, result, claimed=False, run=run_facts(started_s))


def _first_of_each_key(rows: pa.Table) -> pa.Table:
    ordered = rows.sort_by([("key", "ascending"), ("unit", "ascending"), ("number", "ascending")])
    keys = ordered.column("key").to_pylist()
    firsts = [i for i, key in enumerate(keys) if not i or key != keys[i - 1]]
    return ordered.take(pa.array(firsts, pa.int64()))


def _shards(rows: pa.Table, seed: int, shard_size: int) -> Iterator[pa.Table]:
    """Yield the rows of shard after shard, each in key order."""
    if not rows.num_rows:
        return
    words = key_words(pa.concat_arrays(rows.column("key").chunks))
    order = np.lexsort((words[:, 1], words[:, 0], choice(Domain.ORDER, seed, words)))
    for first in range(0, len(order), shard_size):
        part = rows.take(pa.array(np.sort(order[first : first + shard_size])))  # rows are by key
        number = pa.array(np.arange(part.num_rows, dtype=np.int32))
        yield part.append_column("shard_row", number)
