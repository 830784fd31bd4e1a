"""Whatever the caption: spans index the very string, hold text and begin and end with some."""

from __future__ import annotations

import pytest
from helpers.grounding.hand_parses import demo_pipeline
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grounding.phrases.extractor import DropReason, PhraseRules, contained, load_extractor

WORDS = [
    "a", "the", "man", "dog's", "it", "“red”", "(hat)", "U.S.", "50%", "--", "...", "C++", "#tag",
    "👩\u200d👧", "🇩🇪", "e\u0301te\u0301", "l'été", "一只狗", "कुत्ता", "سگ\u200cها", "<PERSON>",
    "@me", "\t", "\n", "\xa0", "\u200b", "\ufeff", "\x00", "\x85", "and", "sitting", "12",
    ",", ".", "!", "&", "+", "'", "’",
]  # fmt: skip
captions = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join),
    st.lists(st.sampled_from(WORDS), max_size=14).map("".join),
)


def check(caption, phrases):
    assert phrases == sorted(phrases, key=lambda p: (p.start, p.end))
    for p in phrases:
        text = caption[p.start : p.end]
        assert 0 <= p.start < p.end <= len(caption)
        assert text == text.strip()
        assert p.start <= p.head_start < p.head_end <= p.end
        assert p.drop_reason is None or p.drop_reason in list(DropReason)
        assert p.drop_reason is not None or any(map(str.isalpha, text))
        if p.expr_end is not None:
            assert p.expr_start == p.start and p.end <= p.expr_end <= len(caption)
            assert not caption[p.expr_end - 1].isspace()


@pytest.mark.parametrize("model", ["lexicon", pytest.param("demo", marks=pytest.mark.slow)])
@given(batch=st.lists(captions, max_size=4))
@example(batch=["", " ", "\t", "\n a dog \n", "…", "\u0301", "x" * 3000])
@settings(max_examples=150)
def test_spans_index_the_caption(model, batch):
    extract = load_extractor(model if model == "lexicon" else demo_pipeline(), PhraseRules())
    found = extract(batch)
    assert len(found) == len(batch)
    for caption, phrases in zip(batch, found, strict=True):
        check(caption, phrases)


@given(spans=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), max_size=8))
def test_contained_is_what_it_says(spans):
    spans = [(start, start + length) for start, length in spans]
    expected = [
        any(
            s <= start and end <= e and ((s, e) != (start, end) or j < i)
            for j, (s, e) in enumerate(spans)
            if j != i
        )
        for i, (start, end) in enumerate(spans)
    ]
    assert contained(spans) == expected
