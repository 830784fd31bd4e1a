"""Detections in, rows and outcomes out."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.align import BoxOutcome, LabelRules, Labels, align
from grounding.detector import Detection
from shards.grounded import Phrase

LEFT, RIGHT = (0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 0.9, 0.8)
NAN, INF = float("nan"), float("inf")
Found = list[tuple[tuple[float, ...], float]]


def phrase(start: int, end: int, **more: object) -> Phrase:
    fields = {"head_start": start, "head_end": end, "head_lemma": "x", "root_pos": "NOUN"}
    return Phrase(start=start, end=end, **{**fields, **more})


def detection(found: Found) -> Detection:
    boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    return Detection(boxes, np.array([score for _, score in found], np.float32))


def labels(*found: Found, phrases: list[Phrase] | None = None, **rules: object) -> Labels:
    given = phrases or [phrase(10 * number, 10 * number + 5) for number in range(len(found))]
    return align(given, [detection(each) for each in found], LabelRules(**rules))


def outcomes(*found: Found, **rules: object) -> list[list[str]]:
    return labels(*found, **rules).outcomes


@pytest.mark.parametrize(
    ("box", "score", "expected"),
    [
        (LEFT, 0.9, "kept"),
        (LEFT, 0.65, "below_threshold"),
        (LEFT, 0.6500001, "kept"),
        (LEFT, NAN, "not_finite"),
        (LEFT, INF, "not_finite"),
        ((0.1, NAN, 0.3, 0.4), 0.9, "not_finite"),
        ((0.1, 0.2, INF, 0.4), 0.9, "not_finite"),
        ((0.1, -INF, 0.3, 0.4), 0.1, "not_finite"),
        ((0.1, 0.2, 0.1, 0.4), 0.9, "degenerate"),
        ((0.3, 0.2, 0.1, 0.4), 0.9, "degenerate"),
        ((1.3, 0.2, 1.1, 0.4), 0.9, "degenerate"),
        ((1.1, 0.2, 1.3, 0.4), 0.9, "outside"),
        ((1.0, 0.2, 1.3, 0.4), 0.1, "outside"),
        ((0.1, -0.4, 0.3, 0.0), 0.9, "outside"),
        ((-0.1, -0.4, 0.3, 0.2), 0.9, "kept"),
        ((0.0, 0.0, 1.0, 0.95), 0.9, "kept"),
    ],
)
def test_a_box_alone(box, score, expected):
    assert outcomes([(box, score)]) == [[expected]]


@pytest.mark.parametrize(("height", "expected"), [(0.95, "whole_image"), (0.94, "kept")])
def test_boxes_of_the_whole_image_are_dropped_if_asked_for(height, expected):
    found = [((-1.0, 0.0, 2.0, height), 0.9)]
    assert outcomes(found, whole_image=0.95) == [[expected]]


def test_a_dropped_box_suppresses_nothing():
    whole = ((0.0, 0.0, 1.0, 1.0), 0.9)
    large = ((0.0, 0.0, 1.0, 0.9), 0.8)
    assert outcomes([whole], [large], whole_image=0.95) == [["whole_image"], ["kept"]]
    assert outcomes([whole], [large]) == [["kept"], ["suppressed"]]


def test_the_higher_score_keeps_a_box_that_two_phrases_claim():
    found = labels([(LEFT, 0.7), (RIGHT, 0.9)], [(LEFT, 0.8)])
    assert found.outcomes == [["suppressed", "kept"], ["kept"]]
    assert found.noun_chunks == [[0, 5, *RIGHT, 0.9], [10, 15, *LEFT, 0.8]]
    assert found.boxes == 2
    assert outcomes([(LEFT, 0.8)], [(LEFT, 0.8)]) == [["kept"], ["suppressed"]]


def test_shared_boxes_count_once():
    found = labels([(LEFT, 0.7)], [(LEFT, 0.8)], cross_phrase_iou=1)
    assert len(found.noun_chunks) == 2
    assert found.boxes == 1


def test_a_phrase_keeps_its_best_boxes_only():
    rows = [((0.1 * n, 0.0, 0.1 * n + 0.1, 1.0), 0.9 - 0.02 * (n % 4)) for n in range(6)]
    found = labels(rows, [((0.8, 0.0, 1.0, 1.0), 0.7)], max_boxes=3)
    assert Counter(found.outcomes[0]) == {"kept": 3, "over_cap": 3}
    # 0 and 4 are the best; 1 and 5 are equals, and 1 comes first.
    assert [n for n, each in enumerate(found.outcomes[0]) if each == "kept"] == [0, 1, 4]
    assert found.outcomes[1] == ["kept"]


def test_rows_are_grits():
    phrases = [phrase(4, 9), phrase(20, 25, expr_start=20, expr_end=40)]
    found = labels([(LEFT, 0.7)], [(RIGHT, 0.9)], phrases=phrases)
    assert found.noun_chunks == [[20, 25, *RIGHT, 0.9], [4, 9, *LEFT, 0.7]]
    assert found.ref_exps == [[20, 40, *RIGHT, 0.9], [4, 9, *LEFT, 0.7]]
    assert [type(each) for each in found.noun_chunks[0]] == [int] * 2 + [float] * 5


def test_equal_scores_are_ordered_by_span_and_box():
    phrases = [phrase(20, 25, expr_start=0, expr_end=25), phrase(4, 9)]
    found = labels([(RIGHT, 0.9), (LEFT, 0.9)], [((0.9, 0.9, 1.0, 1.0), 0.9)], phrases=phrases)
    assert [row[:3] for row in found.noun_chunks] == [[4, 9, 0.9], [20, 25, 0.1], [20, 25, 0.5]]
    assert [row[:3] for row in found.ref_exps] == [[0, 25, 0.1], [0, 25, 0.5], [4, 9, 0.9]]


def test_numbers_are_short_and_within_the_image():
    row = labels([((-0.0, -1e-9, 1.0000001, 0.3), 0.7)]).noun_chunks[0]
    assert str(row) == "[0, 5, 0.0, 0.0, 1.0, 0.3, 0.7]"


def test_dropped_phrases_were_never_looked_for():
    phrases = [phrase(0, 2, drop_reason="pronoun"), phrase(4, 9), phrase(10, 12, drop_reason="x")]
    aligned = labels([], [(LEFT, 0.9)], [], phrases=phrases)
    assert aligned.outcomes == [[], ["kept"], []]
    assert aligned.noun_chunks == [[4, 9, *LEFT, 0.9]]
    for wrong in ([], [[(LEFT, 0.9)]]):
        with pytest.raises(ValueError, match=rf"{len(wrong)} detections for 3 phrases"):
            labels(*wrong, phrases=phrases)


def test_nothing_found_is_no_box():
    assert labels([]) == Labels([], [], [[]], 0)
    assert align([], [], LabelRules()) == Labels([], [], [], 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score_threshold", NAN),
        ("cross_phrase_iou", 1.1),
        ("cross_phrase_iou", NAN),
        ("max_boxes", 0),
        ("whole_image", 0.0),
        ("whole_image", 1.1),
    ],
)
def test_rules_that_are_none(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        LabelRules(**{name: value})


NUMBERS = st.one_of(
    st.sampled_from([NAN, INF, -INF, -0.0, 0.0, 0.5, 0.65, 1.0, 1.5, 3e38]),
    st.floats(-0.5, 1.5, width=32),
)
DETECTIONS = st.lists(
    st.lists(st.tuples(st.tuples(*[NUMBERS] * 4), NUMBERS), max_size=8), min_size=1, max_size=4
)
RULES = st.fixed_dictionaries(
    {
        "cross_phrase_iou": st.sampled_from([0.0, 0.5, 0.7, 1.0]),
        "max_boxes": st.integers(1, 3),
        "whole_image": st.sampled_from([None, 0.5]),
    }
)


@given(DETECTIONS, RULES)
def test_every_box_has_one_outcome_and_every_kept_one_two_rows(found, rules):
    made = labels(*found, **rules)
    assert [len(each) for each in made.outcomes] == [len(each) for each in found]
    all_outcomes = Counter(each for row in made.outcomes for each in row)
    assert {*all_outcomes} <= {*BoxOutcome}
    assert all_outcomes["kept"] == len(made.noun_chunks) == len(made.ref_exps)
    assert made.ref_exps == made.noun_chunks
    assert made.noun_chunks == sorted(made.noun_chunks, key=lambda row: (-row[6], row))
    for _, _, x0, y0, x1, y1, score in made.noun_chunks:
        assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
        assert score > 0.65 and math.isfinite(score)
    assert made.boxes == len({tuple(row[2:6]) for row in made.noun_chunks})


@given(DETECTIONS, RULES)
def test_stored_rows_give_themselves(found, rules):
    """Rules can be applied to what they have made, and change nothing."""
    made = labels(*found, **rules)
    again: list[Found] = [[] for _ in found]
    for start, _, *box, score in made.noun_chunks:
        again[int(start) // 10].append((tuple(box), score))
    assert labels(*again, **rules).noun_chunks == made.noun_chunks
