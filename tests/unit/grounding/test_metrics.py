"""Every metric on cases that were computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from grounding import metrics
from grounding.metrics import Agreement, Localised, Ratio

LEFT = (0.0, 0.0, 0.4, 1.0)
RIGHT = (0.6, 0.0, 1.0, 1.0)
WHOLE = (0.0, 0.0, 1.0, 1.0)
TOP = (0.0, 0.0, 1.0, 0.2)


def phrase(gold, boxes, scores=None, categories=()) -> Localised:
    scores = [1 - 0.1 * place for place in range(len(boxes))] if scores is None else scores
    return metrics.localised(gold, boxes, scores, categories)


def recall(phrases, protocol="any", category="all"):
    return [ratio.value for ratio in metrics.recall_at(phrases, protocol)[category].values()]


def test_any_takes_each_gold_box_and_merged_the_box_around_them():
    # Either half overlaps its own gold box wholly, the box around both by 0.4; the whole image
    # overlaps either gold box by 0.4, the box around both wholly.
    halves, whole = phrase([LEFT, RIGHT], [RIGHT]), phrase([LEFT, RIGHT], [WHOLE])
    assert metrics.hits(halves, "any").tolist() == [True]
    assert metrics.hits(halves, "merged").tolist() == [False]
    assert metrics.hits(whole, "any").tolist() == [False]
    assert metrics.hits(whole, "merged").tolist() == [True]


def test_recall_at_1_5_10():
    second = phrase([LEFT], [TOP, LEFT])  # found at 5
    seventh = phrase([LEFT], [TOP] * 6 + [LEFT])  # found at 10
    first = phrase([LEFT], [LEFT])
    never = phrase([LEFT], [])  # the box of zeros alone
    assert recall([first, second, seventh, never]) == [0.25, 0.5, 0.75]


def test_categories_count_a_phrase_in_each_of_its_own():
    found = [
        phrase([LEFT], [LEFT], categories=("people", "bodyparts")),
        phrase([LEFT], [TOP], categories=("people",)),
    ]
    assert recall(found, category="people") == [0.5, 0.5, 0.5]
    assert recall(found, category="bodyparts") == [1, 1, 1]
    assert recall(found) == [0.5, 0.5, 0.5]


def test_a_category_named_twice_counts_once():
    found = metrics.recall_at([phrase([LEFT], [LEFT], categories=("a", "a"))], "any")
    assert found["a"][1] == Ratio(1, 1)


def test_the_highest_score_is_first_and_ties_keep_their_order():
    assert recall([phrase([LEFT], [TOP, LEFT], [0.2, 0.9])])[0] == 1
    assert recall([phrase([LEFT], [TOP, LEFT], [0.5, 0.5])])[0] == 0
    assert recall([phrase([LEFT], [LEFT, TOP], [0.5, 0.5])])[0] == 1


def test_half_an_overlap_is_enough_even_after_division_by_the_size():
    gold = np.array([10, 10, 40, 40]) / 333  # pixels of an image 333 wide
    half = np.array([10, 10, 25, 40]) / 333
    less = np.array([10, 10, 24.9, 40]) / 333
    assert metrics.hits(phrase([gold], [half, less])).tolist() == [True, False]


def test_accuracy_is_of_the_first_box_alone():
    found = [phrase([LEFT], [LEFT]), phrase([LEFT], [TOP, LEFT]), phrase([LEFT], [])]
    assert metrics.accuracy(found) == Ratio(1, 3)


def test_precision_and_coverage_by_threshold():
    found = [
        phrase([LEFT], [LEFT, TOP], [0.9, 0.6]),
        phrase([RIGHT], [TOP], [0.7]),
        phrase([TOP], [TOP], [0.3]),
    ]
    table = metrics.at_thresholds(found, [0, 0.3, 0.65, 0.95])
    assert [(row.precision, row.coverage) for row in table] == [
        (Ratio(2, 4), Ratio(3, 3)),
        (Ratio(1, 3), Ratio(2, 3)),  # above 0.3, so that 0.3 itself is out
        (Ratio(1, 2), Ratio(2, 3)),
        (Ratio(0, 0), Ratio(0, 3)),
    ]
    assert table[-1].precision.value is None and table[-1].coverage.value == 0


def test_nothing_to_divide_by_is_none_and_never_nan():
    assert recall([]) == [None, None, None]
    assert metrics.accuracy([]).value is None
    assert metrics.at_thresholds([], [0.5])[0].coverage.value is None
    empty = metrics.agreement([], [])
    assert (empty.precision, empty.recall, empty.f1) == (None, None, None)
    assert metrics.agreement([], [(0, 1)]).f1 == 0
    assert metrics.agreement([(0, 1)], []).f1 == 0


def test_agreement_of_spans():
    found = metrics.agreement([(0, 5), (6, 9), (6, 9)], [(0, 5), (7, 9), (12, 14)])
    assert found == Agreement(shared=1, predicted=2, gold=3)
    assert (found.precision, found.recall) == (0.5, pytest.approx(1 / 3))
    assert found.f1 == pytest.approx(2 / 5)


def test_boxes_agree_once_each():
    assert metrics.box_agreement([LEFT, LEFT], [LEFT]) == Agreement(1, 2, 1)
    assert metrics.box_agreement([RIGHT, LEFT], [LEFT, RIGHT, TOP]) == Agreement(2, 2, 3)
    assert metrics.box_agreement([], [LEFT]) == Agreement(0, 0, 1)
