"""The cost of one part and one bucket when there are thousands of each; prints JSON.

    python -m benchmarks.bucket_costs KEPT.parquet BUCKETS

Splits the kept rows of one real part into as many buckets as 2.7 B rows have, and loads all these
segments as a mix item does: by ranged reads, one small stream each.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.filter_job.items import MixItem, Segment
from pipelines.filter_job.mix_item import _load
from pipelines.filter_job.run import _mix_items, _packed_segments
from pipelines.harness import buckets
from pipelines.harness.launch import Done
from shards.files.commit import encode
from shards.files.store import Store
from shards.schema import KEPT

_BATCH_ROWS = 50_000
_PARTS = 50  # enough that the rest of a plan file is negligible beside its segments


def main() -> None:
    """Measure one part."""
    part, num_buckets = sys.argv[1], int(sys.argv[2])
    rows = pq.read_table(part).cast(KEPT)
    batches = rows.to_batches(max_chunksize=_BATCH_ROWS)
    with tempfile.TemporaryDirectory(prefix="groundwork-bench-") as folder:
        started = time.process_time()
        with pa.BufferedOutputStream(pa.OSFile(f"{folder}/part", "wb"), 1 << 20) as file:
            sizes = buckets.append_run(file, batches, [], num_buckets, 0)
        cut_s = time.process_time() - started
        load_s = _load_s(folder, sizes)
        costs = {
            "rows": rows.num_rows,
            "bytes": Path(folder, "part").stat().st_size,
            "cut_cpu_s": cut_s,
            "load_cpu_s": load_s,
            **_plan_costs(sizes),
        }
    sys.stdout.write(json.dumps(costs))


def _load_s(folder: str, sizes: buckets.Sizes) -> float:
    segments, offset = [], 0
    for size, _ in sizes:
        segments.append(Segment(file="part", offset=offset, rows_bytes=size, tombstones_bytes=0))
        offset += size
    item = MixItem(
        name="bucket-0000", segments=tuple(segment for segment in segments if segment.rows_bytes)
    )
    started = time.process_time()
    _load(Store(folder), item)
    return time.process_time() - started


def _plan_costs(sizes: buckets.Sizes) -> dict[str, Any]:
    """Return the bytes that a part's segment sizes take in its done-marker and the mix's plan."""
    result = {"num_buckets": len(sizes), "runs": [{"offset": 0, "sizes": sizes}]}
    done = [Done(f"part-{n:05d}", _packed_segments(result), {}) for n in range(_PARTS)]
    items = list(_mix_items(done))
    segments = sum(len(item.segments) for item in items)
    return {
        "marker_bytes": len(encode(result)),
        "segment_plan_bytes": sum(len(encode(item.to_json())) for item in items) / segments,
    }


if __name__ == "__main__":
    main()
