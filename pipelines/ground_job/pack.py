"""One pack item: a new shard of selected samples, out of ranged reads of the input.

Goes in: a row group of the plan. Comes out: `shards/N.tar` with image, caption and the input's
JSON with what grounding added, and `shards/N.parquet`. The bytes of images and captions are the
input's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.ground_job.foreign import contract_fields
from pipelines.harness.items import PlannedShard
from pipelines.harness.leases import Running
from shards.access import RawSample, SampleReader
from shards.dataset import Dataset
from shards.files import parquet
from shards.files.commit import Attempt, Result, commit, run_facts
from shards.files.store import Store
from shards.outcomes import Outcome
from shards.reading.sample_error import SampleError
from shards.sample import compact_json
from shards.shard_writer import ShardWriter

STAGE = "pack"


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """What a pack item needs to know."""

    dataset: Dataset
    detector: str  # name, as the samples tell it
    score_threshold: float
    stage: str = STAGE

    def process(self, store: Store, record: dict[str, Any], running: Running) -> Result:
        """Write one shard and commit it."""
        started_s, item = time.time(), PlannedShard(**record)
        with store.open(item.plan) as file:
            rows = parquet.read(file, row_group=item.row_group).to_pylist()
        assert len(rows) == item.rows, (item, len(rows))
        with Attempt(store, running.item) as attempt:
            with ShardWriter(attempt, item.name) as shard:
                for row, raw in zip(rows, self._read(rows, running), strict=True):
                    self._add(shard, row, raw)
            return commit(attempt, shard.counts(), claimed=False, run=run_facts(started_s))

    def _read(
        self, rows: Sequence[Mapping[str, Any]], running: Running
    ) -> Sequence[RawSample | SampleError]:
        """Return the samples of all rows, read in the order of the input: neighbours together."""
        order = sorted(range(len(rows)), key=lambda i: (rows[i]["shard"], rows[i]["row"]))
        places = ((rows[i]["shard"], rows[i]["row"]) for i in order)
        raw_of_row: dict[int, RawSample | SampleError] = {}
        for index, raw in zip(order, SampleReader(self.dataset).read_many(places), strict=True):
            raw_of_row[index] = raw
            running.rows_done += 1
        return [raw_of_row[index] for index in range(len(rows))]

    def _add(
        self, shard: ShardWriter, row: Mapping[str, Any], raw: RawSample | SampleError
    ) -> None:
        """Append a sample, or why it is none: it was there when it was labelled."""
        try:
            if isinstance(raw, SampleError):
                raise raw
            fields = contract_fields(raw, self.dataset.kind, row["row"])
        except SampleError as error:
            shard.fail({"key": row["key"]}, Outcome.DECODE_FAILED, str(error)[:160])
            return
        grounded = {
            **fields,
            **json.loads(row["grounding"]),
            "detector": self.detector,
            "score_threshold": self.score_threshold,
        }
        encoded = compact_json(grounded).encode()
        members = {raw.extensions[0]: raw.images[0], "txt": raw.text, "json": encoded}
        shard.add({**fields, "key": row["key"]}, members)
