"""The filter job's work items: pieces of metadata to filter, buckets to mix.

An item is a small JSON-able record with a deterministic name. Planning depends on
inputs and options only, never on workers or launchers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipelines.harness import buckets
from pipelines.metadata.files import InputFile
from pipelines.metadata.pieces import Piece, cut

ROWS_PER_ITEM = 500_000
"""Metadata rows of a filter item. Not an option, because the files of `kept/` depend on it."""

TEXT_BYTES_PER_ROW = 200
"""A guess for formats without counts, used for the number of buckets only."""

ROWS_PER_BUCKET = 2_000_000


SEGMENT_SIZES = "runs"
"""Where a filter item's result keeps the sizes of its bucket segments."""


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


def filter_items(files: Sequence[InputFile], limit: int | None) -> list[FilterItem]:
    """Cut files into items of about `ROWS_PER_ITEM` rows, in (source, name, row) order.

    Args:
        files: From `inputs.describe`.
        limit: First N rows of each source, before any rule; None for all.
    """
    items: list[FilterItem] = []
    for source in sorted({file.source for file in files}):
        of_source = sorted((f for f in files if f.source == source), key=lambda file: file.name)
        pieces = _limited(cut(of_source, ROWS_PER_ITEM), limit)
        for group in _packed(pieces):
            name = f"part-{len(items):05d}"
            items.append(FilterItem(name=name, source=source, pieces=tuple(group)))
    return items


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
    """Return the number of buckets, so that none has more than `ROWS_PER_BUCKET` input rows."""
    rows = sum(
        file.size // TEXT_BYTES_PER_ROW if file.rows is None else file.rows for file in files
    )
    return buckets.num_buckets(rows, ROWS_PER_BUCKET)
