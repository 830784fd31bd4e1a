"""One download item: the planned rows of a shard become samples and a sidecar.

Goes in: a row group of a plan file. Comes out: `shards/N.tar` with the samples in key
order and `shards/N.parquet` with an outcome for every planned row. Images wait in a
local spool file, so memory is bounded by the bodies in flight, not by the shard.
"""

from __future__ import annotations

import os
import time
from collections import Counter
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
from shards.files.tar import TarWriter
from shards.outcomes import Outcome, img2dataset_status
from shards.sample import JSON_FIELDS, ImageSample, members
from shards.schema import PLAN, SIDECAR

STAGE = "download"
CAREFUL_AFTER = 2
"""Dead attempts of an item after which each of its images is decoded in a child process."""

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
        dead = len(self.store.folders(self.running.item.attempts))
        with Attempt(self.store, self.running.item) as attempt:
            facts = Facts(len(rows), self._spool_path(attempt), self.running)
            try:
                if self.running.item.generation:
                    take_over(self.store, self.item.name, facts)
                clock = self._fetch(rows, facts, careful=dead >= CAREFUL_AFTER)
                facts.close_open_rows()
                places = self._write_tar(attempt, rows, facts)
            finally:
                facts.close()
            sidecar = _sidecar(rows, facts.rows, places)
            parquet.write(attempt.path(f"shards/{self.item.name}.parquet"), [sidecar], SIDECAR)
            result = _result(rows, facts.rows)
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

    def _fetch(
        self, rows: Sequence[Mapping[str, Any]], facts: Facts, careful: bool
    ) -> Mapping[str, Any]:
        deadline_s = min(self.config.item_deadline_s, 60.0 + len(rows) / _ROWS_PER_S)
        if self.config.engine == "img2dataset":
            return fetch_img2dataset.fetch(self.config, rows, facts, deadline_s)
        return guarded_fetch.fetch(self.config, rows, facts, deadline_s, careful)

    def _write_tar(
        self, attempt: Attempt, rows: Sequence[Mapping[str, Any]], facts: Facts
    ) -> list[tuple[int, int] | None]:
        with open(attempt.path(f"shards/{self.item.name}.tar"), "wb") as file:
            tar = TarWriter(file)
            places = [
                tar.add(
                    row["key"],
                    members(_sample(row, fact), facts.image(index), self.config.spec.encode_format),
                )
                if fact.outcome == Outcome.SUCCESS
                else None
                for index, (row, fact) in enumerate(zip(rows, facts.rows, strict=True))
            ]
            tar.close()
        return places


def _sample(row: Mapping[str, Any], fact: Fact) -> ImageSample:
    assert fact.stored is not None
    assert fact.original is not None
    from_row = {name: row[name] for name in JSON_FIELDS if name in row}
    return ImageSample(
        **{
            **from_row,
            "caption": row["caption"] or "",  # a preset may keep rows without a caption
            "width": fact.stored[0],
            "height": fact.stored[1],
            "original_width": fact.original[0],
            "original_height": fact.original[1],
            "sha256": fact.sha256,
        }
    )


def _sidecar(
    rows: Sequence[Mapping[str, Any]],
    facts: Sequence[Fact],
    places: Sequence[tuple[int, int] | None],
) -> pa.Table:
    # Column by column: a dict per row would cost ten times as much.
    no_size = (None, None)
    columns: dict[str, list[Any]] = {
        "status": [img2dataset_status(fact.outcome) for fact in facts],
        "error_message": [fact.message for fact in facts],
        "width": [(fact.stored or no_size)[0] for fact in facts],
        "height": [(fact.stored or no_size)[1] for fact in facts],
        "original_width": [(fact.original or no_size)[0] for fact in facts],
        "original_height": [(fact.original or no_size)[1] for fact in facts],
        "exif": [None] * len(facts),
        "sha256": [fact.sha256 for fact in facts],
        "outcome": [str(fact.outcome) for fact in facts],
        "tar_offset": [(place or no_size)[0] for place in places],
        "tar_size": [(place or no_size)[1] for place in places],
    }
    for name in set(SIDECAR.names) - columns.keys():
        columns[name] = [row[name] for row in rows]
    schema = parquet.storage_schema(SIDECAR)
    return pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)


def _result(rows: Sequence[Mapping[str, Any]], facts: Sequence[Fact]) -> dict[str, Any]:
    outcomes = Counter(str(fact.outcome) for fact in facts)
    samples = outcomes.pop(Outcome.SUCCESS, 0)
    return {
        "planned": len(rows),
        "samples": samples,
        "outcomes": dict(sorted(outcomes.items())),
        "image_bytes": sum(fact.spooled[1] for fact in facts if fact.spooled),
    }
