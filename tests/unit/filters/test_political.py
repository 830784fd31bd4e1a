"""The political lexicon: its own lists, its file format, and its word edges."""

from __future__ import annotations

import pytest
from helpers.filters.filter_rows import answers, batch_of, row
from helpers.filters.reference_filters import REFERENCE

from filters.lexicon import data_bytes, load_lexicon, parse_lexicon, words_of
from filters.rules.political import PoliticalLexicon


def lines_of(file_name: str) -> list[str]:
    text = data_bytes(file_name).decode("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize(
    ("file_name", "expected", "at_least"),
    [
        ("political_must_match.txt", "political", 60),
        ("political_must_not_match.txt", None, 200),
    ],
)
def test_shipped_lists(file_name: str, expected: str | None, at_least: int) -> None:
    captions = lines_of(file_name)
    assert len(set(captions)) >= at_least
    given = [row(caption=caption) for caption in captions]
    actual = answers(PoliticalLexicon(), batch_of(given))
    wrong = [c for c, answer in zip(captions, actual, strict=True) if answer != expected]
    assert wrong == []
    assert actual == [REFERENCE["political.lexicon"](one) for one in given]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (None, None),
        ("", None),
        ("party", None),
        ("party party parties", None),
        ("president", None),
        ("President Presidents PRESIDENTIAL", None),  # one term in three forms
        ("Donald Trump, Trump", None),
        ("Trump meets Putin", "political"),
        ("TRUMP MEETS PUTIN", "political"),
        ("trumpeter meets Putinesca", None),
        ("émerkel and macroné", None),
        ("中trump国 and 中putin国", None),
        ("trump_putin", None),
        ("(Trump)/(Putin)", "political"),
        ("Trump's card, Putin's deck", "political"),
        ("Vote\u2014Obama", "political"),
        ("U.S. President", "political"),
        ("US-President", "political"),
        ("prime \u2013 minister", None),  # an entry does not reach across a dash outside ASCII
        ("prime... minister", "political"),
        ("élection présidentielle", "political"),
        ("Élection Présidentielle", "political"),
        ("Владимир Путин, президент России", "political"),
        ("The Trump Tower election", None),
        ("a" * 60_000 + " prime minister", "political"),
    ],
)
def test_answer(caption: str | None, expected: str | None) -> None:
    given = row(caption=caption)
    assert answers(PoliticalLexicon(), batch_of([given])) == [expected]
    assert REFERENCE["political.lexicon"](given) == expected, "the reference disagrees"


def test_more_terms_can_be_asked_for() -> None:
    batch = batch_of([row(caption="Trump meets Putin"), row(caption="Trump, Putin and Merkel")])
    assert answers(PoliticalLexicon(minimum_terms=3), batch) == [None, "political"]
    with pytest.raises(ValueError, match="at least 1"):
        PoliticalLexicon(minimum_terms=0)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["prime minister"], "line 1: no such section"),
        (["[words]", "prime minister"], "line 2: no such section '\\[words\\]'"),
        (["[terms]", "senator", "Senator"], "line 3: 'senator' is listed twice"),
        (["[terms]", "senator,,"], "line 2: an empty entry"),
    ],
)
def test_a_bad_lexicon_names_its_line(lines: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_lexicon(lines)


def test_every_entry_alone_is_found_by_the_pattern() -> None:
    lexicon = load_lexicon("political.txt")
    entries = [" ".join(words) for words, kind in lexicon.entries.items() if kind == -1]
    batch = batch_of([row(caption=f"before, {entry.title()} after") for entry in entries])
    covered = [e for e, a in zip(entries, answers(PoliticalLexicon(), batch), strict=True) if not a]
    assert covered == []


def test_words() -> None:
    assert words_of("Anti-Trump U.S. x_y Ünal 3") == ("anti", "trump", "u", "s", "x_y", "ünal", "3")
    assert words_of("a\u2019b") == ("a", "\0", "b")
    assert words_of("") == ()
