"""CIDEr-D against numbers worked by hand, and what must hold for any captions."""

from __future__ import annotations

import math
import random as randoms

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvlm.evaluation.cider import cider_d, words_of

WORD = st.sampled_from(["a", "red", "blue", "dog", "cat", "runs", "on", "grass"])
CAPTION = st.lists(WORD, min_size=4, max_size=8).map(" ".join)
IMAGES = st.lists(st.lists(CAPTION, min_size=1, max_size=3), min_size=2, max_size=5)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("The man's dog isn't here.", "the man 's dog is n't here"),
        ("They can't, I cannot!", "they ca n't i can not"),
        ('A "black-and-white" photo (old)', "a black-and-white photo old"),
        ("1,000 cars at 10:30 -- 3.5 % in the U.S.", "1,000 cars at 10:30 3.5 % in the u.s."),
        ("he’s here...", "he 's here"),
        ("", ""),
    ],
)
def test_words(caption: str, expected: str) -> None:
    assert " ".join(words_of(caption)) == expected


def test_two_words_of_three_by_hand() -> None:
    # Two images: every run of "a b c" is in one of them, so all weigh log 2.
    # Answer "a b d": 1-runs a, b of three each: cosine 2/3; 2-runs "a b" of two: 1/2; 3-runs 0;
    # there is no 4-run: 0. The lengths are equal.
    scores = cider_d(["a1 b1 d1", "x1 y1 z1"], [["a1 b1 c1"], ["x1 y1 z1"]])
    assert scores[0] == pytest.approx(1000 * (2 / 3 + 1 / 2) / 4)
    assert scores[1] == pytest.approx(1000 * 3 / 4)  # no 4-run in three words


def test_a_common_word_weighs_nothing() -> None:
    # "a1" is in both images: log(2 / 2) = 0. "dog1" is in one.
    scores = cider_d(["a1", "a1 cat1"], [["a1 dog1"], ["a1 cat1"]])
    assert scores[0] == 0
    # 1-runs: cat1 alone counts, cosine 1; 2-runs: 1; no longer runs.
    assert scores[1] == pytest.approx(1000 * 2 / 4)


def test_length_and_repetition_by_hand() -> None:
    # "dog1 dog1 dog1" against "dog1": the product takes one of the three: 1 * 1 / (3 * 1);
    # two words apart: exp(-4 / 72).
    scores = cider_d(["dog1 dog1 dog1", "x1"], [["dog1"], ["x1"]])
    assert scores[0] == pytest.approx(1000 / 4 * (1 / 3) * math.exp(-4 / 72))


def test_several_references_are_averaged() -> None:
    scores = cider_d(["dog1", "x1"], [["dog1", "cat1"], ["x1"]])
    assert scores[0] == pytest.approx(1000 / 4 / 2)


def test_words_of_different_rarity_by_hand() -> None:
    # Three images; "red1" in two of them: log(3/2), "dog1" and "car1" in one: log 3.
    # Answer "red1 cat1" ("cat1" in no reference counts as rare as in one) to "red1 dog1".
    common, rare = math.log(3 / 2), math.log(3)
    cosine = common**2 / (common**2 + rare**2)
    scores = cider_d(["red1 cat1", "x", "y"], [["red1 dog1"], ["red1 car1"], ["blue1"]])
    assert scores[0] == pytest.approx(1000 / 4 * cosine)


def test_one_image_gives_nothing() -> None:
    assert cider_d(["a dog"], [["a dog"]]) == [0]


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="2 captions for the references of 1"):
        cider_d(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match="no reference"):
        cider_d(["a"], [[]])


@settings(max_examples=60)
@given(IMAGES, st.data())
def test_scores_are_bounded_and_belong_to_their_image(images, data):
    captions = [data.draw(CAPTION) for _ in images]
    scores = cider_d(captions, images)
    assert all(0 <= score <= 1000 + 1e-6 for score in scores)
    order = randoms.Random(len(images)).sample(range(len(images)), len(images))
    turned = cider_d([captions[at] for at in order], [images[at][::-1] for at in order])
    assert turned == pytest.approx([scores[at] for at in order])


@settings(max_examples=60)
@given(IMAGES, st.data())
def test_no_caption_beats_the_only_reference(images, data):
    only = [texts[:1] for texts in images]
    captions = [data.draw(CAPTION) for _ in images]
    for ours, perfect in zip(
        cider_d(captions, only), cider_d([texts[0] for texts in only], only), strict=True
    ):
        assert ours <= perfect + 1e-6


def test_a_perfect_caption_of_rare_words_scores_the_maximum() -> None:
    captions = ["one red dog runs", "two blue cats sleep"]
    assert cider_d(captions, [[each] for each in captions]) == pytest.approx([1000, 1000])
