"""Parquet in one way: the same rows give the same bytes, however they were chunked.

Parquet bytes depend on how rows arrive (chunks, dictionaries, slices), not on threads.
So every row group is gathered into one contiguous chunk, dictionary columns are stored
as plain strings (parquet keeps its own dictionary pages), and all settings are fixed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 65_536
"""Rows of an ordinary row group; plans use the shard size instead."""

# Columns of few distinct values; the dictionary attempt on the others only costs time.
_DICTIONARY_COLUMNS = frozenset(
    [
        "source",
        "source_file",
        "similarity_scorer",
        "nsfw_tag",
        "language",
        "license",
        "reason",
        "status",
        "outcome",
    ]
)
_STATISTICS_COLUMNS = frozenset(["source_row", "width", "height", "shard_row"])


def write(
    path: str,
    tables: Iterable[pa.Table | pa.RecordBatch],
    schema: pa.Schema,
    row_group_rows: int = ROW_GROUP_ROWS,
) -> int:
    """Write tables to a local file as row groups of exactly `row_group_rows`; the last may be less.

    Args:
        path: Local file, replaced when present.
        tables: Any number of pieces in row order; columns as in `schema`.
        schema: The file's columns; dictionary types are stored as their value type.
        row_group_rows: Rows per row group.

    Returns:
        The number of rows written.
    """
    stored = storage_schema(schema)
    rows = 0
    with pq.ParquetWriter(path, stored, **_settings(stored)) as writer:
        for group in _regroup(tables, stored, row_group_rows):
            writer.write_table(_contiguous(group, stored), row_group_size=row_group_rows)
            rows += group.num_rows
    return rows


def read(
    file: IO[bytes], columns: Sequence[str] | None = None, *, row_group: int | None = None
) -> pa.Table:
    """Read an open file, or one row group of it, on this thread alone.

    Arrow's threads are not there in a process that a trainer forked. And one that still holds a
    Python file when the interpreter ends takes the process with it (apache/arrow#34314).

    Args:
        file: Open for reading.
        columns: Those wanted; default: all.
        row_group: The one wanted; default: all.
    """
    opened = pq.ParquetFile(file)
    names = None if columns is None else list(columns)
    if row_group is None:
        return opened.read(names, use_threads=False)
    return opened.read_row_group(row_group, names, use_threads=False)


def storage_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema as it stands in files: dictionary types replaced by their values'.

    Its metadata stays.
    """
    return pa.schema(
        [
            field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
            for field in schema
        ],
        schema.metadata,
    )


def _settings(schema: pa.Schema) -> dict[str, object]:
    return {
        "compression": "zstd",
        "compression_level": 1,
        "version": "2.6",
        "data_page_version": "1.0",
        "use_dictionary": [name for name in schema.names if name in _DICTIONARY_COLUMNS] or False,
        "write_statistics": [name for name in schema.names if name in _STATISTICS_COLUMNS] or False,
    }


def _regroup(
    tables: Iterable[pa.Table | pa.RecordBatch], schema: pa.Schema, rows: int
) -> Iterator[pa.Table]:
    pending = schema.empty_table()
    for piece in tables:
        table = pa.Table.from_batches([piece]) if isinstance(piece, pa.RecordBatch) else piece
        pending = pa.concat_tables([pending, table.select(schema.names).cast(schema)])
        while pending.num_rows >= rows:
            yield pending.slice(0, rows)
            pending = pending.slice(rows)
    if pending.num_rows:
        yield pending


def _contiguous(group: pa.Table, stored: pa.Schema) -> pa.Table:
    columns = []
    for field in stored:
        # A sliced chunk would drag its offset into the encoders: the empty one forces a copy.
        chunks = [*group.column(field.name).chunks, pa.array([], field.type)]
        columns.append(pa.concat_arrays(chunks))
    return pa.Table.from_arrays(columns, schema=stored)
