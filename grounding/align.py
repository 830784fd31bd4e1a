"""Detections to the labels of an image: which boxes its phrases keep, and why they lose the others.

Goes in: the phrases of a caption and what a detector found for them. Comes out: GRIT's two lists
of rows and one outcome for every box. All decisions are taken on the numbers as they are stored, so
that stricter rules give the same on stored rows as here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from grounding import geometry
from grounding.detector import Detection
from shards.grounded import Phrase, Span


@dataclass(frozen=True, kw_only=True)
class LabelRules:
    """What a box must be to be kept."""

    score_threshold: float = 0.65
    """Scores must be strictly above it; GRIT's value, for GLIP's scores."""
    cross_phrase_iou: float = 0.7
    """Of two boxes of an image that overlap by more, whatever they are of, the higher score stays;
    1 keeps both."""
    max_boxes: int = 10
    """A phrase keeps so many, those with the highest scores."""
    whole_image: float | None = None
    """A box of at least this share of the image is dropped; None keeps it, as GRIT does."""

    def __post_init__(self) -> None:
        if not 0 <= self.cross_phrase_iou <= 1:
            raise ValueError(f"cross_phrase_iou must be 0 to 1, not {self.cross_phrase_iou}")
        if not np.isfinite(self.score_threshold):
            raise ValueError(f"score_threshold must be a finite number: {self.score_threshold}")
        if self.max_boxes < 1:
            raise ValueError(f"max_boxes must be at least 1, not {self.max_boxes}")
        if self.whole_image is not None and not 0 < self.whole_image <= 1:
            raise ValueError(f"whole_image must be above 0, at most 1, not {self.whole_image}")


class BoxOutcome(StrEnum):
    """What became of a detected box: the first of these rules that it fails, or `kept`."""

    KEPT = "kept"
    NOT_FINITE = "not_finite"  # a coordinate or the score
    DEGENERATE = "degenerate"  # without width or height as detected
    OUTSIDE = "outside"  # nothing is left of it within the image
    BELOW_THRESHOLD = "below_threshold"
    WHOLE_IMAGE = "whole_image"
    SUPPRESSED = "suppressed"  # by a box with a higher score, of any phrase
    OVER_CAP = "over_cap"


@dataclass(frozen=True)
class Labels:
    """The boxes of an image, as a sample holds them."""

    noun_chunks: list[list[float]]  # [start, end, x0, y0, x1, y1, score]: ints, then 0..1
    ref_exps: list[list[float]]  # the same boxes at the spans of the referring expressions
    outcomes: list[list[BoxOutcome]]  # per phrase, dropped ones too, and per detected box
    boxes: int  # distinct ones in noun_chunks


@dataclass
class _Box:
    """A detected box on its way."""

    phrase: int  # its number among all phrases
    xyxy: tuple[float, ...]
    score: float
    outcome: BoxOutcome


def align(phrases: Sequence[Phrase], detections: Sequence[Detection], rules: LabelRules) -> Labels:
    """Return the labels of one image.

    Args:
        phrases: All phrases of the caption.
        detections: Of each phrase; empty for those that were not looked for.
        rules: What to keep.

    Raises:
        ValueError: There are more or fewer detections than phrases.
    """
    if len(detections) != len(phrases):
        raise ValueError(
            f"{len(detections)} detections for {len(phrases)} phrases; give one for each phrase, "
            "an empty one where nothing was looked for"
        )
    boxes = [
        box
        for number, detection in enumerate(detections)
        for box in _judged(number, detection, rules)
    ]
    _suppress([box for box in boxes if box.outcome == BoxOutcome.KEPT], rules)
    kept = [box for box in boxes if box.outcome == BoxOutcome.KEPT]
    outcomes: list[list[BoxOutcome]] = [[] for _ in phrases]
    for box in boxes:
        outcomes[box.phrase].append(box.outcome)
    return Labels(
        noun_chunks=_rows([(phrases[box.phrase].span, box) for box in kept]),
        ref_exps=_rows([(phrases[box.phrase].expression, box) for box in kept]),
        outcomes=outcomes,
        boxes=len({box.xyxy for box in kept}),
    )


def _judged(number: int, detection: Detection, rules: LabelRules) -> Iterator[_Box]:
    """Yield the boxes of a phrase, judged by all rules that look at one box alone."""
    boxes = np.asarray(detection.boxes_xyxy, np.float32).reshape(-1, 4)
    scores = np.asarray(detection.scores, np.float32)
    clipped = np.clip(boxes, 0.0, 1.0) + np.float32(0.0)  # which makes -0.0 an 0.0
    for detected, box, score_32 in zip(boxes.tolist(), clipped, scores, strict=True):
        xyxy, score = tuple(_shortest(side) for side in box), _shortest(score_32)
        yield _Box(number, xyxy, score, _outcome(detected, xyxy, score, rules))


def _outcome(
    detected: list[float], xyxy: tuple[float, ...], score: float, rules: LabelRules
) -> BoxOutcome:
    if not np.isfinite([*detected, score]).all():
        return BoxOutcome.NOT_FINITE
    if not _has_area(detected):
        return BoxOutcome.DEGENERATE
    if not _has_area(xyxy):
        return BoxOutcome.OUTSIDE
    if score <= rules.score_threshold:
        return BoxOutcome.BELOW_THRESHOLD
    if rules.whole_image is not None and geometry.area([xyxy])[0] >= rules.whole_image:
        return BoxOutcome.WHOLE_IMAGE
    return BoxOutcome.KEPT


def _has_area(xyxy: Sequence[float]) -> bool:
    x0, y0, x1, y1 = xyxy
    return x0 < x1 and y0 < y1


def _suppress(boxes: Sequence[_Box], rules: LabelRules) -> None:
    """Set the outcome of those that a better box removes, and of those beyond the cap."""
    xyxy, scores = [box.xyxy for box in boxes], [box.score for box in boxes]
    stays = geometry.nms(xyxy, scores, rules.cross_phrase_iou).tolist()
    for place in {*range(len(boxes))} - {*stays}:
        boxes[place].outcome = BoxOutcome.SUPPRESSED
    taken: dict[int, int] = {}
    for place in stays:
        box = boxes[place]
        taken[box.phrase] = taken.get(box.phrase, 0) + 1
        if taken[box.phrase] > rules.max_boxes:
            box.outcome = BoxOutcome.OVER_CAP


def _rows(spanned: Sequence[tuple[Span, _Box]]) -> list[list[float]]:
    """Return GRIT's rows: by score, the highest first, then by span and box."""
    ordered = sorted(spanned, key=lambda pair: (-pair[1].score, pair[0], pair[1].xyxy))
    return [[*span, *box.xyxy, box.score] for span, box in ordered]


def _shortest(number: np.float32) -> float:
    """Return the shortest decimal that stands for a float32: what a reader expects to see."""
    return float(str(number))
