"""Text metrics against examples worked by hand from the published rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogvlm.evaluation.answers import (
    YesNo,
    anls,
    exact,
    letter_of,
    levenshtein,
    normalised,
    vqa_accuracy,
    yes_no,
    yes_or_no,
)

TEXTS = st.text(alphabet="ab -,.?'1", max_size=12)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The Cat", "cat"),
        ("a pair of an apple", "pair of apple"),
        ("two", "2"),
        ("None", "0"),
        ("dont", "don't"),
        ("couldntve", "couldn't've"),
        ("Im", "i'm"),
        ("1,000", "1000"),
        ("yes.", "yes"),
        ("3.5", "3.5"),
        ("red/blue", "red blue"),
        ("red / blue", "red blue"),
        ("what?", "what"),
        ("two  \n dogs", "2 dogs"),
        ("well", "well"),  # not we'll
    ],
)
def test_normalisation(answer: str, expected: str) -> None:
    assert normalised(answer) == expected


@pytest.mark.parametrize(
    ("matches", "expected"),
    # Leave one out, ten people: m of them are left out with m - 1 matches, 10 - m with m.
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)],
)
def test_vqa_accuracy_with_ten_answers(matches: int, expected: float) -> None:
    people = ["Two."] * matches + [f"other {number}" for number in range(10 - matches)]
    assert vqa_accuracy("the 2", people) == pytest.approx(expected)


def test_vqa_accuracy_with_fewer_answers() -> None:
    assert vqa_accuracy("a cat", ["cat"]) == 1
    assert vqa_accuracy("a cat", ["dog", "bird", "Cat"]) == 1
    assert vqa_accuracy("a cat", ["dog"]) == 0
    assert vqa_accuracy("cat", ["cat", "dog", "dog", "dog"]) == pytest.approx((0 + 3 / 3) / 4)


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=10), st.randoms())
def test_scores_are_bounded_and_the_order_of_references_is_nothing(answer, references, random):
    turned = random.sample(references, len(references))
    for metric in (vqa_accuracy, exact, anls):
        score = metric(answer, references)
        assert 0 <= score <= 1
        assert metric(answer, turned) == pytest.approx(score)
        assert metric(answer, [answer] * len(references)) == 1


def test_without_a_reference() -> None:
    with pytest.raises(ValueError, match="no reference"):
        vqa_accuracy("x", [])


def test_exact() -> None:
    assert exact(" Red  car", ["red car"]) == 1
    assert exact("red cars", ["red car"]) == 0


def test_levenshtein() -> None:
    assert levenshtein("kitten", "sitting") == 3
    assert levenshtein("", "abc") == 3


def test_anls() -> None:
    # "kitten" to "sitting": 3 of 7 letters.
    assert anls("kitten", ["sitting"]) == pytest.approx(1 - 3 / 7)
    assert anls("kitten", ["sitting", "Kittens"]) == pytest.approx(1 - 1 / 7)
    assert anls("ab", ["ac"]) == 0  # half of it is wrong: the threshold
    assert anls("ab", ["xyz"]) == 0


@given(TEXTS, TEXTS)
def test_levenshtein_is_a_distance(one: str, other: str) -> None:
    far = levenshtein(one, other)
    assert far == levenshtein(other, one)
    assert abs(len(one) - len(other)) <= far <= max(len(one), len(other))
    assert (far == 0) == (one == other)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("B", 1),
        ("(b)", 1),
        ("b.", 1),
        ("C. a bird", 2),
        ("A dog", 0),
        ("A bird", 2),
        ("A man on a bike", None),
        ("I", None),
        ("B, because it is a cat", 1),
        ("B it is", 1),
        ("a bird", 2),
        ("the cat", 1),
        ("D", None),
        ("Bird", 2),
        ("I do not know", None),
        ("", None),
    ],
)
def test_choices(answer: str, expected: int | None) -> None:
    assert letter_of(answer, ["a dog", "cat", "bird"]) == expected


def test_yes_and_no() -> None:
    answers = ["Yes, it is", "no", "NO.", "maybe", "yes", "yesterday"]
    said = [yes_or_no(each) for each in answers]
    assert said == [True, False, False, None, True, None]
    counts = yes_no(zip(said, [True, True, False, True, False, False], strict=True))
    assert counts == YesNo(1, 1, 1, 1, 1, 1)
    assert counts.accuracy == pytest.approx(2 / 6)
    assert counts.precision == pytest.approx(1 / 2)
    assert counts.recall == pytest.approx(1 / 3)
    assert counts.f1 == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert counts.yes_share == pytest.approx(2 / 6)
    nothing = yes_no([])
    assert (nothing.accuracy, nothing.f1) == (None, None)
