"""Captions are cleaned once and in one way; text that is not UTF-8 is found before that."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.text import clean_caption, clean_captions, drop_invalid, unescape


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a cat", "a cat"),
        ("  a \n\n cat\t", "a cat"),
        ("fish &amp; chips", "fish & chips"),
        ("AT&T", "AT&T"),
        ("Johnson &Sons", "Johnson &Sons"),
        ("&copy 2019 &eacute;t&eacute;", "© 2019 été"),
        ("5&nbsp;cm", "5 cm"),
        ("&amp;amp;", "&amp;"),
        ("&#65;&#x42;&#0067;", "ABC"),
        ("a &#" + "1" * 5000 + "; b", "a \ufffd b"),
        ("a &#" + "0" * 5000 + "66; b", "a B b"),
        ("cafe\u0301", "café"),
        ("a\x00b\x85c", "a b c"),
        ("木\u3000の", "木 の"),
        ("CASE, punctuation!", "CASE, punctuation!"),
        (" \t ", ""),
        ("", ""),
    ],
)
def test_clean_caption(caption: str, expected: str) -> None:
    assert clean_caption(caption) == expected
    assert clean_captions(pa.array([None, caption]))[1].as_py() == expected


PIECES = st.sampled_from(
    ["a", "Z", " ", "  ", "\n", "&amp;", "&", "amp;", "&#", "38;", "e\u0301", "\x00", "\xa0", "木"]
)


@settings(max_examples=300)
@given(st.lists(st.none() | st.lists(PIECES, max_size=8).map("".join) | st.text(), max_size=8))
def test_vectorised_equals_scalar(captions: list[str | None]) -> None:
    array = pa.array(["x", *captions], pa.string())[1:]
    expected = [None if each is None else clean_caption(each) for each in captions]
    assert clean_captions(array).to_pylist() == expected


@settings(max_examples=300)
@given(st.text())
def test_a_clean_caption_is_one_line_of_composed_text(caption: str) -> None:
    cleaned = clean_caption(caption)
    assert cleaned == " ".join(cleaned.split())
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not any(unicodedata.category(character) == "Cc" for character in cleaned)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["&#", "0", "65", "9999999", ";", "x", "&lt", "g"])).map("".join))
def test_unescape_is_pythons_own_wherever_that_works(text: str) -> None:
    import html

    assert unescape(text) == html.unescape(text)


def test_drop_invalid_nulls_the_bad_rows_only() -> None:
    raw = [b"good", None, b"caf\xe9", b"", "é".encode(), b"\xed\xa0\xbd", b"\xf4\x90\x80\x80"]
    binary = pa.array([b"x", *raw], pa.binary())
    strings = pa.Array.from_buffers(pa.string(), len(binary), binary.buffers())[1:]
    kept, bad = drop_invalid(strings)
    assert kept.to_pylist() == ["good", None, None, "", "é", None, None]
    assert bad.to_pylist() == [False, False, True, False, False, True, True]


def test_drop_invalid_returns_good_text_as_it_is() -> None:
    strings = pa.array(["a", None, "é"])
    kept, bad = drop_invalid(strings)
    assert kept is strings
    assert bad.to_pylist() == [False, False, False]
