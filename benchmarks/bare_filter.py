"""Filtering without a job around it: the baseline of `filter_vs_pyarrow`.

    python -m benchmarks.bare_filter OUT FILE…

Reads, cleans, masks and keys with our own functions, sorts by bucket and writes the same two
files per 500,000 rows. No Beam, plan, leases, rejects, tombstones, counts, checksums or markers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.corpus import FILE_ROWS, SOURCE
from filters import Chain, apply_chain, build_chain
from pipelines.filter_job.items import ROWS_PER_BUCKET
from pipelines.harness import buckets
from pipelines.metadata.canonical import canonicalise
from pipelines.metadata.reader import BATCH_ROWS
from pipelines.metadata.sources import SOURCES, resolve
from shards.files import parquet
from shards.schema import KEPT


def main() -> None:
    """Filter every file."""
    out, files = Path(sys.argv[1]), sys.argv[2:]
    num_buckets = 1
    while num_buckets * ROWS_PER_BUCKET < len(files) * FILE_ROWS:
        num_buckets *= 2
    chain = build_chain("cogvlm")
    for name in ("kept", "buckets"):
        (out / name).mkdir(parents=True)
    for number, path in enumerate(files):
        _filter(path, out, f"part-{number:05d}", chain, num_buckets)


def _filter(path: str, out: Path, name: str, chain: Chain, num_buckets: int) -> None:
    kept: list[pa.RecordBatch] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in _judged(path, chain):
            kept.append(batch)
            yield batch

    parquet.write(str(out / "kept" / f"{name}.parquet"), batches(), KEPT)
    with pa.BufferedOutputStream(pa.OSFile(str(out / "buckets" / name), "wb"), 1 << 20) as file:
        buckets.append_run(file, kept, [], num_buckets, 0)


def _judged(path: str, chain: Chain) -> Iterator[pa.RecordBatch]:
    source, reader = SOURCES[SOURCE], pq.ParquetFile(path)
    resolved = resolve(source, reader.schema_arrow.names, path)
    wanted: Sequence[str] = [name for names in resolved.values() for name in names]
    first = 0
    for raw in reader.iter_batches(BATCH_ROWS, columns=list(wanted), use_threads=False):
        rows = np.arange(first, first + len(raw))
        batch = canonicalise(raw, source, resolved, file=Path(path).name, rows=rows)
        result = apply_chain(batch, chain)
        keep = pa.array(result.keep)
        columns = [
            result.deferred_lists() if f.name == "deferred" else batch.column(f.name) for f in KEPT
        ]
        yield pa.RecordBatch.from_arrays([c.filter(keep) for c in columns], schema=KEPT)
        first += len(raw)


if __name__ == "__main__":
    main()
