"""Phrases that do not stand for their boxes by themselves: a caption, and the reason of each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shards.ambiguity import AmbiguityReason, ambiguous, phrase_at
from shards.boxtext import Box
from shards.grounded import Phrase

LEFT, RIGHT = (0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 1.0, 1.0)
WHOLE = (0.0, 0.0, 1.0, 0.96)


def read(text: str) -> tuple[str, list[Phrase]]:
    """Return caption and phrases of `[A man] and [a woman]`."""
    caption, phrases = "", []
    for part in text.replace("]", "[").split("["):
        start, caption = len(caption), caption + part
        phrases.append(phrase_at(caption, start, len(caption)))
    return caption, phrases[1::2]


def reasons(text: str, *boxes: list[Box], task: str = "rec") -> list[str | None]:
    caption, phrases = read(text)
    found = [*boxes, *([] for _ in phrases)][: len(phrases)] if boxes else [[LEFT] for _ in phrases]
    return ambiguous(phrases, caption, found, task)


def test_names_are_those_of_the_records():
    names = ["anaphor", "pronoun", "same_head", "same_text", "count", "whole_image"]
    assert [*AmbiguityReason] == names


@pytest.mark.parametrize(
    ("text", "boxes", "expected"),
    [
        ("[A man] and [a woman] walk.", ([LEFT], [RIGHT]), [None, None]),
        ("[A man] runs, [another man] looks.", ([LEFT], [RIGHT]), ["same_head", "anaphor"]),
        ("[A man] runs, [the other one] looks.", ([LEFT], [RIGHT]), [None, "anaphor"]),
        ("[The rest] of them", ([LEFT],), ["anaphor"]),
        ("[One of the men]", ([LEFT],), ["anaphor"]),
        ("[one] and [One man]", ([LEFT], [RIGHT]), ["anaphor", None]),
        ("[Each]: [second row], [THE REST]", ([LEFT], [LEFT], [LEFT]), ["anaphor"] * 3),
        ("[the others], [otherwise]", ([LEFT], [RIGHT]), ["anaphor", None]),
        ("[It] is [somebody] with [this]", ([LEFT], [LEFT], [LEFT]), ["pronoun"] * 3),
        # Two of the same boxes are one thing, or one group.
        ("[a man], [the tall man]", ([LEFT], [LEFT]), [None, None]),
        ("[men], [tall men]", ([LEFT, RIGHT], [RIGHT, LEFT]), [None, None]),
        ("[a man], [the tall man]", ([LEFT], [RIGHT]), ["same_head", "same_head"]),
        # A twin that lost its box is a twin.
        ("[a man], [the tall man]", ([LEFT],), ["same_head", "same_head"]),
        ("[a man], [the man]", ([], []), [None, None]),
        ("[A  Dog!] and [a dog]", ([LEFT], [LEFT]), ["same_text", "same_text"]),
        ("[a dog], [two dogs]", ([LEFT, RIGHT], [LEFT, RIGHT]), ["count", None]),
        ("[that dog], [the cats]", ([LEFT, RIGHT], [LEFT, RIGHT]), ["count", None]),
        ("[a field]", ([WHOLE],), ["whole_image"]),
        ("[fields]", ([WHOLE, LEFT],), [None]),
        ("[🐈‍⬛] and [左]", ([LEFT], [RIGHT]), [None, None]),
    ],
)
def test_the_first_reason_that_holds(text, boxes, expected):
    assert reasons(text, *boxes) == expected


def test_asking_for_words_does_not_care_how_large_a_box_is():
    assert reasons("[a field]", [WHOLE], task="reg") == [None]
    assert reasons("[a field]", [(0.0, 0.0, 1.0, 0.95)]) == [None]


def test_a_lemma_and_a_part_of_speech_count_where_they_are_known():
    caption, phrases = read("[men] and [a Man]")
    assert ambiguous(phrases, caption, [[LEFT], [RIGHT]], "rec") == [None, None]
    phrases = [replace(each, head_lemma="man") for each in phrases]
    assert ambiguous(phrases, caption, [[LEFT], [RIGHT]], "rec") == ["same_head"] * 2
    phrases = [replace(each, root_pos="PRON") for each in phrases]
    assert ambiguous(phrases, caption, [[LEFT], [RIGHT]], "rec") == ["pronoun"] * 2


@pytest.mark.parametrize(
    ("text", "head", "part"),
    [
        ("[a tall Man]", "man", "NOUN"),
        ("[the T-shirt!]", "t-shirt", "NOUN"),
        ("[the <image>]", "image", "NOUN"),
        ("[...]", "...", "NOUN"),
        ("[They]", "they", "PRON"),
    ],
)
def test_a_bare_span_has_its_last_word_as_head(text, head, part):
    caption, (phrase,) = read(text)
    assert (phrase.head_lemma, phrase.root_pos) == (head, part)
    assert caption[phrase.head_start : phrase.head_end].lower() == head
