"""Character classes: the table built from RE2 says what Unicode's names and categories say."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
from helpers.filters.reference_captions import is_glue, is_half_word

from filters.characters import ALNUM, GLUE, HALF, SPACE, WORD, blocks, classify


def test_every_assigned_character() -> None:
    points = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    characters = classify(pa.array([chr(c) for c in points]))
    for point, start in zip(points, characters.starts, strict=False):
        c = chr(point)
        kind = unicodedata.category(c)[0]
        half = is_half_word(c)
        expected = (
            ALNUM * (kind in "LNM")
            | WORD * (kind in "LN" and not half)
            | HALF * half
            | SPACE * (kind == "Z" or c in "\t\n\x0b\f\r\x85")
            | GLUE * is_glue(c)
        )
        assert characters.flags[start] == expected, (hex(point), unicodedata.name(c, "?"))


def test_bytes_after_the_first_are_glue_only() -> None:
    characters = classify(pa.array(["é漢🎉"]))
    assert [int(f) == GLUE for f in characters.flags] == [
        *(False, True),
        *(False, True, True),
        *(False, True, True, True),
    ]


def test_blocks_cover_every_row_once() -> None:
    column = pa.array(["x" * n for n in (0, 5, 100, 0, 3, 50, 1)])
    for max_rows in (1, 2, 7):
        for max_bytes in (1, 10, 1000):
            cut = list(blocks(column, max_rows, max_bytes))
            assert pa.concat_arrays(cut).equals(column)
            assert all(len(block) <= max_rows for block in cut)
    assert [len(block) for block in blocks(column[:0], 5)] == [0]
