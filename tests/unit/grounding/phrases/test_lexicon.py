"""The chunker without a model, on captions of our own."""

from __future__ import annotations

import pytest

from grounding.phrases.extractor import PhraseRules, load_extractor


def phrases(caption, **rules):
    return load_extractor("lexicon", PhraseRules(**rules))([caption])[0]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dog in a field of flowers", ["a dog", "a field", "flowers"]),
        ("A man wearing a red hat holds an umbrella.", ["A man", "a red hat", "an umbrella"]),
        ("two parked cars near the old church", ["two parked cars", "the old church"]),
        ("black and white photo of a bridge", ["black and white photo", "a bridge"]),
        ("The sky is blue and the grass is green", ["The sky", "the grass"]),
        ("woman juggling oranges beside a fruit stand", ["woman", "oranges", "a fruit stand"]),
        ("people stand around a very long table", ["people", "a very long table"]),
        ("her two cats sleeping on the couch's arm", ["her two cats", "the couch's arm"]),
        ("a running horse, a stop sign", ["a running horse", "a stop sign"]),
        ("all of the children ride on a merry-go-round", ["the children", "a merry-go-round"]),
        ("steamed rice with grilled fish", ["steamed rice", "grilled fish"]),
        ("a red square next to a circle, scene 12", ["a red square", "a circle", "scene"]),
        ("sitting together outside", []),
        ("Eiffel Tower at night 😀🌃", ["Eiffel Tower", "night"]),
    ],
)
def test_chunks_of_captions(caption, expected):
    found = [caption[p.start : p.end] for p in phrases(caption) if p.drop_reason is None]
    assert found == expected


def test_pronouns_are_there_with_their_reason():
    found = [(p.head_lemma, p.root_pos, p.drop_reason) for p in phrases("it is a photo of them")]
    assert found == [
        ("it", "PRON", "pronoun"),
        ("photo", "NOUN", None),
        ("them", "PRON", "pronoun"),
    ]


def test_heads_are_last_words_in_the_singular():
    (boats,) = phrases("three small fishing boats")
    assert (boats.head_lemma, boats.head_start, boats.head_end) == ("boat", 20, 25)


def test_names_are_told_by_their_capital():
    assert [p.root_pos for p in phrases("Dogs in Paris")] == ["NOUN", "PROPN"]


def test_it_parses_nothing():
    extractor = load_extractor("lexicon", PhraseRules())
    assert not extractor.has_expressions
    assert extractor.name == "lexicon-1"
    assert {p.expr_end for p in phrases("a dog in a field")} == {None}


def test_a_text_of_nouns_alone_takes_no_time():
    caption = "stone " * 16_000
    assert sum(p.end - p.start + 1 for p in phrases(caption)) == len(caption)


def test_other_languages_are_refused():
    with pytest.raises(ValueError, match="lexicon reads 'en', captions are 'de'"):
        load_extractor("lexicon", PhraseRules(language="de"))
