"""Rendered scenes of coloured shapes with a caption that says what is in them.

Same seed, same pixels. The caption names every shape, so a scene is also its own truth.
"""

from __future__ import annotations

import random
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


@dataclass(frozen=True)
class Shape:
    """One shape of a scene."""

    colour: str
    kind: str
    box_xyxy_px: tuple[int, int, int, int]

    @property
    def phrase(self) -> str:
        """How the caption names it."""
        return f"{'an' if self.colour[0] in 'aeiou' else 'a'} {self.colour} {self.kind}"


@dataclass(frozen=True)
class Scene:
    """Shapes on a plain ground."""

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


def scene(seed: int, size_px: tuple[int, int] = (320, 240)) -> Scene:
    """Return scene number `seed`, with one or two shapes that do not overlap."""
    dice = random.Random(seed)
    width, height = size_px
    count = dice.choice((1, 2))
    names = dice.sample([(colour, kind) for colour in COLOURS for kind in SHAPES], count)
    shapes = []
    for i, (colour, kind) in enumerate(names):
        side = dice.randint(height // 4, min(height // 2, width // count - 8))
        left = i * width // count + dice.randint(2, width // count - side - 2)
        top = dice.randint(2, height - side - 2)
        shapes.append(Shape(colour, kind, (left, top, left + side, top + side)))
    ground = dice.choice(("on plain paper", "on a light background", "drawn on paper"))
    caption = (
        f"{f' {dice.choice(_RELATIONS)} '.join(s.phrase for s in shapes)} {ground}, scene {seed}"
    )
    return Scene(size_px, tuple(shapes), caption)


def _draw(draw: ImageDraw.ImageDraw, shape: Shape) -> None:
    left, top, right, bottom = shape.box_xyxy_px
    fill = COLOURS[shape.colour]
    if shape.kind == "circle":
        draw.ellipse(shape.box_xyxy_px, fill=fill)
    elif shape.kind == "square":
        draw.rectangle(shape.box_xyxy_px, fill=fill)
    else:
        draw.polygon([((left + right) // 2, top), (right, bottom), (left, bottom)], fill=fill)
