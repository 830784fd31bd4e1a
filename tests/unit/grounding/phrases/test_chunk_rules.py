"""The two rules of our own: Universal Dependencies labels, and Chinese tags."""

from __future__ import annotations

import pytest
from helpers.grounding.hand_parses import english, extractor, parsed, tagged

from grounding.phrases.chunks import rule_for

spacy = pytest.importorskip("spacy")

UD = ("nsubj", "obj", "obl", "case", "nmod", "nmod:poss", "det", "amod", "flat", "conj")


def chunks(caption, tokens, labels=UD):
    nlp = english(labels)
    found = extractor(nlp, [parsed(nlp, caption, tokens)])
    assert found.name.endswith("/ud")
    return [
        (caption[p.start : p.end], caption[p.expr_start or 0 : p.expr_end or 0], p.drop_reason)
        for p in found([caption])[0]
    ]


@pytest.mark.parametrize(
    ("language", "labels", "rule"),
    [
        ("en", {"nsubj", "dobj", "pobj", "prep"}, "noun_chunks"),
        ("en", {"nsubj", "obj", "case", "nmod"}, "ud"),
        ("en", set(), "noun_chunks"),
        ("fr", {"nsubj", "obj", "case", "nmod"}, "noun_chunks"),
        ("zh", {"nsubj", "dobj"}, "zh_tags"),
    ],
)
def test_the_labels_of_a_model_choose_the_rule(language, labels, rule):
    assert rule_for(language, labels) == rule


def test_ud_prepositions_stay_outside_and_expressions_go_on():
    found = chunks("two big dogs in the field", [
        ("two", "NUM", "nummod", 2), ("big", "ADJ", "amod", 2), ("dogs", "NOUN", "ROOT", 2),
        ("in", "ADP", "case", 5), ("the", "DET", "det", 5), ("field", "NOUN", "nmod", 2),
    ])  # fmt: skip
    assert found == [
        ("two big dogs", "two big dogs in the field", None),
        ("the field", "the field", None),
    ]


def test_ud_possessors_and_names_are_one_chunk():
    found = chunks("the man's hat from New York", [
        ("the", "DET", "det", 1), ("man", "NOUN", "nmod:poss", 3), ("'s", "PART", "case", 1),
        ("hat", "NOUN", "ROOT", 3), ("from", "ADP", "case", 5), ("New", "PROPN", "nmod", 3),
        ("York", "PROPN", "flat", 5),
    ])  # fmt: skip
    assert [text for text, *_ in found] == ["the man's hat", "New York"]


def test_ud_conjuncts_and_pronouns():
    found = chunks("it and a cat", [
        ("it", "PRON", "ROOT", 0), ("and", "CCONJ", "cc", 3), ("a", "DET", "det", 3),
        ("cat", "NOUN", "conj", 0),
    ])  # fmt: skip
    assert found == [("it", "", "pronoun"), ("a cat", "a cat", None)]


def test_ud_a_gap_ends_the_modifiers():
    found = chunks("the , red car", [
        ("the", "DET", "det", 3), (",", "PUNCT", "punct", 3), ("red", "ADJ", "amod", 3),
        ("car", "NOUN", "ROOT", 3),
    ])  # fmt: skip
    assert [text for text, *_ in found] == ["red car"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("一/CD 只/M 红色/JJ 的/DEG 狗/NN", ["一只红色的狗"]),
        ("桌子/NN 上/LC 的/DEG 猫/NN", ["桌子", "猫"]),
        ("男人/NN 的/DEG 帽子/NN", ["男人的帽子"]),
        ("很/AD 大/VA 的/DEC 房子/NN", ["很大的房子"]),
        ("穿/VV 衣服/NN 的/DEC 女人/NN", ["衣服", "女人"]),
        ("这/DT 两/CD 个/M 男人/NN 在/P 北京/NR 大学/NN", ["这两个男人", "北京大学"]),
        ("两/CD 只/M 猫/NN 和/CC 一/CD 只/M 狗/NN 。/PU", ["两只猫", "一只狗"]),
        ("今天/NT 下雨/VV", []),
    ],
)
def test_chinese_chunks(words, expected):
    nlp = spacy.blank("zh")
    doc = tagged(nlp, words)
    found = extractor(nlp, [doc], language="zh")
    phrases = found([doc.text])[0]
    assert [doc.text[p.start : p.end] for p in phrases] == expected
    assert not found.has_expressions


def test_chinese_heads_and_pronouns():
    nlp = spacy.blank("zh")
    doc = tagged(nlp, "他/PN 的/DEG 狗/NN 看/VV 她/PN")
    doc[4].pos_ = "PRON"
    dog, she = extractor(nlp, [doc], language="zh")([doc.text])[0]
    assert doc.text[dog.head_start : dog.head_end] == dog.head_lemma == "狗"
    assert (dog.start, dog.end, she.drop_reason) == (0, 3, "pronoun")
