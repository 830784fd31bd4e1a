"""One select item: the two-box rule over a bucket, and the plan of the new shards.

Goes in: `choice/bucket-N.parquet`. Comes out: `plan/bucket-N.parquet`, ordered by hash, one row
group for each new shard; within a shard by key.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from grounding.selection import Cut, ranks
from pipelines.harness.leases import Running
from shards.files import parquet
from shards.files.commit import Attempt, Result, commit, run_facts
from shards.files.store import Store
from shards.identity import Domain, choice, hex_strings, key_words
from shards.schema import GROUND_PLAN

STAGE = "select"
NOT_SELECTED = "not_selected"


@dataclass(frozen=True, kw_only=True)
class SelectItem:
    """One bucket."""

    name: str

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class SelectConfig:
    """What a select item needs to know."""

    cut: Cut
    seed: int
    shard_size: int
    stage: str = STAGE

    def process(self, store: Store, record: dict[str, Any], running: Running) -> Result:
        """Select from one bucket and commit its plan."""
        started_s, name = time.time(), record["name"]
        with store.open(f"choice/{name}.parquet") as file:
            rows = parquet.read(file).combine_chunks()
        images = rows.column("image").to_pylist()
        # The rule is about images, so all captions of one image have its rank and its count of
        # boxes: ranked by row, an image could be in with one caption and out with another.
        boxes = _boxes_of_image(images, rows.column("num_boxes").to_numpy())
        keys = hex_strings(b"".join(images))
        keep = self.cut.keeps(ranks(keys, self.seed), boxes, keys)
        selected = rows.filter(pa.array(keep))
        running.rows_done = rows.num_rows
        with Attempt(store, running.item) as attempt:
            planned = parquet.write(
                attempt.path(f"plan/{name}.parquet"),
                _shards(selected, self.seed, self.shard_size),
                GROUND_PLAN,
                row_group_rows=self.shard_size,
            )
            multi = int((boxes[keep] >= 2).sum())
            result = {
                "chosen": rows.num_rows,
                "planned": planned,
                "two_boxes": multi,
                "images": len(set(selected.column("image").to_pylist())),
                "images_two_boxes": _images_of(selected, boxes[keep] >= 2),
                "left_out": {NOT_SELECTED: rows.num_rows - planned},
            }
            return commit(attempt, result, claimed=False, run=run_facts(started_s))


def _boxes_of_image(images: list[bytes], boxes: np.ndarray) -> np.ndarray:
    """Return for every row the boxes of its image: those of the caption that has most."""
    most: dict[bytes, int] = {}
    for image, count in zip(images, boxes.tolist(), strict=True):
        most[image] = max(count, most.get(image, 0))
    return np.array([most[image] for image in images], np.int64)


def _images_of(rows: pa.Table, mask: np.ndarray) -> int:
    return len(set(rows.column("image").filter(pa.array(mask)).to_pylist()))


def _shards(rows: pa.Table, seed: int, shard_size: int) -> Iterator[pa.Table]:
    """Yield the rows of shard after shard, each in key order."""
    keys = pa.concat_arrays([pa.array([], pa.string()), *rows.column("key").chunks])
    if not len(keys):
        return
    words = key_words(keys)
    # Shards are filled by hash, so that each is a fair sample of the set; the keys break ties, or
    # the plan would depend on the order in which rows came.
    order = np.lexsort((words[:, 1], words[:, 0], choice(Domain.GROUND, seed, words)))
    for first in range(0, len(order), shard_size):
        part = rows.take(pa.array(order[first : first + shard_size])).sort_by("key")
        number = pa.array(np.arange(part.num_rows, dtype=np.int32))
        yield part.append_column("shard_row", number)
