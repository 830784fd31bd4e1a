"""Optional augmentation of training images, off by default: crop, flip, scale, colour, JPEG.

Goes in: an image, its boxes and the texts that go with it. Comes out: another image, the boxes
relative to it, and how much of each box is left. All randomness comes from the given generator.

Shapes: H height and W width in pixels, N boxes, T tried windows.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from cogvlm.model.rules import check

MIN_LEFT = 0.5
"""A phrase with a box of which less than this share is left no longer names what is seen."""

_NUM_TRIES = 16
_MIN_SIDE_PX = 2

# Prefixes are enough: `leftover` and `rights` stop a flip for nothing, `leftmost` must.
_SAYS_SIDE = re.compile(
    r"(?<![a-z])(?:top|bottom|upper|lower|center|centre|middle|mid)?(?:left|right)|[左右]",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How strongly training images are changed; the defaults change nothing."""

    crop_min_share: float = 1.0
    """A random window of at least this share of the area is cut out; 1 = no crop."""
    flip: float = 0.0
    """Probability of a mirror image, where no text says left or right; written words turn too."""
    scale_min: float = 1.0
    """Smallest factor that the sides are shrunk by before the tower's resize; 1 = none."""
    brightness: float = 0.0
    """Brightness is multiplied by 1 - this to 1 + this; 0 = none."""
    contrast: float = 0.0
    """Contrast is multiplied by 1 - this to 1 + this; 0 = none."""
    saturation: float = 0.0
    """Saturation is multiplied by 1 - this to 1 + this; 0 = none."""
    jpeg_min_quality: int = 100
    """Re-encoded as JPEG at a random quality from this to 100; 100 = not re-encoded."""

    def __post_init__(self) -> None:
        shares = ("crop_min_share", "scale_min")
        check(
            "augment", self, *((name, 0 < getattr(self, name) <= 1, "in (0, 1]") for name in shares)
        )
        sizes = ("flip", "brightness", "contrast", "saturation")
        check(
            "augment", self, *((name, 0 <= getattr(self, name) <= 1, "in [0, 1]") for name in sizes)
        )
        quality = self.jpeg_min_quality
        is_quality = isinstance(quality, int) and 1 <= quality <= 100
        check("augment", self, ("jpeg_min_quality", is_quality, "a whole number in 1 .. 100"))

    @property
    def active(self) -> bool:
        """Whether any image is changed."""
        return self != Augment()


@dataclass(frozen=True)
class Augmented:
    """A changed image and what became of its boxes."""

    image_HW3: np.ndarray
    """uint8 RGB; its size may differ from the original's."""
    boxes_N4: np.ndarray
    """xyxy in 0..1 of this image, clipped to it."""
    left_N: np.ndarray
    """Share of each box's area that is in this image; 0 for a box without area in a crop."""


def augment(
    image_HW3: np.ndarray,
    boxes_N4: np.ndarray,
    texts: Iterable[str],
    settings: Augment,
    random: np.random.Generator,
) -> Augmented:
    """Return a randomly changed image; the image and boxes themselves if nothing is active.

    Phrases having a box with `left_N` below `MIN_LEFT` are for the caller to drop. Windows are
    drawn such that this is rare: of the tried ones, that which keeps the most boxes is taken, and
    all boxes are kept if a window of the drawn size can hold them together.

    Args:
        image_HW3: uint8 RGB.
        boxes_N4: xyxy floats in 0..1.
        texts: All that is said about the image; where one says left or right, it is not mirrored.
        settings: What may be done, and how strongly.
        random: Where all randomness comes from; the same state gives the same result.
    """
    left_N = np.ones(len(boxes_N4))
    if not settings.active:
        return Augmented(image_HW3, boxes_N4, left_N)
    if settings.crop_min_share < 1:
        image_HW3, boxes_N4, left_N = _cropped(image_HW3, boxes_N4, settings.crop_min_share, random)
    if random.random() < settings.flip and not says_side(texts):
        image_HW3 = np.ascontiguousarray(image_HW3[:, ::-1])
        x0, y0, x1, y1 = boxes_N4.T
        boxes_N4 = np.stack([1 - x1, y0, 1 - x0, y1], axis=1)
    return Augmented(_degraded(image_HW3, settings, random), boxes_N4, left_N)


