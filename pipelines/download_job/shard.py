"""One download item: the planned rows of a shard become samples and a sidecar.

Goes in: a row group of a plan file. Comes out: `shards/N.tar` with the samples in key
order and `shards/N.parquet` with an outcome for every planned row. Images wait in a
local spool file, so memory is bounded by the bodies in flight, not by the shard.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipelines.download_job import fetch_img2dataset, guarded_fetch
from pipelines.download_job.engine import EngineConfig
from pipelines.download_job.shard_facts import Fact, Facts, take_over
from pipelines.harness.items import PlannedShard
from pipelines.harness.leases import Running
from shards.files import parquet
from shards.files.commit import Attempt, Result, commit, run_facts
from shards.files.store import Store
from shards.outcomes import Outcome
from shards.sample import JSON_FIELDS, ImageSample, members
from shards.schema import PLAN
from shards.shard_writer import ShardWriter

STAGE = "download"
_ROWS_PER_S = 2.0  # an item that fetches fewer rows a second than this has met its deadline


@dataclass(frozen=True, kw_only=True)
class DownloadConfig(EngineConfig):
    """What a download item needs to know; `process` is what a worker calls."""

    engine: str  # groundwork | img2dataset
    item_deadline_s: float
    spool_dir: str | None
    stage: str = STAGE

    def process(self, store: Store, record: Mapping[str, Any], running: Running) -> Result:
        """Fetch one shard and commit it."""
        return _Shard(self, store, PlannedShard(**record), running).process()


@dataclass
class _Shard:
    config: DownloadConfig
    store: Store
    item: PlannedShard
    running: Running
    started_s: float = field(default_factory=time.time)

    def process(self) -> Result:
        plan = self._plan()
        rows = plan.to_pylist()
        with Attempt(self.store, self.running.item) as attempt:
            facts = Facts(len(rows), self._spool_path(attempt), self.running)
            try:
                if self.running.item.generation:
                    take_over(self.store, self.item.name, facts)
                clock = self._fetch(rows, facts)
                facts.close_open_rows()
                counts = self._write(attempt, rows, facts)
            finally:
                facts.close()
            stored = sum(fact.spooled[1] for fact in facts.rows if fact.spooled)
            result = {**counts, "image_bytes": stored}
            run = {**run_facts(self.started_s), **clock}
            return commit(attempt, result, claimed=True, run=run)

    def _plan(self) -> pa.Table:
        with self.store.open(self.item.plan) as file:
            table = parquet.read(file, row_group=self.item.row_group)
        assert table.num_rows == self.item.rows, (self.item, table.num_rows)
        return table.select(PLAN.names)

    def _spool_path(self, attempt: Attempt) -> str:
        if self.config.spool_dir is None:
            return attempt.scratch("spool")
        os.makedirs(self.config.spool_dir, exist_ok=True)
        name = f"groundwork-{attempt.folder.replace('/', '-')}.spool"
        return os.path.join(self.config.spool_dir, name)

    def _fetch(self, rows: Sequence[Mapping[str, Any]], facts: Facts) -> Mapping[str, Any]:
        deadline_s = min(self.config.item_deadline_s, 60.0 + len(rows) / _ROWS_PER_S)
        if self.config.engine == "img2dataset":
            return fetch_img2dataset.fetch(self.config, rows, facts, deadline_s)
        return guarded_fetch.fetch(self.config, rows, facts, deadline_s)

    def _write(
        self, attempt: Attempt, rows: Sequence[Mapping[str, Any]], facts: Facts
    ) -> dict[str, Any]:
        """Write tar and sidecar; returns the shard's counts."""
        extension = self.config.spec.encode_format
        with ShardWriter(attempt, self.item.name) as shard:
            for index, (row, fact) in enumerate(zip(rows, facts.rows, strict=True)):
                known = {**row, **fact.columns()}
                if fact.outcome == Outcome.SUCCESS:
                    shard.add(known, members(_sample(row, fact), facts.image(index), extension))
                else:
                    shard.fail(known, fact.outcome, fact.message)
        return shard.counts()


def _sample(row: Mapping[str, Any], fact: Fact) -> ImageSample:
    assert fact.stored is not None and fact.original is not None, row["key"]
    from_row = {name: row[name] for name in JSON_FIELDS if name in row}
    return ImageSample(
        **{
            **from_row,
            "caption": row["caption"] or "",  # a preset may keep rows without a caption
            **fact.columns(),
        }
    )
