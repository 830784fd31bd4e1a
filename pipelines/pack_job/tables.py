"""The rows of a packing job between its stages."""

from __future__ import annotations

import pyarrow as pa

from shards.schema import NAME

READ = pa.schema(
    [
        pa.field("key", pa.string()),  # of the sample
        pa.field("unit", pa.int32()),  # which part of the input, and the record's number in it
        pa.field("number", pa.int64()),
        pa.field("source", NAME),
        pa.field("source_file", NAME),
        pa.field("source_row", pa.int64()),
        pa.field("image_sha256", pa.list_(pa.string())),  # of each image file, hex
        pa.field("record", pa.string()),  # JSON of `records.Record`
    ]
)
"""Rows of `buckets/*.arrows`: records whose images are there."""

PLAN = pa.schema([*READ, pa.field("shard_row", pa.int32())])
"""`plan/bucket-*.parquet` of a packing job; one row group is one shard."""
