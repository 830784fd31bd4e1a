"""Pieces of metadata: runs of rows of a file, the smallest thing that is read alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipelines.metadata.files import Extent, InputFile


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


def cut(files: Iterable[InputFile], max_rows: int) -> Iterator[Piece]:
    """Yield the files as pieces of at most `max_rows` rows, or of one extent."""
    for file in files:
        first_row, tombstones = 0, file.tombstones
        for extents in _merged(file.extents, max_rows):
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
    (piece,) = cut([file], max_rows=0)
    return piece


def _merged(extents: Sequence[Extent], max_rows: int) -> Iterator[list[Extent]]:
    group: list[Extent] = []
    for extent in extents:
        if group and sum(e.rows or 0 for e in [*group, extent]) > max_rows:
            yield group
            group = []
        group.append(extent)
    if group:
        yield group
