"""One pack item: a new shard of selected samples, out of ranged reads of the input.

Goes in: a row group of the plan. Comes out: `shards/N.tar` with image, caption and the input's
JSON with what grounding added, and `shards/N.parquet`. The bytes of images and captions are the
input's.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.ground_job.foreign import contract_fields, encode
from pipelines.harness.items import PlannedShard
from pipelines.harness.leases import Running
from shards.access import RawSample, SampleReader
from shards.dataset import Dataset
from shards.files import parquet
from shards.files.commit import Attempt, Result, commit, run_facts
from shards.files.store import Store
from shards.files.tar import TarWriter
from shards.outcomes import Outcome, img2dataset_status
from shards.sample_error import SampleError
from shards.schema import SIDECAR

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
        # In the input's order, so that neighbours are read together.
        order = sorted(range(len(rows)), key=lambda i: (rows[i]["shard"], rows[i]["row"]))
        reader = SampleReader(self.dataset)
        raws = reader.read_many((rows[i]["shard"], rows[i]["row"]) for i in order)
        found: list[RawSample | SampleError | None] = [None] * len(rows)
        for index, raw in zip(order, raws, strict=True):
            found[index] = raw
            running.rows_done += 1
        with Attempt(store, running.item) as attempt:
            sidecar = []
            with open(attempt.path(f"shards/{item.name}.tar"), "wb") as tar_file:
                tar = TarWriter(tar_file)
                for row, sample in zip(rows, found, strict=True):
                    assert sample is not None
                    sidecar.append(self._add(tar, row, sample))
                tar.close()
            _write_sidecar(attempt.path(f"shards/{item.name}.parquet"), sidecar)
            outcomes = Counter(row["outcome"] for row in sidecar)
            samples = outcomes.pop(str(Outcome.SUCCESS), 0)
            result = {
                "planned": len(rows),
                "samples": samples,
                "outcomes": dict(sorted(outcomes.items())),
            }
            return commit(attempt, result, claimed=False, run=run_facts(started_s))

    def _add(
        self, tar: TarWriter, row: Mapping[str, Any], raw: RawSample | SampleError
    ) -> dict[str, Any]:
        """Append a sample and return its row of the sidecar."""
        try:
            if isinstance(raw, SampleError):
                raise raw
            fields = contract_fields(raw, self.dataset.kind, row["row"])
        except SampleError as error:
            # It was there when it was labelled: the input was damaged since.
            return {"key": row["key"], "error_message": str(error)[:160], **_outcome(None)}
        grounded = {
            **fields,
            **json.loads(row["grounding"]),
            "detector": self.detector,
            "score_threshold": self.score_threshold,
        }
        extension = raw.extensions[0]
        place = tar.add(
            row["key"],
            {extension: raw.images[0], "txt": raw.text, "json": encode(grounded)},
        )
        known = {name: fields.get(name) for name in SIDECAR.names}
        return {**known, "key": row["key"], "exif": None, "error_message": None, **_outcome(place)}


def _outcome(place: tuple[int, int] | None) -> dict[str, Any]:
    outcome = Outcome.DECODE_FAILED if place is None else Outcome.SUCCESS
    return {
        "status": img2dataset_status(outcome),
        "outcome": str(outcome),
        "tar_offset": place[0] if place else None,
        "tar_size": place[1] if place else None,
    }


def _write_sidecar(path: str, rows: Sequence[Mapping[str, Any]]) -> None:
    schema = parquet.storage_schema(SIDECAR)
    columns = {name: [row.get(name) for row in rows] for name in schema.names}
    table = pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
    parquet.write(path, [table], SIDECAR)
