"""Boxes as geometry: area, overlap, and suppression of the weaker of two alike.

Goes in: `xyxy` boxes in [0, 1] of the image, continuous (a box from 0 to 0.5 is half as wide as the
image, no pixel is added). Comes out: arrays, in float64 whatever came in. Order is part of the
answer: between equal scores the box that was given first wins.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def area(boxes_xyxy: npt.ArrayLike) -> Floats:
    """Return the area of each box as a share of the image; 0 where a side is zero or negative."""
    boxes = _rows(boxes_xyxy)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def iou(first_xyxy: npt.ArrayLike, second_xyxy: npt.ArrayLike) -> Floats:
    """Return (n, m): intersection over union of each of n boxes with each of m.

    A box without area overlaps nothing, not even itself.
    """
    first, second = _rows(first_xyxy), _rows(second_xyxy)
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(bottom_right - top_left, 0)
    shared = sides[..., 0] * sides[..., 1]
    union = area(first)[:, None] + area(second)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def by_score(scores: npt.ArrayLike) -> Indices:
    """Return indices by score, the highest first, equal ones as they were given."""
    return np.argsort(-np.asarray(scores, np.float64), kind="stable")


def nms(boxes_xyxy: npt.ArrayLike, scores: npt.ArrayLike, max_iou: float) -> Indices:
    """Return the indices of the boxes that stay, by score.

    From the highest score on, each box that stays removes those after it that overlap it by more
    than `max_iou`. What a box is of makes no difference.

    Args:
        boxes_xyxy: (n, 4).
        scores: (n,), finite.
        max_iou: Overlap up to which both of two boxes stay; 1 keeps all.
    """
    order = by_score(scores)
    boxes = _rows(boxes_xyxy)[order]
    alive = np.ones(len(boxes), bool)
    for place in range(len(boxes)):
        if alive[place]:
            overlaps = iou(boxes[place : place + 1], boxes[place + 1 :])[0]
            alive[place + 1 :] &= overlaps <= max_iou
    return order[alive]


def _rows(boxes_xyxy: npt.ArrayLike) -> Floats:
    boxes = np.asarray(boxes_xyxy, np.float64)
    return boxes.reshape(-1, 4) if not boxes.size else boxes
