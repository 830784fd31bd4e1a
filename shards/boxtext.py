"""Boxes as the text that CogVLM reads and writes: `[[x0,y0,x1,y1]]`, `[[x0,y0,x1,y1;x0,…]]`.

Goes in: `xyxy` boxes in 0..1 of the image, origin top left. Comes out: text, and back. A number is
a bin: three digits, thousandths of the width or height. Nothing else in the project holds bins.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in 0..1."""

_NUM_BINS = 1000

_ONE_BOX = r"\s*,\s*".join([r"[0-9]{3}"] * 4)
_BOX_TEXT = re.compile(rf"\[\s*\[\s*({_ONE_BOX}(?:\s*;\s*{_ONE_BOX})*)\s*\]\s*\]")
# Whatever opens like a box text, so that a broken or cut one is reported and not passed over.
_CANDIDATE = re.compile(r"\[\s*\[[^\[\]]*(?:\](?:\s*\])?)?")


class Found(NamedTuple):
    """A box text within a longer text: `text[start:end]`."""

    start: int
    end: int
    boxes: list[Box] | None
    """None where the text opens with double brackets and is malformed."""


def encode(boxes_xyxy: npt.ArrayLike) -> str:
    """Return the text of boxes in their order; empty if none is left.

    A bin is coordinate * 1000 rounded half up and clipped to 0..999: readers divide by 1000 and add
    nothing, so rounding has no bias. Boxes without width or height in bins are dropped.

    Raises:
        ValueError: Not rows of four finite numbers.
    """
    boxes = np.asarray(boxes_xyxy, np.float64)
    if not boxes.size:
        return ""
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise ValueError(f"boxes must be rows of four finite numbers x0, y0, x1, y1, not {boxes}")
    bins = np.clip(np.floor(boxes * _NUM_BINS + 0.5), 0, _NUM_BINS - 1).astype(int)
    texts = [",".join(f"{number:03d}" for number in row) for row in bins.tolist() if _has_area(row)]
    return f"[[{';'.join(texts)}]]" if texts else ""


def decode(text: str) -> list[Box]:
    """Return the boxes of a text that is one box text; spaces around brackets and numbers are fine.

    A bin stands for bin / 1000, so `encode` is undone within half a bin, within one at the far edge
    (1.0 is written as 999).

    Raises:
        ValueError: Anything else: other text, a number that is not three digits, a box whose second
            corner is not below and right of the first, no box at all.
    """
    match = _BOX_TEXT.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not box text; it must look like [[x0,y0,x1,y1;x0,…]]")
    rows = [[int(number) for number in box.split(",")] for box in match.group(1).split(";")]
    for row in rows:
        if not _has_area(row):
            raise ValueError(f"{text!r} has a box without area: {','.join(map(str, row))}")
    return [
        (x0 / _NUM_BINS, y0 / _NUM_BINS, x1 / _NUM_BINS, y1 / _NUM_BINS) for x0, y0, x1, y1 in rows
    ]


def find(text: str) -> list[Found]:
    """Return every box text of a longer text in order, malformed and unfinished ones too."""
    return [
        Found(match.start(), match.end(), _decode_or_none(match.group()))
        for match in _CANDIDATE.finditer(text)
    ]


def _decode_or_none(text: str) -> list[Box] | None:
    try:
        return decode(text)
    except ValueError:
        return None


def _has_area(bins: list[int]) -> bool:
    x0, y0, x1, y1 = bins
    return x0 < x1 and y0 < y1
