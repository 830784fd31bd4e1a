"""Bucket segments: kept rows and tombstones cut by `h(bucket, url_hash)`, for ranged reads.

A filter item appends runs to one `.arrows` file; a run holds, bucket after bucket, one
compressed IPC stream of rows and one of tombstones. Their byte sizes stand in the
done-marker, so a mix item fetches just its own bytes: a parquet row group per bucket
would cost 2.45 MB of footer per part, and 8.9 TB of footer reads at 2.7 B rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.identity import Domain, choice, hash_words
from shards.schema import KEPT, TOMBSTONE

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)

Sizes = list[list[int]]
"""Per bucket: bytes of its rows' stream and of its tombstones' stream (0 = none)."""


def bucket_of(url_hashes: pa.Array, num_buckets: int, seed: int) -> npt.NDArray[np.uint32]:
    """Return each row's bucket; `num_buckets` is a power of two."""
    assert num_buckets & (num_buckets - 1) == 0
    bits = choice(Domain.BUCKET, seed, hash_words(url_hashes))
    return (bits & np.uint64(num_buckets - 1)).astype(np.uint32)


def append_run(
    file: BinaryIO,
    rows: Sequence[pa.RecordBatch],
    tombstones: Sequence[pa.RecordBatch],
    num_buckets: int,
    seed: int,
) -> Sizes:
    """Append one run to a segment file and return the byte sizes of its segments."""
    row_streams = _streams(rows, KEPT, num_buckets, seed)
    tombstone_streams = _streams(tombstones, TOMBSTONE, num_buckets, seed)
    sizes: Sizes = []
    for pair in zip(row_streams, tombstone_streams, strict=True):
        for stream in pair:
            file.write(stream)
        sizes.append([len(stream) for stream in pair])
    return sizes


def _streams(
    batches: Sequence[pa.RecordBatch], schema: pa.Schema, num_buckets: int, seed: int
) -> Iterable[bytes | pa.Buffer]:
    if not batches:
        return [b""] * num_buckets
    table = pa.Table.from_batches(batches)
    hashes = pa.concat_arrays(table.column("url_hash").chunks)
    bucket = bucket_of(hashes, num_buckets, seed)
    if num_buckets > 1:
        table = _gather(table, np.argsort(bucket, kind="stable"))
    ends = np.cumsum(np.bincount(bucket, minlength=num_buckets))
    return (
        _stream(table.slice(end - count, count), schema) if count else b""
        for end, count in zip(ends.tolist(), np.diff(ends, prepend=0).tolist(), strict=True)
    )


def _gather(table: pa.Table, order: npt.NDArray[np.intp]) -> pa.Table:
    """Take rows column by column: only one column at a time exists twice."""
    indices = pa.array(order)
    columns = [pa.concat_arrays(c.unify_dictionaries().chunks).take(indices) for c in table.columns]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _stream(table: pa.Table, schema: pa.Schema) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=_OPTIONS) as writer:
        writer.write_table(table)
    return sink.getvalue()


def read_segment(data: bytes) -> pa.Table:
    """Return the table of one segment's bytes."""
    return pa.ipc.open_stream(pa.BufferReader(data)).read_all()
