"""Which size an image is stored at, and the resampling that gets it there.

The modes have img2dataset's names, meanings and rounding, so a run with the same options has the
same sizes. `fixed` is ours: exactly `image_size` squared, aspect ratio lost.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from shards.image.spec import Resizer, StoreSpec
from shards.image.types import check_size

WHITE = 255


class Plan(NamedTuple):
    """Resample to `scaled`, then crop or pad about the centre to `canvas`; (width, height)."""

    scaled: tuple[int, int]
    canvas: tuple[int, int]

    def changes(self, width: int, height: int) -> bool:
        """Say whether an image of this size comes out different from how it went in."""
        return (width, height) != self.scaled or self.scaled != self.canvas


def plan(width: int, height: int, spec: StoreSpec) -> Plan:
    """Return the sizes for an upright image of `width` x `height` pixels.

    `keep_ratio` and `center_crop` bring the short side to `image_size`, `keep_ratio_largest` and
    `border` the long one. With `only_if_bigger` that side must be longer, or the image is left as
    it is: not cropped and not padded either. `max_long_side` then holds for all modes.

    Raises:
        ImageError: TOO_MANY_PIXELS where resampling would exceed `max_pixels`: a strip of 1 x
            20,000 pixels scaled up by its short side is a bomb too.
    """
    scaled, canvas = _by_mode(width, height, spec)
    if spec.max_long_side is not None and max(canvas) > spec.max_long_side:
        scaled = canvas = _scale(width, height, spec.max_long_side / max(width, height))
    check_size(*scaled, spec.max_pixels)
    return Plan(scaled, canvas)


def _by_mode(width: int, height: int, spec: StoreSpec) -> tuple[tuple[int, int], tuple[int, int]]:
    size, mode = spec.image_size, spec.resize_mode
    by_short = mode in ("keep_ratio", "center_crop")
    side = min(width, height) if by_short else max(width, height)
    if mode == "no" or (spec.only_if_bigger and side <= size):
        return (width, height), (width, height)
    if mode == "fixed":
        return (size, size), (size, size)
    scaled = _scale(width, height, size / side)
    return scaled, (size, size) if mode in ("center_crop", "border") else scaled


def _scale(width: int, height: int, factor: float) -> tuple[int, int]:
    return max(1, round(width * factor)), max(1, round(height * factor))


def apply(rgb: npt.NDArray[np.uint8], how: Plan, resizer: Resizer) -> npt.NDArray[np.uint8]:
    """Resample (H, W, 3) pixels by antialiased bicubic, then crop, or pad with white."""
    if (rgb.shape[1], rgb.shape[0]) != how.scaled:
        rgb = _resample(rgb, how.scaled, resizer)
    return rgb if how.canvas == how.scaled else _centre(rgb, how.canvas)


def _resample(
    rgb: npt.NDArray[np.uint8], size: tuple[int, int], resizer: Resizer
) -> npt.NDArray[np.uint8]:
    if resizer == "torch":
        from shards.image.resize_torch import hold_to_one_thread, resample

        hold_to_one_thread()
        return resample(rgb, size)
    # No reducing_gap: its box pre-shrink is faster and visibly different.
    image = Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image)


def _centre(rgb: npt.NDArray[np.uint8], canvas: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Cut out or surround with white, the odd pixel at the right and at the bottom."""
    height, width = rgb.shape[:2]
    left, top = (canvas[0] - width) // 2, (canvas[1] - height) // 2
    if min(left, top) < 0:
        left, top = (width - canvas[0]) // 2, (height - canvas[1]) // 2
        return np.ascontiguousarray(rgb[top : top + canvas[1], left : left + canvas[0]])
    padded = np.full((canvas[1], canvas[0], 3), WHITE, np.uint8)
    padded[top : top + height, left : left + width] = rgb
    return padded


def enough(how: Plan, margin: float) -> tuple[int, int]:
    """Return the (width, height) that a scaled decode must cover, `margin` times the result."""
    return math.ceil(how.scaled[0] * margin), math.ceil(how.scaled[1] * margin)
