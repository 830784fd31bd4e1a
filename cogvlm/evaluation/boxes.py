"""Metrics of answers that hold boxes, and what one scores without looking at the image.

Boxes are xyxy in 0..1. A box is right when its IoU with any gold box of the phrase is at least 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shards import boxtext
from shards.boxtext import Box

Floats = npt.NDArray[np.float64]
Gold = Sequence[Box]  # of one phrase, at least one

MIN_IOU = 0.5
_ROUNDING = 1e-9  # an overlap of exactly a half may come out a hair below

_MOST_STARTS = 2000
_CLIMBS = 5
_STEPS = (0.1, 0.05, 0.02, 0.01)
_DRAWS = 16


@dataclass(frozen=True)
class Read:
    """What an answer to "where" says."""

    box: Box | None  # the first one
    fault: Literal["", "missing", "malformed"]  # why there is none


def first_box(answer: str) -> Read:
    """Return the first box of an answer; text around box texts is passed over."""
    box_texts = boxtext.find(answer)
    if not box_texts:
        return Read(None, "missing")
    boxes = box_texts[0].boxes
    return Read(boxes[0], "") if boxes else Read(None, "malformed")


def iou(one_N4: npt.ArrayLike, other_M4: npt.ArrayLike) -> Floats:
    """Return (N, M), area shared over area covered; 0 where nothing is covered."""
    one = np.asarray(one_N4, np.float64).reshape(-1, 1, 4)
    other = np.asarray(other_M4, np.float64).reshape(1, -1, 4)
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = np.clip(sides, 0, None).prod(axis=-1)
    covered = _areas(one) + _areas(other) - shared
    return np.divide(shared, covered, out=np.zeros_like(shared), where=covered > 0)


def is_right(box: Box, gold: Gold) -> bool:
    """Return whether a box overlaps any gold box."""
    return bool((iou([box], gold) >= MIN_IOU - _ROUNDING).any())


def without_boxes(text: str) -> str:
    """Return a text without its box texts, well-formed or not, and the space before each."""
    for box_text in reversed(boxtext.find(text)):
        text = text[: box_text.start].rstrip(" ") + text[box_text.end :]
    return text


@dataclass(frozen=True)
class Recalled:
    """Which gold phrases of a caption a grounded caption has with a right box."""

    named: tuple[bool, ...]  # the box follows the phrase's own words
    anywhere: tuple[bool, ...]  # whatever words the box follows
    malformed: int  # box texts that cannot be read


def recalled(answer: str, phrases: Sequence[tuple[str, Gold]]) -> Recalled:
    """Return which phrases of a caption are found in a grounded caption."""
    box_texts = boxtext.find(answer)
    read = [(_before(answer, written), written.boxes) for written in box_texts if written.boxes]
    named, anywhere = [], []
    for phrase, gold in phrases:
        words = " ".join(phrase.casefold().split())
        right = [before for before, boxes in read if any(is_right(box, gold) for box in boxes)]
        anywhere.append(bool(right))
        named.append(any(_ends_with(before, words) for before in right))
    return Recalled(
        tuple(named), tuple(anywhere), sum(written.boxes is None for written in box_texts)
    )


def constant_box(gold: Sequence[Gold]) -> tuple[Box, float]:
    """Return the box that is right most often for phrases, found by a search, and how often.

    Starts are the gold boxes (every n-th where there are over 2,000) and their median. The five
    best are improved one side at a time by 0.1, 0.05, 0.02 and 0.01 of the image, as long as that
    helps. It knows the answers, so it is the most that any constant could reach, or close to it.

    Raises:
        ValueError: There is no phrase.
    """
    if not gold:
        raise ValueError("there is no box to search a constant one for")
    boxes_G4, owner_G = _flat(gold)
    starts = boxes_G4[:: -(-len(boxes_G4) // _MOST_STARTS)]
    starts = np.concatenate([np.median(boxes_G4, axis=0)[None], starts])
    rights = _rights(starts, boxes_G4, owner_G)
    best, most = starts[0], -1
    for at in np.argsort(-rights, kind="stable")[:_CLIMBS]:
        box, right = _climbed(starts[at], int(rights[at]), boxes_G4, owner_G)
        if right > most:
            best, most = box, right
    x0, y0, x1, y1 = best.tolist()
    return (x0, y0, x1, y1), most / len(gold)


def random_boxes(gold: Sequence[Gold], seed: int = 0) -> float:
    """Return how often a box of a random phrase's size at a random place is right, 16 tries each.

    Raises:
        ValueError: There is no phrase.
    """
    if not gold:
        raise ValueError("there is no box to take sizes from")
    random = np.random.default_rng(seed)
    sizes_N2 = np.array(
        [(box[2] - box[0], box[3] - box[1]) for box in (boxes[0] for boxes in gold)]
    )
    hits = 0
    for boxes_G4 in gold:
        sizes_D2 = sizes_N2[random.integers(len(gold), size=_DRAWS)]
        corners_D2 = random.random((_DRAWS, 2)) * (1 - sizes_D2)
        drawn_D4 = np.concatenate([corners_D2, corners_D2 + sizes_D2], axis=1)
        hits += int((iou(drawn_D4, boxes_G4) >= MIN_IOU - _ROUNDING).any(axis=1).sum())
    return hits / (_DRAWS * len(gold))


def _climbed(box: Floats, right: int, boxes_G4: Floats, owner_G: Floats) -> tuple[Floats, int]:
    for step in _STEPS:
        while True:
            near = np.clip(box + step * np.concatenate([np.eye(4), -np.eye(4)]), 0, 1)
            near = near[(near[:, 0] < near[:, 2]) & (near[:, 1] < near[:, 3])]
            if not len(near):
                break
            rights = _rights(near, boxes_G4, owner_G)
            if rights.max() <= right:
                break
            box, right = near[rights.argmax()], int(rights.max())
    return box, right


def _rights(boxes_N4: Floats, gold_G4: Floats, owner_G: Floats) -> npt.NDArray[np.int64]:
    """Return (N,), for how many phrases each box is right."""
    counts = []
    for box in boxes_N4:
        right_G = iou(box, gold_G4)[0] >= MIN_IOU - _ROUNDING
        counts.append(len(np.unique(owner_G[right_G])))
    return np.array(counts, np.int64)


def _flat(gold: Iterable[Gold]) -> tuple[Floats, Floats]:
    """Return all boxes, and the number of the phrase that each is of."""
    rows = [(*box, number) for number, boxes in enumerate(gold) for box in boxes]
    table = np.array(rows, np.float64)
    return table[:, :4], table[:, 4]


def _areas(boxes: Floats) -> Floats:
    return np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1)


def _before(answer: str, box_text: boxtext.Found) -> str:
    return " ".join(without_boxes(answer[: box_text.start]).casefold().split())


def _ends_with(text: str, phrase: str) -> bool:
    """Whether a text ends with a phrase as whole words."""
    if not text.endswith(phrase):
        return False
    before = text[: len(text) - len(phrase)]
    return not before[-1:].isalnum() or not phrase[:1].isalnum()
