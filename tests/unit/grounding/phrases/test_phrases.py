"""Chunks, expressions and drop reasons on documents parsed by hand."""

from __future__ import annotations

import json

import pytest
from helpers.grounding.hand_parses import english, extractor, parsed
from helpers.paths import GOLDEN

from grounding.phrases.chunks import Chunk
from grounding.phrases.extractor import (
    DropReason,
    PhraseExtractor,
    PhraseRules,
    contained,
    load_extractor,
)
from grounding.phrases.lemmas import singular

CASES = json.loads((GOLDEN / "grounding" / "expression_cases.json").read_text(encoding="utf-8"))[
    "cases"
]


class Fixed:
    """A chunker that finds what it was told to."""

    name = fingerprint = "fixed"
    has_expressions = False
    max_chars = 40

    def __init__(self, *chunks):
        self._chunks = list(chunks)
        self.asked = []

    def chunks(self, captions):
        self.asked += captions
        return [self._chunks for _ in captions]


def only(caption, start, end, pos="NOUN", **rules):
    """Return the phrase of a caption with one chunk that is its own head."""
    chunker = Fixed(Chunk(start, end, start, end, caption[start:end].lower(), pos))
    (phrase,) = PhraseExtractor(chunker, PhraseRules(**rules))([caption])[0]
    return phrase


@pytest.mark.parametrize("case", CASES, ids=[case["caption"] for case in CASES])
def test_the_golden_captions(case):
    caption = case["caption"]
    tokens = [(t["text"], t["pos"], t["dep"], t["head"]) for t in case["tokens"]]
    nlp = english()
    doc = parsed(nlp, caption, tokens)

    phrases = extractor(nlp, [doc], abstract=True)([caption])[0]

    spans = [[p.start, p.end, caption[p.start : p.end]] for p in phrases]
    assert spans == case["library_noun_chunks"]
    kept = [phrase for phrase in phrases if phrase.is_kept]
    expressions = [(p.expr_start, p.expr_end) for p in kept]
    found = [
        {
            "chunk": [p.start, p.end, caption[p.start : p.end]],
            "expression": [*expression, caption[slice(*expression)]],
            "contained": inside,
        }
        for p, expression, inside in zip(kept, expressions, contained(expressions), strict=True)
    ]
    expected = [{k: v for k, v in each.items() if k != "conjunct"} for each in case["kept"]]
    assert found == expected


def test_heads_of_golden_captions():
    case = CASES[5]
    tokens = [(t["text"], t["pos"], t["dep"], t["head"]) for t in case["tokens"]]
    nlp = english()
    phrases = extractor(nlp, [parsed(nlp, case["caption"], tokens)])([case["caption"]])[0]

    heads = [case["caption"][p.head_start : p.head_end] for p in phrases]
    assert heads == ["woman", "dress", "hat", "umbrella"]
    assert {p.root_pos for p in phrases} == {"NOUN"}


def test_a_gap_in_the_subtree_ends_an_expression():
    # "slept" depends on the root, "on a mat" on "dog", from beyond it.
    caption = "a dog slept on mats"
    nlp = english()
    doc = parsed(nlp, caption, [
        ("a", "DET", "det", 1), ("dog", "NOUN", "nsubj", 2), ("slept", "VERB", "ROOT", 2),
        ("on", "ADP", "prep", 1), ("mats", "NOUN", "pobj", 3),
    ])  # fmt: skip
    dog, _ = extractor(nlp, [doc])([caption])[0]
    assert (dog.expr_start, dog.expr_end) == (0, 5)


def test_no_expressions_where_they_are_not_wanted():
    case = CASES[0]
    tokens = [(t["text"], t["pos"], t["dep"], t["head"]) for t in case["tokens"]]
    nlp = english()
    found = extractor(nlp, [parsed(nlp, case["caption"], tokens)], expressions=False)
    assert not found.has_expressions
    assert {p.expr_end for p in found([case["caption"]])[0]} == {None}


def test_dropped_phrases_have_no_expression():
    case = CASES[6]
    tokens = [(t["text"], t["pos"], t["dep"], t["head"]) for t in case["tokens"]]
    nlp = english()
    it = extractor(nlp, [parsed(nlp, case["caption"], tokens)])([case["caption"]])[0][0]
    assert (it.drop_reason, it.expr_start, it.expr_end) == (DropReason.PRONOUN, None, None)


