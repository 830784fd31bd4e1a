"""Rendered scenes of coloured shapes, each with a caption that names every shape.

The same seed gives the same pixels. A scene holds its own ground truth.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

COLOURS = {
    "red": (214, 48, 49),
    "blue": (9, 132, 227),
    "green": (0, 148, 90),
    "yellow": (253, 203, 40),
    "purple": (108, 72, 200),
    "orange": (230, 126, 34),
}
SHAPES = ("circle", "square", "triangle")
_RELATIONS = ("next to", "beside", "together with")

_Cell = tuple[int, int, int, int]  # x, y, width, height in pixels


@dataclass(frozen=True)
class Shape:
    """One shape of a scene."""

    colour: str
    kind: str
    box_xyxy_px: tuple[int, int, int, int]
    is_twin: bool = False  # identical to the shape before it

    @property
    def phrase(self) -> str:
        """The phrase for this shape in the caption."""
        article = "another" if self.is_twin else "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.kind}"


@dataclass(frozen=True)
class Scene:
    """Shapes on a plain background."""

    size_px: tuple[int, int]
    shapes: tuple[Shape, ...]
    caption: str

    def image(self) -> Image.Image:
        """Render the scene as RGB."""
        picture = Image.new("RGB", self.size_px, (244, 242, 236))
        draw = ImageDraw.Draw(picture)
        for shape in self.shapes:
            _draw(draw, shape)
        return picture


def scene(
    seed: int,
    size_px: tuple[int, int] = (320, 240),
    *,
    counts: Sequence[int] = (1, 2),
    distinct: bool = False,
    twins: float = 0.0,
    smallest: float = 0.25,
) -> Scene:
    """Return scene number `seed`, with shapes that do not overlap.

    Args:
        seed: Determines everything.
        size_px: Width and height.
        counts: Numbers of shapes, at most three; one of them is picked.
        distinct: No two shapes of the same kind, so that no phrase is ambiguous.
        twins: Share of the scenes with two shapes in which both are the same.
        smallest: Smallest side of a shape as a share of the image height; the largest is half.
    """
    dice = random.Random(seed)
    count = dice.choice(counts)
    if distinct:
        names = [(dice.choice([*COLOURS]), kind) for kind in dice.sample(SHAPES, count)]
    else:
        names = dice.sample([(colour, kind) for colour in COLOURS for kind in SHAPES], count)
    is_twin = count == 2 and twins > 0 and dice.random() < twins
    names = [names[0]] * 2 if is_twin else names
    shapes = [
        Shape(*name, _place(dice, cell, size_px[1], smallest), is_twin=is_twin and number == 1)
        for number, (name, cell) in enumerate(
            zip(names, _cells(dice, count, *size_px), strict=True)
        )
    ]
    words = [shapes[0].phrase]
    for relation, shape in zip(dice.sample(_RELATIONS, count - 1), shapes[1:], strict=True):
        words += [relation, shape.phrase]
    ground = dice.choice(("on plain paper", "on a light background", "drawn on paper"))
    caption = f"{' '.join(words)} {ground}, scene {seed}"
    return Scene(size_px, tuple(shapes), caption)


def _cells(dice: random.Random, count: int, width: int, height: int) -> list[_Cell]:
    """Return a cell for each shape: columns, or three quarters of the image."""
    if count < 3:
        return [(i * width // count, 0, width // count, height) for i in range(count)]
    half = (width // 2, height // 2)
    corners = dice.sample([(x, y) for y in (0, half[1]) for x in (0, half[0])], 3)
    return [(*corner, *half) for corner in corners]


def _place(
    dice: random.Random, cell: _Cell, height: int, smallest: float
) -> tuple[int, int, int, int]:
    """Return a square box within a cell, at most half as high as the image."""
    x, y, cell_width, cell_height = cell
    most = min(height // 2, cell_width - 8, cell_height - 4)
    side = dice.randint(int(height * smallest), most)
    left = x + dice.randint(2, cell_width - side - 2)
    top = y + dice.randint(2, cell_height - side - 2)
    return (left, top, left + side, top + side)


def _draw(draw: ImageDraw.ImageDraw, shape: Shape) -> None:
    left, top, right, bottom = shape.box_xyxy_px
    fill = COLOURS[shape.colour]
    if shape.kind == "circle":
        draw.ellipse(shape.box_xyxy_px, fill=fill)
    elif shape.kind == "square":
        draw.rectangle(shape.box_xyxy_px, fill=fill)
    else:
        draw.polygon([((left + right) // 2, top), (right, bottom), (left, bottom)], fill=fill)
