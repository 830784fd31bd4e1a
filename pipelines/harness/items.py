"""Work items that several jobs plan: buckets, and shards to be written.

An item is a small JSON-able record with a deterministic name. Planning depends on
inputs and options only, never on workers or launchers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class PlannedShard:
    """One shard: a row group of a plan file."""

    name: str
    plan: str
    row_group: int
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form, read back by `from_json`."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> PlannedShard:
        """Read back what `to_json` wrote."""
        return PlannedShard(**data)


@dataclass(frozen=True, kw_only=True)
class BucketItem:
    """One bucket: its byte range in the segment file of every item that has rows in it."""

    name: str
    segments: tuple[tuple[str, int, int], ...]  # file, offset, size

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form."""
        return {"name": self.name, "segments": [list(segment) for segment in self.segments]}

    @staticmethod
    def from_json(data: dict[str, Any]) -> BucketItem:
        """Read back what `to_json` wrote."""
        segments = ((str(file), int(at), int(size)) for file, at, size in data["segments"])
        return BucketItem(name=data["name"], segments=tuple(segments))


def bucket_items(files: Sequence[str], sizes: Sequence[Sequence[int]]) -> Iterator[BucketItem]:
    """Turn segment sizes, file by file, into byte ranges, bucket by bucket.

    Args:
        files: Each holds its segments in the order of buckets.
        sizes: Bytes of every segment of every file.
    """
    table = np.array(sizes, np.int64).reshape(len(files), -1)
    starts = np.concatenate([np.zeros((len(files), 1), np.int64), table.cumsum(axis=1)], 1)
    for bucket in range(table.shape[1]):
        ranges = zip(files, starts[:, bucket].tolist(), table[:, bucket].tolist(), strict=True)
        segments = tuple((file, start, size) for file, start, size in ranges if size)
        yield BucketItem(name=f"bucket-{bucket:04d}", segments=segments)


def planned_shards(planned: Iterable[tuple[str, int]], shard_rows: int) -> Iterator[PlannedShard]:
    """Number the shards by a running sum over the buckets.

    Args:
        planned: Name of every bucket and the rows of its plan.
        shard_rows: Rows of a shard; a bucket's last one may have fewer.
    """
    number = 0
    for bucket, rows in planned:
        for row_group, first in enumerate(range(0, rows, shard_rows)):
            yield PlannedShard(
                name=f"{number:06d}",
                plan=f"plan/{bucket}.parquet",
                row_group=row_group,
                rows=min(shard_rows, rows - first),
            )
            number += 1