def test_punctuation_tokens_are_cut_and_abbreviations_stay():
    caption = '"a flag (U.S.) "'
    nlp = english()
    doc = parsed(nlp, caption, [
        ('"', "PUNCT", "punct", 2), ("a", "DET", "det", 2), ("flag", "NOUN", "ROOT", 2),
        ("(", "PUNCT", "punct", 4), ("U.S.", "PROPN", "appos", 2), (")", "PUNCT", "punct", 4),
        ('"', "PUNCT", "punct", 2),
    ])  # fmt: skip
    phrases = extractor(nlp, [doc])([caption])[0]
    assert [caption[p.start : p.end] for p in phrases] == ["a flag", "U.S."]


@pytest.mark.parametrize(
    ("caption", "pos", "rules", "reason"),
    [
        ("a dog", "NOUN", {}, None),
        ("they", "PRON", {}, "pronoun"),
        ("Love", "NOUN", {}, None),
        ("Love", "NOUN", {"abstract": True}, "abstract"),
        ("time", "NOUN", {"abstract": True}, "abstract"),
        ("image", "NOUN", {"abstract": True}, None),
        ("2024", "NOUN", {}, "no_letter"),
        ("😀", "NOUN", {}, "no_letter"),
        ("...", "PRON", {}, "empty"),
        ("“”", "NOUN", {}, "empty"),
        ("साड़ी", "NOUN", {}, None),
    ],
)
def test_drop_reasons(caption, pos, rules, reason):
    phrase = only(caption, 0, len(caption), pos, **rules)
    assert phrase.drop_reason == reason
    assert (phrase.start, phrase.end) == (0, len(caption))


def test_quotes_and_spaces_are_cut_from_both_ends():
    phrase = only(" “ a dog” ", 0, 10)
    assert (phrase.start, phrase.end, phrase.head_start, phrase.head_end) == (3, 8, 3, 8)


def test_what_is_blank_has_no_phrase():
    chunker = Fixed(Chunk(1, 3, 1, 3, "", "NOUN"))
    found = PhraseExtractor(chunker, PhraseRules())(["a\t\nb", "", " \t"])
    assert found == [[], [], []]
    assert chunker.asked == ["a\t\nb"]


def test_a_caption_beyond_the_limit_is_one_dropped_phrase():
    (phrase,) = PhraseExtractor(Fixed(), PhraseRules())([f" {'x' * 50} "])[0]
    assert (phrase.start, phrase.end, phrase.drop_reason) == (1, 51, "too_long")


def test_equal_captions_are_parsed_once_and_answered_each():
    chunker = Fixed(Chunk(0, 1, 0, 1, "a", "NOUN"))
    first, other, second = PhraseExtractor(chunker, PhraseRules())(["a b", "a c", "a b"])
    assert first == second == other and first is not second
    assert chunker.asked == ["a b", "a c"]


@pytest.mark.parametrize(
    ("spans", "inside"),
    [
        ([], []),
        ([(0, 5), (2, 4)], [False, True]),
        ([(2, 4), (0, 5)], [True, False]),
        ([(0, 5), (3, 8)], [False, False]),
        ([(0, 5), (0, 5)], [False, True]),
        ([(19, 66), (0, 66)], [True, False]),
    ],
)
def test_contained(spans, inside):
    assert contained(spans) == inside


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("dogs", "dog"), ("boxes", "box"), ("women", "woman"), ("firemen", "fireman"),
        ("berries", "berry"), ("glass", "glass"), ("bus", "bus"), ("buses", "bus"),
        ("dishes", "dish"), ("horses", "horse"), ("tennis", "tennis"), ("men", "man"),
    ],
)  # fmt: skip
def test_singular(plural, one):
    assert singular(plural) == one


def test_rules_and_models_change_the_fingerprint():
    prints = {
        load_extractor("lexicon", PhraseRules(abstract=abstract)).fingerprint
        for abstract in (False, True, False)
    }
    assert len(prints) == 2
