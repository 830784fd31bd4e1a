"""Injected noise: scenes whose captions and boxes are wrong at known rates, as on the web.

Goes in: a number. Comes out: a scene, its caption in the metadata, and the answer of a detector,
whose scores are usually lower where it is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.pointing import SCENE_PX, small_scene
from examples.scenes import Scene, Shape
from grounding.detectors import oracle

WRONG_CAPTIONS = 0.20  # another scene's; half of them end in a file name, as scraped ones do
MISSED, SHIFTED = 0.15, 0.10  # of the boxes of right captions
TWINS = 0.20  # of the scenes with two shapes: "a red circle beside another red circle"

# Mean and deviation of a score.
_RIGHT, _OFF, _FALSE = (0.80, 0.07), (0.58, 0.08), (0.50, 0.10)


@dataclass(frozen=True)
class Noisy:
    """A scene, its caption and its boxes, either of which may be wrong."""

    scene: Scene
    caption: str
    line: oracle.Annotated


def noisy(number: int) -> Noisy:
    """Return a scene with one or two shapes, with noise at the rates above."""
    dice = random.Random(f"noise {number}")
    seen = small_scene(number, twins=TWINS)
    if dice.random() < WRONG_CAPTIONS:
        return _with_another_caption(dice, number, seen)
    boxes = [_detected(dice, shape) for shape in seen.shapes]
    return _with_boxes(seen, seen.caption, seen.shapes, boxes)


def truth(seen: Scene) -> Noisy:
    """Return a scene without noise."""
    return _with_boxes(
        seen, seen.caption, seen.shapes, [_box(shape, 0.99) for shape in seen.shapes]
    )


def _with_another_caption(dice: random.Random, number: int, seen: Scene) -> Noisy:
    """Return a scene with another scene's caption but its own number: captions are unique."""
    other = number + 10_000_000
    described = small_scene(other)
    caption = described.caption.replace(f"scene {other}", f"scene {number}")
    caption += f" IMG_{number:05d}.jpg" if dice.random() < 0.5 else ""
    # A detector that looks for what is not there answers with another shape.
    boxes = [_box(dice.choice(seen.shapes), dice.gauss(*_FALSE)) for _ in described.shapes]
    return _with_boxes(seen, caption, described.shapes, boxes)


def _with_boxes(
    seen: Scene, caption: str, named: Sequence[Shape], boxes: Sequence[oracle.Box | None]
) -> Noisy:
    spans: dict[tuple[int, int], tuple[oracle.Box, ...]] = {}
    for shape, box in zip(named, boxes, strict=True):
        start = caption.index(shape.phrase)
        spans[start, start + len(shape.phrase)] = (box,) if box else ()
    return Noisy(seen, caption, oracle.Annotated(caption=caption, spans=spans))


def write_detector(made: Iterable[Noisy], file: Path) -> str:
    """Write the detector's answers; returns its name for `--detector`."""
    oracle.write(file, (item.line for item in made))
    return f"oracle:{file}"


def shares(made: Mapping[int, Noisy]) -> dict[str, float]:
    """Return which shares of the scenes are wrong."""
    right = [item for item in made.values() if item.caption == item.scene.caption]
    boxes = [box for item in right for box in item.line.spans.values()]
    pairs = [item for item in made.values() if len(item.scene.shapes) == 2]
    return {
        "wrong captions": 1 - len(right) / len(made),
        "missed boxes": sum(not box for box in boxes) / len(boxes),
        "ambiguous pairs": sum(pair.scene.shapes[1].is_twin for pair in pairs) / max(1, len(pairs)),
    }


def _detected(dice: random.Random, shape: Shape) -> oracle.Box | None:
    """Return what the detector answers for a shape that the caption names."""
    drawn = dice.random()
    if drawn < MISSED:
        return None
    if drawn < MISSED + SHIFTED:
        side = shape.box_xyxy_px[2] - shape.box_xyxy_px[0]
        by = [dice.choice((-1, 1)) * dice.uniform(0.4, 0.8) * side for _ in range(2)]
        return _box(shape, dice.gauss(*_OFF), *by)
    return _box(shape, dice.gauss(*_RIGHT))


def _box(shape: Shape, score: float, right_px: float = 0, down_px: float = 0) -> oracle.Box:
    width, height = SCENE_PX
    x0, y0, x1, y1 = shape.box_xyxy_px
    corners = (
        (x0 + right_px) / width,
        (y0 + down_px) / height,
        (x1 + right_px) / width,
        (y1 + down_px) / height,
    )
    return (*(min(1.0, max(0.0, corner)) for corner in corners), min(0.99, max(0.21, score)))
