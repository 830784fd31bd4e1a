"""Box metrics against examples worked by hand; searches against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogvlm.evaluation.boxes import (
    constant_box,
    first_box,
    iou,
    is_right,
    random_boxes,
    recalled,
    without_boxes,
)
from shards import boxtext

SIDE = st.integers(0, 998)


@st.composite
def boxes(draw):
    x0, y0 = draw(SIDE), draw(SIDE)
    return (x0 / 1000, y0 / 1000, draw(st.integers(x0 + 1, 999)) / 1000,
            draw(st.integers(y0 + 1, 999)) / 1000)  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "box", "fault"),
    [
        ("[[100,200,300,400]]", (0.1, 0.2, 0.3, 0.4), ""),
        ("It is at [[ 100, 200, 300, 400 ; 000,000,999,999 ]].", (0.1, 0.2, 0.3, 0.4), ""),
        ("on the left", None, "missing"),
        ("", None, "missing"),
        ("[[100,200,300]]", None, "malformed"),
        ("[[300,200,100,400]]", None, "malformed"),
        ("[[100,200,300,400", None, "malformed"),
        ("[[bad]] [[100,200,300,400]]", None, "malformed"),  # the first one counts
    ],
)
def test_first_box(answer, box, fault):
    read = first_box(answer)
    assert (read.box, read.fault) == (box, fault)


def test_iou_by_hand() -> None:
    # Two squares of 4 that share 1 of 7; one half of the other; touching; nothing at all.
    assert iou([[0, 0, 2, 2]], [[1, 1, 3, 3]])[0, 0] == pytest.approx(1 / 7)
    assert iou([[0, 0, 1, 1]], [[0, 0, 1, 0.5], [1, 0, 2, 1]])[0].tolist() == [0.5, 0]
    assert iou([[0, 0, 0, 0]], [[0, 0, 0, 0]])[0, 0] == 0


def test_half_is_right_and_any_gold_box_will_do() -> None:
    assert is_right((0, 0, 1, 1), [(0, 0, 1, 0.5)])
    assert not is_right((0, 0, 1, 1), [(0, 0, 1, 0.499)])
    assert is_right((0, 0, 0.1, 0.1), [(0.5, 0.5, 1, 1), (0, 0, 0.1, 0.1)])


@given(boxes(), boxes())
def test_iou_is_bounded_symmetric_and_one_for_itself(one, other):
    both = iou([one], [other])[0, 0]
    assert 0 <= both <= 1
    assert both == iou([other], [one])[0, 0]
    assert iou([one], [one])[0, 0] == pytest.approx(1)
    assert is_right(first_box(boxtext.encode([one])).box, [one])


def test_recall_of_phrases() -> None:
    left, right = (0.0, 0.0, 0.4, 1.0), (0.6, 0.0, 0.999, 1.0)
    phrases = [("A man", [left]), ("a dog", [right])]
    good = f"A man {boxtext.encode([left])} and a dog {boxtext.encode([right])}."
    found = recalled(good, phrases)
    assert (found.named, found.anywhere, found.malformed) == ((True, True), (True, True), 0)
    swapped = f"a dog {boxtext.encode([left])} and a man {boxtext.encode([right])}."
    found = recalled(swapped, phrases)
    assert (found.named, found.anywhere) == ((False, False), (True, True))
    found = recalled("A man [[1]] and a woman", phrases)
    assert (found.named, found.anywhere, found.malformed) == ((False,) * 2, (False,) * 2, 1)
    assert not recalled(f"a bulldog {boxtext.encode([right])}", [("dog", [right])]).named[0]


def test_without_boxes() -> None:
    assert without_boxes("A man [[000,000,100,100]] and a dog [[1]].") == "A man and a dog."
    assert without_boxes("nothing") == "nothing"


@settings(max_examples=30)
@given(st.lists(st.lists(boxes(), min_size=1, max_size=2), min_size=1, max_size=8))
def test_the_constant_box_is_at_least_as_good_as_every_gold_box(gold):
    box, share = constant_box(gold)
    assert share == np.mean([is_right(box, each) for each in gold])
    for each in gold:
        for other in each:
            assert share >= np.mean([is_right(other, phrase) for phrase in gold]) - 1e-9
    assert 0 <= random_boxes(gold) <= 1


def test_the_search_leaves_the_gold_boxes() -> None:
    # Neither gold box is right for the other (1/3); one between them is right for both.
    gold = [[(0.0, 0.0, 0.5, 1.0)], [(0.25, 0.0, 0.75, 1.0)]]
    assert not is_right(gold[0][0], gold[1])
    assert constant_box(gold)[1] == 1


def test_a_random_box_as_large_as_the_image_is_right_for_it() -> None:
    assert random_boxes([[(0.0, 0.0, 1.0, 1.0)]] * 3) == 1
    assert random_boxes([[(0.0, 0.0, 0.1, 0.1)]] * 50) < 0.1


def test_no_boxes() -> None:
    for search in (constant_box, random_boxes):
        with pytest.raises(ValueError, match="no box"):
            search([])
