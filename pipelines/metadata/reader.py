"""Reads the rows of a piece of metadata, parquet or text, a bounded batch at a time.

Goes in: a `Piece` of the plan. Comes out: raw record batches with the row numbers they
have in the file. What cannot be read is counted, not skipped in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipelines.metadata.files import DAMAGE, is_compressed, open_text, text_delimiter
from pipelines.metadata.filesystems import open_input
from pipelines.metadata.pieces import Piece
from shards.commandline import UserError

BATCH_ROWS = 65_536
_TEXT_BLOCK = 16 << 20  # longest line that can be read, bytes


class UnreadableError(UserError):
    """A file is corrupt. `file` names it; `rows` rows of the plan are lost with it."""

    def __init__(self, path: str, rows: int, why: str) -> None:
        lost = f"{rows} planned rows" if rows else "the rest of its rows"
        super().__init__(
            f"{path}: {why}; {lost} cannot be read. Repair or remove the file, or allow it with "
            "--max_unreadable"
        )
        self.rows = rows


@dataclass
class PieceReader:
    """Iterates over one piece; afterwards `bad_rows` tells how many lines did not parse."""

    piece: Piece
    resolved: Mapping[str, tuple[str, ...]]  # from `sources.resolve`
    bad_rows: int = 0
    _skipped: list[int] = field(default_factory=list)  # bad lines, counted from the piece's start

    def __iter__(self) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64]]]:
        wanted = [name for names in self.resolved.values() for name in names]
        left, delivered = self.piece.rows, 0
        try:
            for batch in self._batches(wanted):
                batch = batch if left is None else batch.slice(0, left - delivered)
                if len(batch):
                    yield batch, self.piece.first_row + self._numbers(delivered, len(batch))
                    delivered += len(batch)
                if left is not None and delivered + self.bad_rows >= left:
                    return
        except (*DAMAGE, pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if _is_outage(error):
                raise
            lost = max(0, (left or 0) - delivered - self.bad_rows)
            raise UnreadableError(self.piece.path, lost, str(error).splitlines()[0]) from error

    def _batches(self, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        if self.piece.rows == 0:
            return iter(())
        delimiter = text_delimiter(self.piece.path)
        return self._parquet(wanted) if delimiter is None else self._text(wanted, delimiter)

    def _parquet(self, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        remote = "://" in self.piece.path
        assert self.piece.end is not None
        with open_input(self.piece.path, cache_type="none") as file:
            reader = pq.ParquetFile(file, pre_buffer=remote)
            groups = list(range(self.piece.start, self.piece.end))
            yield from reader.iter_batches(BATCH_ROWS, groups, list(wanted), use_threads=False)

    def _text(self, wanted: Sequence[str], delimiter: str) -> Iterator[pa.RecordBatch]:
        tsv = delimiter == "\t"
        packed = is_compressed(self.piece.path)
        with open_text(self.piece.path) as file:
            file.read(self.piece.start) if packed else file.seek(self.piece.start)
            source = file if packed else _Until(file, self.piece)
            yield from pacsv.open_csv(
                source,
                read_options=pacsv.ReadOptions(
                    use_threads=False, block_size=_TEXT_BLOCK, column_names=self.piece.columns
                ),
                parse_options=pacsv.ParseOptions(
                    delimiter=delimiter,
                    quote_char=False if tsv else '"',
                    newlines_in_values=not tsv,
                    ignore_empty_lines=False,
                    invalid_row_handler=self._skip,
                ),
                # Bytes stay bytes: invalid UTF-8 must reach the check that counts it.
                convert_options=pacsv.ConvertOptions(
                    check_utf8=False,
                    include_columns=list(wanted),
                    column_types={name: pa.binary() for name in wanted},
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )

    def _skip(self, row: pacsv.InvalidRow) -> str:
        self._skipped.append(row.number - 1)
        self.bad_rows += 1
        return "skip"

    def _numbers(self, delivered: int, count: int) -> npt.NDArray[np.int64]:
        numbers = np.arange(delivered, delivered + count, dtype=np.int64)
        for line in self._skipped:  # ascending: each bad line pushes the later rows down by one
            numbers[numbers >= line] += 1
        return numbers


def _is_outage(error: Exception) -> bool:
    """Tell a store that does not answer from a file that is damaged.

    Arrow reports damage as an OSError too, but without the number that the system's errors have.
    """
    return isinstance(error, ConnectionError | TimeoutError) or (
        isinstance(error, OSError) and error.errno is not None
    )


class _Until:
    """A file that ends where the piece does."""

    closed = False

    def __init__(self, file: pa.NativeFile, piece: Piece) -> None:
        self._file = file
        self._left = None if piece.end is None else piece.end - piece.start

    def read(self, size: int = -1) -> bytes:
        if self._left is not None:
            size = self._left if size < 0 else min(size, self._left)
        data: bytes = self._file.read(size)
        if self._left is not None:
            self._left -= len(data)
        return data

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
