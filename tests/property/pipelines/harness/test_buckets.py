"""A run of bucket segments holds every row once, in its bucket, in the order it came in."""

import io
from unittest import mock

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.harness import buckets
from shards.schema import KEPT, TOMBSTONE

SEED = 3


def kept(first, rows, file):
    numbers = np.arange(first, first + rows)
    columns = {
        "key": [f"{n:032x}" for n in numbers],
        "url_hash": [int(n).to_bytes(16, "little") for n in numbers],
        "caption": [None if n % 5 == 0 else "é" * (n % 7) for n in numbers],
        "source_file": [file] * rows,
        "deferred": [["aspect.ratio"] * (n % 2) for n in numbers],
    }
    arrays = [
        pa.array(columns[f.name]).cast(f.type) if f.name in columns else pa.nulls(rows, f.type)
        for f in KEPT
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=KEPT)


def buried(batch):
    reasons = pa.array(["nsfw"] * len(batch)).cast(TOMBSTONE.field("reason").type)
    return pa.RecordBatch.from_arrays([batch.column("url_hash"), reasons], schema=TOMBSTONE)


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 40), max_size=5),
    num_buckets=st.sampled_from([1, 2, 8, 64]),
    window=st.integers(1, 50),
    buried_batches=st.integers(0, 2),
)
def test_segments_hold_their_rows(sizes, num_buckets, window, buried_batches):
    starts = np.cumsum([0, *sizes]).tolist()
    batches = [
        kept(start, size, f"file-{i}")
        for i, (start, size) in enumerate(zip(starts, sizes, strict=False))
    ]
    tombstones = [buried(batch) for batch in batches[:buried_batches]]
    file = io.BytesIO()
    with mock.patch.object(buckets, "_WINDOW_ROWS", window):
        found = buckets.append_run(file, batches, tombstones, num_buckets, SEED)
    assert len(found) == num_buckets
    file.seek(0)
    expected = [
        pa.Table.from_batches(batches, KEPT),
        pa.Table.from_batches(tombstones, TOMBSTONE),
    ]
    for number, pair in enumerate(found):
        for size, table in zip(pair, expected, strict=True):
            hashes = table.column("url_hash").combine_chunks()
            mine = buckets.bucket_of(hashes, num_buckets, SEED) == number
            wanted = table.filter(pa.array(mine)).to_pylist()
            data = file.read(size)
            assert (buckets.read_segment(data).to_pylist() if size else []) == wanted
    assert file.read() == b""
