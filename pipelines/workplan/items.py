"""Work items: the pieces of metadata, buckets and shards that workers process.

An item is a small JSON-able record with a deterministic name. Planning depends on
inputs and options only, never on workers or launchers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from pipelines.workplan.inputs import Extent, InputFile

ROWS_PER_ITEM = 500_000
"""Metadata rows of a filter item; part of the layout of `kept/`, so no option."""

TEXT_BYTES_PER_ROW = 200
"""A guess for formats without counts, used for the number of buckets only."""

ROWS_PER_BUCKET = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A run of rows of one file."""

    source: str
    name: str
    path: str
    columns: tuple[str, ...]  # of the file
    first_row: int = 0  # row number of the piece's first row in the file
    rows: int | None = None  # read so many; None: to the end of the piece
    start: int = 0  # parquet: first row group; text: first byte
    end: int | None = None  # one past the last row group or byte; None: to the end of the file
    tombstones: str = ""  # URL of a tombstone file to take over


@dataclass(frozen=True, kw_only=True)
class FilterItem:
    """Some rows of one source."""

    name: str
    source: str
    pieces: tuple[Piece, ...] = field(default_factory=tuple)

    @property
    def rows(self) -> int:
        """Rows the plan expects, 0 where only parsing tells."""
        return sum(piece.rows or 0 for piece in self.pieces)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form, read back by `from_json`."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> FilterItem:
        """Read back what `to_json` wrote."""
        pieces = tuple(
            Piece(**{**piece, "columns": tuple(piece["columns"])}) for piece in data["pieces"]
        )
        return FilterItem(name=data["name"], source=data["source"], pieces=pieces)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Where one part keeps one bucket: byte ranges in its `buckets/` file."""

    file: str
    offset: int
    rows_bytes: int
    tombstones_bytes: int


@dataclass(frozen=True, kw_only=True)
class MixItem:
    """One bucket over all parts."""

    name: str
    segments: tuple[Segment, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a compact JSON-able form, read back by `from_json`."""
        rows = [[s.file, s.offset, s.rows_bytes, s.tombstones_bytes] for s in self.segments]
        return {"name": self.name, "segments": rows}

    @staticmethod
    def from_json(data: dict[str, Any]) -> MixItem:
        """Read back what `to_json` wrote."""
        segments = tuple(
            Segment(file=f, offset=o, rows_bytes=r, tombstones_bytes=t)
            for f, o, r, t in data["segments"]
        )
        return MixItem(name=data["name"], segments=segments)


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
        return {"name": self.name, "segments": [list(each) for each in self.segments]}

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


def filter_items(files: Sequence[InputFile], limit: int | None) -> list[FilterItem]:
    """Cut files into items of about `ROWS_PER_ITEM` rows, in (source, name, row) order.

    Args:
        files: From `inputs.describe`.
        limit: First N rows of each source, before any rule; None for all.
    """
    items: list[FilterItem] = []
    for source in sorted({file.source for file in files}):
        mine = sorted((f for f in files if f.source == source), key=lambda file: file.name)
        pieces = _limited(_pieces(mine), limit)
        for group in _packed(pieces):
            name = f"part-{len(items):05d}"
            items.append(FilterItem(name=name, source=source, pieces=tuple(group)))
    return items


def _pieces(files: Iterable[InputFile]) -> Iterator[Piece]:
    for file in files:
        first_row, tombstones = 0, file.tombstones
        for extents in _merged(file.extents):
            rows = None if extents[0].rows is None else sum(e.rows or 0 for e in extents)
            yield Piece(
                source=file.source,
                name=file.name,
                path=file.path,
                columns=file.columns,
                first_row=first_row,
                rows=rows,
                start=extents[0].start,
                end=extents[-1].end,
                tombstones=tombstones,
            )
            first_row, tombstones = first_row + (rows or 0), ""


def whole_file(file: InputFile) -> Piece:
    """Return a file that has one extent as one piece."""
    (piece,) = _pieces([file])
    return piece


def _merged(extents: Sequence[Extent]) -> Iterator[list[Extent]]:
    group: list[Extent] = []
    for extent in extents:
        if group and sum(e.rows or 0 for e in [*group, extent]) > ROWS_PER_ITEM:
            yield group
            group = []
        group.append(extent)
    if group:
        yield group


def _limited(pieces: Iterable[Piece], limit: int | None) -> Iterator[Piece]:
    left = limit
    for piece in pieces:
        if left is None:
            yield piece
            continue
        if left <= 0 and not piece.tombstones:
            return
        rows = left if piece.rows is None else min(left, piece.rows)
        yield replace(piece, rows=rows)
        left -= rows


def _packed(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    group: list[Piece] = []
    rows = 0
    for piece in pieces:
        size = ROWS_PER_ITEM if piece.rows is None else piece.rows
        if group and rows + size > ROWS_PER_ITEM:
            yield group
            group, rows = [], 0
        group.append(piece)
        rows += size
    if group:
        yield group


def num_buckets(files: Sequence[InputFile]) -> int:
    """Return the number of buckets: the power of two that holds ≤ 2 M input rows each."""
    rows = sum(
        file.size // TEXT_BYTES_PER_ROW if file.rows is None else file.rows for file in files
    )
    return 1 << max(0, math.ceil(math.log2(max(rows, 1) / ROWS_PER_BUCKET)))
