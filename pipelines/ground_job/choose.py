"""One choose item: a bucket of images over all shards; every image counts once.

Goes in: the bucket's segments of every shard. Comes out: `choice/bucket-N.parquet`, the rows that
stay, and `choice/bucket-N.hist`, how many images of one and of several boxes there are by hash.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from grounding.selection import Histogram, ranks
from pipelines.harness.buckets import read_segment
from pipelines.harness.items import BucketItem
from pipelines.harness.leases import Running
from shards.files import parquet
from shards.files.commit import Attempt, Result, commit, run_facts
from shards.files.store import Store
from shards.identity import hex_strings
from shards.schema import BOXED

STAGE = "choose"
OTHER_CAPTION = "other_caption"
DUPLICATE = "duplicate"

Captions = Literal["all", "best", "first"]


@dataclass(frozen=True, kw_only=True)
class ChooseConfig:
    """What a choose item needs to know."""

    captions: Captions  # which rows of one image stay
    seed: int
    stage: str = STAGE

    def process(self, store: Store, record: dict[str, Any], running: Running) -> Result:
        """Deduplicate one bucket and commit it with its histogram."""
        started_s, name = time.time(), record["name"]
        segments = BucketItem.from_json(record).segments
        pieces = [read_segment(data) for data in store.read_ranges(segments)]
        rows = pa.concat_tables([BOXED.empty_table(), *pieces]).combine_chunks()
        keep, left_out = chosen(rows, self.captions)
        table = rows.take(pa.array(keep, pa.int64()))
        boxes, keys = by_image(table)
        histogram = Histogram.empty()
        histogram.add(ranks(keys, self.seed), boxes)
        running.rows_done = rows.num_rows
        with Attempt(store, running.item) as attempt:
            parquet.write(attempt.path(f"choice/{name}.parquet"), [table], BOXED)
            with open(attempt.path(f"choice/{name}.hist"), "wb") as file:
                file.write(histogram.counts.astype("<i8").tobytes())
            result = {
                "eligible": rows.num_rows,
                "chosen": table.num_rows,
                "images": len(boxes),
                "left_out": left_out,
            }
            return commit(attempt, result, claimed=False, run=run_facts(started_s))


def chosen(rows: pa.Table, captions: Captions) -> tuple[list[int], dict[str, int]]:
    """Return which rows stay, in (image, shard, row) order, and how many do not, by reason.

    Of one caption of an image one row stays always. `best` keeps the caption with most boxes
    (ties: the highest mean score, then the first), `first` the first in the input's order.
    """
    images = rows.column("image").to_pylist()
    columns = [rows.column(n).to_numpy() for n in ("shard", "row", "num_boxes", "mean_score")]
    shards, numbers, boxes, scores = columns
    keys = rows.column("key").to_pylist()
    order = sorted(range(len(images)), key=lambda i: (images[i], shards[i], numbers[i]))
    keep: list[int] = []
    left_out = {DUPLICATE: 0, OTHER_CAPTION: 0}
    for group in _groups(order, images):
        unique = list({keys[i]: i for i in reversed(group)}.values())[::-1]
        left_out[DUPLICATE] += len(group) - len(unique)
        if captions == "best":
            stay = [min(unique, key=lambda i: (-boxes[i], -scores[i], shards[i], numbers[i]))]
        else:
            stay = unique if captions == "all" else unique[:1]
        left_out[OTHER_CAPTION] += len(unique) - len(stay)
        keep += stay
    return keep, left_out


def _groups(order: Sequence[int], images: Sequence[bytes]) -> Iterator[list[int]]:
    group: list[int] = []
    for index in order:
        if group and images[index] != images[group[0]]:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def by_image(table: pa.Table) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Return boxes and key of every image of a table that is sorted by image.

    An image has as many boxes as the caption of it that has most; its key is its hash in hex.
    """
    images = table.column("image").to_pylist()
    firsts = [i for i, image in enumerate(images) if not i or image != images[i - 1]]
    boxes = table.column("num_boxes").to_numpy().astype(np.int64)
    most = np.maximum.reduceat(boxes, firsts) if firsts else boxes
    return most, hex_strings(b"".join(images[i] for i in firsts))
