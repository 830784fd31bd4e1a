from dataclasses import dataclass, field

import numpy as np
import pytest

from grounding.detector import Detection
from grounding.detectors.agreement import AgreementDetector
from grounding.detectors.rescore import RescoreDetector

IMAGE = np.zeros((10, 20, 3), np.uint8)


@dataclass
class Fixed:
    """Answers every question with the same detections."""

    found: list
    name: str = "fixed"
    fingerprint: str = "00"
    languages: frozenset | None = field(default_factory=lambda: frozenset({"en"}))

    def upsamples(self, width, height):
        return width < 100

    def detect(self, images, captions, spans):
        return [self.found[: len(asked)] for asked in spans]


def detection(*rows):
    """Return a detection of rows x1, y1, x2, y2, score."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Detection(table[:, :4], table[:, 4])


def rows(found):
    return [[*box, score] for box, score in zip(found.boxes_xyxy, found.scores, strict=True)]


def agreed(first, second):
    made = AgreementDetector(Fixed([first], "one"), Fixed([second], "two"))
    return rows(made.detect([IMAGE], ["a dog"], [[(0, 5)]])[0][0])


def test_agreement_keeps_confirmed_boxes_with_the_first_ones_scores():
    half, far = (0, 0, 0.5, 0.5, 0.75), (0.5, 0.5, 1, 1, 0.5)
    assert agreed(detection(half, far), detection((0, 0, 0.5, 0.25, 0.125))) == [[*half]]
    assert agreed(detection(half, far), detection((0, 0, 0.5, 0.24, 0.125))) == []
    assert agreed(detection(half), detection()) == []
    assert agreed(detection(), detection(half)) == []


def test_agreement_is_of_one_span():
    here, there = detection((0, 0, 0.5, 0.5, 0.75)), detection((0.5, 0.5, 1, 1, 0.5))
    made = AgreementDetector(Fixed([here, there]), Fixed([there, here]))
    found = made.detect([IMAGE], ["a dog"], [[(0, 1), (2, 5)]])[0]
    assert [len(each) for each in found] == [0, 0]


def test_agreement_tells_both_names_and_common_languages():
    made = AgreementDetector(
        Fixed([], "one", "01", None), Fixed([], "two", "02", frozenset({"en"}))
    )
    assert made.name == "one; confirmed at iou 0.5 by two"
    assert made.languages == frozenset({"en"})
    other = AgreementDetector(Fixed([], "two", "02"), Fixed([], "one", "01"))
    assert made.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("rule", "expected"), [("multiply", [0.125, 0.25]), ("replace", [0.25, 1])]
)
def test_rescoring_follows_its_rule_and_sorts(rule, expected):
    asked = []

    def similarity(crops, texts):
        asked.extend((crop.size, text) for crop, text in zip(crops, texts, strict=True))
        return np.array([0.25, 1.0, -0.5], np.float32)[: len(crops)]

    first = detection((0, 0, 1, 1, 0.5), (0.5, 0.0, 0.75, 0.5, 0.25))
    made = RescoreDetector(
        Fixed([first, detection(), detection((0, 0, 0.01, 0.01, 0.5))]),
        similarity,
        clip_name="clip",
        clip_fingerprint="03",
        rule=rule,
    )
    found = made.detect([IMAGE], ["a dog and a cat"], [[(0, 5), (6, 9), (10, 15)]])[0]
    assert asked == [((20, 10), "a dog"), ((7, 6), "a dog"), ((1, 1), "a cat")]
    assert sorted(found[0].scores.tolist()) == sorted(expected)
    assert list(found[0].scores) == sorted(found[0].scores, reverse=True)
    assert found[0].boxes_xyxy[0].tolist() == [0.5, 0.0, 0.75, 0.5]
    assert len(found[1]) == 0 and found[2].scores.tolist() == [0]
    assert made.name == f"fixed; rescored by clip ({rule}, 0.1)"


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="known: multiply, replace"):
        RescoreDetector(Fixed([]), print, clip_name="", clip_fingerprint="", rule="add")
