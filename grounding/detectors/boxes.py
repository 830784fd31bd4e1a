"""What a phrase keeps of a detector's candidates, for every detector here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from grounding import geometry
from grounding.detector import Detection

Boxes = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]


def nothing() -> Detection:
    """Return a detection without a box."""
    return Detection(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


def select(boxes_xyxy: Boxes, scores: Scores, *, floor: float, nms_iou: float) -> Detection:
    """Return what one phrase keeps, best first.

    Boxes are clipped to the image. Left out are those below the floor, those without area after
    the clip, those with a number that is not finite, and those that overlap a better one by more
    than `nms_iou`.
    """
    boxes = np.clip(boxes_xyxy, 0, 1).astype(np.float32)
    # Comparisons with a number that is not one are false.
    whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & (scores >= floor)
    boxes, scores = boxes[whole], scores[whole].astype(np.float32)
    kept = geometry.nms(boxes, scores, nms_iou)
    return Detection(boxes[kept], scores[kept])
