"""Boxes as geometry: two boxes in, a number out."""

from __future__ import annotations

import numpy as np
import pytest

from grounding.geometry import area, by_score, iou, nms

QUARTER, HALF, WHOLE = [0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 1.0, 1.0]
FAR, FLAT, TURNED = [0.75, 0.75, 1.0, 1.0], [0.2, 0.2, 0.2, 0.9], [0.5, 0.5, 0.0, 0.0]


def test_areas():
    assert area([QUARTER, HALF, WHOLE, FLAT, TURNED]).tolist() == [0.25, 0.5, 1, 0, 0]
    assert area([]).tolist() == []


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (QUARTER, QUARTER, 1.0),
        (QUARTER, HALF, 0.5),
        (HALF, WHOLE, 0.5),
        (QUARTER, FAR, 0.0),
        (QUARTER, [0.5, 0.0, 1.0, 0.5], 0.0),  # they touch
        (QUARTER, [0.25, 0.0, 0.75, 0.5], 1 / 3),
        (FLAT, FLAT, 0.0),
        (TURNED, TURNED, 0.0),
        (FLAT, WHOLE, 0.0),
    ],
)
def test_overlaps(first, second, expected):
    assert iou([first], [second]).tolist() == [[pytest.approx(expected)]]
    assert iou([second], [first]).tolist() == [[pytest.approx(expected)]]


def test_overlaps_of_many():
    assert iou([QUARTER, HALF], [QUARTER, HALF, FAR]).tolist() == [[1, 0.5, 0], [0.5, 1, 0]]
    assert iou([], [QUARTER]).shape == (0, 1)


def test_equal_scores_stay_in_their_order():
    assert by_score([0.5, 0.9, 0.5, 0.9]).tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize(
    ("boxes", "scores", "max_iou", "expected"),
    [
        ([QUARTER, QUARTER, FAR], [0.8, 0.9, 0.1], 0.7, [1, 2]),
        ([QUARTER, QUARTER, FAR], [0.9, 0.9, 0.95], 0.7, [2, 0]),
        ([QUARTER, HALF], [0.9, 0.8], 0.5, [0, 1]),  # just so much is allowed
        ([QUARTER, HALF], [0.9, 0.8], 0.49, [0]),
        ([QUARTER, QUARTER], [0.9, 0.8], 1.0, [0, 1]),
        # What was removed removes nothing: WHOLE overlaps HALF by 0.5, QUARTER by 0.25.
        ([QUARTER, HALF, WHOLE], [0.9, 0.8, 0.7], 0.4, [0, 2]),
        ([], [], 0.5, []),
    ],
)
def test_the_weaker_of_two_alike_goes(boxes, scores, max_iou, expected):
    assert nms(boxes, scores, max_iou).tolist() == expected


def test_what_stays_does_not_depend_on_the_order_of_different_scores():
    draw = np.random.default_rng(0)
    corners = draw.random((60, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    scores = draw.permutation(60) / 60
    order = draw.permutation(60)
    assert order[nms(boxes[order], scores[order], 0.3)].tolist() == nms(boxes, scores, 0.3).tolist()
    kept = boxes[nms(boxes, scores, 0.3)]
    assert np.triu(iou(kept, kept), 1).max() <= 0.3
