"""Planted noise: scenes whose captions and boxes are wrong in known shares, as on the web.

Goes in: a number. Comes out: a scene, what the metadata says of it, and what a detector would
answer, with scores that are lower where it is wrong, but not always.
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
    """A scene and what is said of it."""

    scene: Scene
    caption: str
    line: oracle.Annotated


def noisy(number: int) -> Noisy:
    """Return a scene with one or two shapes, and noise in the shares above."""
    dice = random.Random(f"noise {number}")
    seen = small_scene(number, twins=TWINS)
    if dice.random() < WRONG_CAPTIONS:
        return _with_another_caption(dice, number, seen)
    boxes = [_found_box(dice, shape) for shape in seen.shapes]
    return _told(seen, seen.caption, seen.shapes, boxes)


def truth(seen: Scene) -> Noisy:
    """Return a scene about which nothing is wrong."""
    return _told(seen, seen.caption, seen.shapes, [_box(shape, 0.99) for shape in seen.shapes])


def _with_another_caption(dice: random.Random, number: int, seen: Scene) -> Noisy:
    """Return a scene with the caption of another, the number excepted: captions are unique."""
    other = number + 10_000_000
    said = small_scene(other)
    caption = said.caption.replace(f"scene {other}", f"scene {number}")
    caption += f" IMG_{number:05d}.jpg" if dice.random() < 0.5 else ""
    # A detector takes other shapes for what is not there.
    boxes = [_box(dice.choice(seen.shapes), dice.gauss(*_FALSE)) for _ in said.shapes]
    return _told(seen, caption, said.shapes, boxes)


def _told(
    seen: Scene, caption: str, said: Sequence[Shape], boxes: Sequence[oracle.Box | None]
) -> Noisy:
    spans: dict[tuple[int, int], tuple[oracle.Box, ...]] = {}
    for shape, box in zip(said, boxes, strict=True):
        start = caption.index(shape.phrase)
        spans[start, start + len(shape.phrase)] = (box,) if box else ()
    return Noisy(seen, caption, oracle.Annotated(caption=caption, spans=spans))


def write_detector(made: Iterable[Noisy], file: Path) -> str:
    """Write what the detector answers; returns its name for `--detector`."""
    oracle.write(file, (each.line for each in made))
    return f"oracle:{file}"


def shares(made: Mapping[int, Noisy]) -> dict[str, float]:
    """Return which shares of what was made are wrong, as planted."""
    right = [each for each in made.values() if each.caption == each.scene.caption]
    boxes = [box for each in right for box in each.line.spans.values()]
    pairs = [each for each in made.values() if len(each.scene.shapes) == 2]
    return {
        "wrong captions": 1 - len(right) / len(made),
        "missed boxes": sum(not box for box in boxes) / len(boxes),
        "ambiguous pairs": sum(each.scene.shapes[1].is_twin for each in pairs) / max(1, len(pairs)),
    }


def _found_box(dice: random.Random, shape: Shape) -> oracle.Box | None:
    """Return the box of a shape that the caption names."""
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
    return (*(min(1.0, max(0.0, each)) for each in corners), min(0.99, max(0.21, score)))
