"""Bucket segments: kept rows and tombstones cut by `h(bucket, url_hash)`, for ranged reads.

A filter item appends runs to one `.arrows` file; a run holds, bucket after bucket, one
compressed IPC stream of rows and one of tombstones. Their byte sizes stand in the
done-marker, so a mix item fetches just its own bytes. Parquet with a row group per bucket
would have footers of megabytes, which every bucket would read again from every part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.identity import Domain, choice, hash_words
from shards.schema import HASH, KEPT, TOMBSTONE

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)

_WINDOW_ROWS = 65_536
"""Rows that are copied at a time into bucket order."""

Sizes = list[list[int]]
"""Per bucket: bytes of its rows' stream and of its tombstones' stream (0 = none)."""


def num_buckets(count: int, most: int) -> int:
    """Return the smallest power of two of buckets that leaves at most `most` of `count` in each."""
    return 1 << ((max(count, 1) - 1) // most).bit_length()


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
    tables = [
        pa.Table.from_batches(batches, schema).unify_dictionaries()
        for batches, schema in ((rows, KEPT), (tombstones, TOMBSTONE))
    ]
    ordered = [_Sorted(table, _buckets(table, num_buckets, seed), num_buckets) for table in tables]
    return [
        [_append(file, kind.bucket(number), kind.schema) for kind in ordered]
        for number in range(num_buckets)
    ]


def append_sorted(
    file: BinaryIO, table: pa.Table, buckets: npt.NDArray[np.uint32], num_buckets: int
) -> list[int]:
    """Append a table cut by bucket to a segment file and return the byte size of each segment."""
    ordered = _Sorted(table, buckets, num_buckets)
    return [_append(file, ordered.bucket(number), table.schema) for number in range(num_buckets)]


def _buckets(table: pa.Table, num_buckets: int, seed: int) -> npt.NDArray[np.uint32]:
    hashes = pa.concat_arrays([pa.array([], HASH), *table.column("url_hash").chunks])
    return bucket_of(hashes, num_buckets, seed)


class _Sorted:
    """Rows in bucket order, copied a window at a time: they never exist twice as a whole."""

    def __init__(self, table: pa.Table, buckets: npt.NDArray[np.uint32], num_buckets: int) -> None:
        self.schema = table.schema
        self._table = table
        self._order = np.argsort(buckets, kind="stable") if num_buckets > 1 else None
        self._ends = np.cumsum(np.bincount(buckets, minlength=num_buckets))
        self._number, self._window = -1, self._table

    def bucket(self, number: int) -> Iterator[pa.Table]:
        """Yield the rows of one bucket in pieces; cheap where buckets are asked for in order."""
        start, end = int(self._ends[number - 1]) if number else 0, int(self._ends[number])
        while start < end:
            window, first = divmod(start, _WINDOW_ROWS)
            stop = min(end, (window + 1) * _WINDOW_ROWS)
            yield self._gather(window).slice(first, stop - start)
            start = stop

    def _gather(self, number: int) -> pa.Table:
        if number != self._number:
            start = number * _WINDOW_ROWS
            if self._order is None:
                self._window = self._table.slice(start, _WINDOW_ROWS)
            else:
                indices = pa.array(self._order[start : start + _WINDOW_ROWS])
                self._window = self._table.take(indices)
            self._number = number
        return self._window


def _append(file: BinaryIO, pieces: Iterable[pa.Table], schema: pa.Schema) -> int:
    """Append one stream, nothing where there are no rows, and return its size in bytes."""
    start = file.tell()
    writer = None
    for piece in pieces:
        writer = writer or pa.ipc.new_stream(file, schema, options=_OPTIONS)
        writer.write_table(piece)
    if writer is not None:
        writer.close()
    return file.tell() - start


def read_segment(data: bytes) -> pa.Table:
    """Return the table of one segment's bytes."""
    return pa.ipc.open_stream(pa.BufferReader(data)).read_all()
