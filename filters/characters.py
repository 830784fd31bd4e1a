"""What each character of a string column is: letter or digit, space, half a word, or glue.

In: an Arrow string array. Out: one flag byte per *UTF-8 byte* with the byte offsets of the rows,
from which the caption rules count by cumulative sums (ten times faster than counting regexes).
The flags of a character stand on its first byte; the other bytes carry `GLUE` only.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from filters.regex import matching

if TYPE_CHECKING:
    import pyarrow as pa

ALNUM = np.uint8(1)  # a letter, a digit or a combining mark
WORD = np.uint8(2)  # a letter or digit that runs together with its neighbours
HALF = np.uint8(4)  # a letter of a script written without spaces
SPACE = np.uint8(8)
GLUE = np.uint8(16)  # neither starts nor ends a word: apostrophe, mark, joiner, 2nd..4th byte

HALF_WORD_PATTERN = (
    r"[\x{0e00}-\x{0eff}"  # Thai, Lao
    r"\x{1780}-\x{17ff}"  # Khmer
    r"\x{3005}-\x{3007}\x{3031}-\x{3035}\x{303b}-\x{303c}"  # ideographic iteration marks
    r"\x{3040}-\x{30ff}\x{31f0}-\x{31ff}\x{ff66}-\x{ff9f}\x{1aff0}-\x{1b16f}"  # Kana
    r"\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{20000}-\x{323af}]"  # Han
)

_GLUE_PATTERN = r"[\pM'\x{2019}\x{200c}\x{200d}\x{ad}]"
_SPACE_PATTERN = r"[\pZ\t\n\x{0b}\f\r\x{85}]"

_TABLE_END = 0x32400
"""Above it Unicode assigns nothing but marks and tags (U+E0000 to U+E01EF) and private use.
Classifying the whole range would take a second per process instead of a fifth."""

_SELECTORS = (0xE0100, 0xE01F0)


@dataclasses.dataclass(frozen=True)
class Characters:
    """The flags of a string column."""

    flags: npt.NDArray[np.uint8]  # (bytes,)
    starts: npt.NDArray[np.int64]  # (rows + 1,) byte offset of each row in `flags`

    def per_row(self, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Count the set bytes of `chosen` (bytes,) in every row, shape (rows,)."""
        return row_sums(chosen, self.starts)


def row_sums(chosen: npt.NDArray[np.bool_], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sum a flat bool array over the rows that `starts` (rows + 1,) cuts it into."""
    total = np.zeros(len(chosen) + 1, dtype=np.int32)
    np.cumsum(chosen, dtype=np.int32, out=total[1:])
    sums: npt.NDArray[np.int64] = np.diff(total[starts]).astype(np.int64)
    return sums


def classify(column: pa.Array) -> Characters:
    """Classify every character of a string array; a null row is an empty one."""
    data, starts = utf8_bytes(column)
    table = _code_point_flags()
    flags = table[:256][data]  # copies; wrong above 0x7f, set right below
    wide = np.flatnonzero(data >= 0x80)
    if len(wide):
        flags[wide] = GLUE
        leads = wide[data[wide] >= 0xC0]
        flags[leads] = table[_code_points(data, leads)]
    return Characters(flags, starts)


def blocks(column: pa.Array, max_rows: int, max_bytes: int = 1 << 20) -> Iterator[pa.Array]:
    """Cut a string array into slices whose work arrays stay in cache; yields at least one.

    A single longer row is a slice of its own, so 60,000-character captions cost no memory.
    """
    _, starts = utf8_bytes(column)
    row = 0
    while True:
        end = int(np.searchsorted(starts, starts[row] + max_bytes, side="right")) - 1
        end = min(max(end, row + 1), row + max_rows, len(column))
        yield column.slice(row, end - row)
        if end >= len(column):
            return
        row = end


def utf8_bytes(column: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return the joined bytes of a string array and the (rows + 1,) offsets of its rows."""
    if column.null_count:
        column = column.fill_null("")
    _, offset_buffer, data_buffer = column.buffers()
    if not len(column) or data_buffer is None:
        return np.zeros(0, np.uint8), np.zeros(len(column) + 1, np.int64)
    offsets = np.frombuffer(offset_buffer, dtype=np.int32)
    offsets = offsets[column.offset : column.offset + len(column) + 1].astype(np.int64)
    data = np.frombuffer(data_buffer, dtype=np.uint8)[offsets[0] : offsets[-1]]
    return data, offsets - offsets[0]


def _code_points(
    data: npt.NDArray[np.uint8], leads: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint32]:
    """Decode the characters whose first bytes (all >= 0xC0) stand at `leads`."""
    lead = data[leads].astype(np.uint32)
    width = 2 + (lead >= 0xE0) + (lead >= 0xF0)
    points: npt.NDArray[np.uint32] = lead & np.array([0, 0, 0x1F, 0x0F, 0x07], np.uint32)[width]
    for k in range(1, 4):
        longer = width > k
        following = data[leads[longer] + k].astype(np.uint32) & 0x3F
        points[longer] = (points[longer] << 6) | following
    return points


@functools.cache
def _code_point_flags() -> npt.NDArray[np.uint8]:
    """Return the flags of every code point, shape (0x110000,), from RE2's own tables."""
    points = np.array([c for c in range(_TABLE_END) if not 0xD800 <= c < 0xE000])
    column = _one_character_rows(points)
    letter_or_digit = matching(column, r"[\pL\pN]")
    half = letter_or_digit & matching(column, HALF_WORD_PATTERN) & matching(column, r"\pL")
    table = np.zeros(0x110000, dtype=np.uint8)
    for flag, mask in (
        (ALNUM, letter_or_digit | matching(column, r"\pM")),
        (WORD, letter_or_digit & ~half),
        (HALF, half),
        (SPACE, matching(column, _SPACE_PATTERN)),
        (GLUE, matching(column, _GLUE_PATTERN)),
    ):
        table[points[mask]] |= flag
    table[slice(*_SELECTORS)] = ALNUM | GLUE
    return table


def _one_character_rows(points: npt.NDArray[np.int64]) -> pa.Array:
    import pyarrow as pa

    text = "".join(map(chr, points.tolist())).encode("utf-8")
    data = np.frombuffer(text, dtype=np.uint8)
    starts = np.append(np.flatnonzero((data & 0xC0) != 0x80), len(data)).astype(np.int32)
    return pa.StringArray.from_buffers(len(points), pa.py_buffer(starts), pa.py_buffer(text))