def says_side(texts: Iterable[str]) -> bool:
    """Return whether a text says left or right, in English or Chinese."""
    return any(_SAYS_SIDE.search(text) for text in texts)


def _cropped(
    image_HW3: np.ndarray, boxes_N4: np.ndarray, min_share: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size_px_2 = np.array(image_HW3.shape[1::-1])
    boxes_px_N4 = boxes_N4 * np.tile(size_px_2, 2)
    windows_px_T4 = _windows(size_px_2, boxes_px_N4, min_share, random)
    clipped_px_TN4 = np.clip(
        boxes_px_N4, windows_px_T4[:, None, [0, 1, 0, 1]], windows_px_T4[:, None, [2, 3, 2, 3]]
    )
    areas_N = _areas(boxes_px_N4)
    left_TN = np.where(areas_N > 0, _areas(clipped_px_TN4) / np.where(areas_N > 0, areas_N, 1), 0)
    best = int((left_TN >= MIN_LEFT).sum(1).argmax())
    x0, y0, x1, y1 = (int(each) for each in windows_px_T4[best])
    boxes_N4 = (clipped_px_TN4[best] - [x0, y0, x0, y0]) / [x1 - x0, y1 - y0, x1 - x0, y1 - y0]
    return np.ascontiguousarray(image_HW3[y0:y1, x0:x1]), boxes_N4, left_TN[best]


def _windows(
    size_px_2: np.ndarray, boxes_px_N4: np.ndarray, min_share: float, random: np.random.Generator
) -> np.ndarray:
    """Return windows of one drawn size: half of them lie anywhere, half where the boxes are."""
    share, along_x = random.uniform(min_share, 1), random.uniform()
    sides_px_2 = np.ceil(size_px_2 * share ** np.array([along_x, 1 - along_x])).astype(int)
    sides_px_2 = np.minimum(size_px_2, np.maximum(_MIN_SIDE_PX, sides_px_2))
    room_px_2 = size_px_2 - sides_px_2
    starts_px_T2 = random.integers(0, room_px_2, (_NUM_TRIES, 2), endpoint=True)
    if len(boxes_px_N4):
        # From "ends with the last box" to "starts with the first box": these windows hold all
        # boxes, or, where that order is reversed because they do not fit, lie among them.
        ends_px_2 = np.ceil(boxes_px_N4[:, 2:].max(0)) - sides_px_2
        bounds_px_22 = np.sort([ends_px_2, np.floor(boxes_px_N4[:, :2].min(0))], axis=0)
        low_px_2, high_px_2 = np.clip(bounds_px_22, 0, room_px_2).astype(int)
        near_px_T2 = random.integers(low_px_2, high_px_2, (_NUM_TRIES, 2), endpoint=True)
        starts_px_T2 = np.concatenate([starts_px_T2, near_px_T2])
    return np.concatenate([starts_px_T2, starts_px_T2 + sides_px_2], axis=1)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _degraded(image_HW3: np.ndarray, settings: Augment, random: np.random.Generator) -> np.ndarray:
    """Return the image smaller, in other colours and re-encoded; boxes do not notice."""
    image = Image.fromarray(image_HW3)
    if settings.scale_min < 1:
        factor = random.uniform(settings.scale_min, 1)
        width_px, height_px = (
            min(side, max(_MIN_SIDE_PX, round(side * factor))) for side in image.size
        )
        image = image.resize((width_px, height_px), Image.Resampling.BICUBIC)
    for strength, enhance in (
        (settings.brightness, ImageEnhance.Brightness),
        (settings.contrast, ImageEnhance.Contrast),
        (settings.saturation, ImageEnhance.Color),
    ):
        if strength:
            image = enhance(image).enhance(random.uniform(1 - strength, 1 + strength))
    if settings.jpeg_min_quality < 100:
        buffer = io.BytesIO()
        quality = int(random.integers(settings.jpeg_min_quality, 100, endpoint=True))
        image.save(buffer, "JPEG", quality=quality)
        image = Image.open(buffer)
    return np.array(image)
