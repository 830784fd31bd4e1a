"""What the annotated sets of tests are made of: rendered images, JSON files, flags."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from examples.scenes import scene


@dataclass(frozen=True)
class Set:
    """A set on disk, and the flags that pack it."""

    format: str
    flags: tuple[str, ...]
    level: str
    records: int  # in
    samples: int  # out


def picture(seed: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """Return a rendered scene as a JPEG file."""
    buffer = io.BytesIO()
    scene(seed, size).image().save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def plain(seed: int, size: tuple[int, int]) -> bytes:
    """Return an image of one colour, of any size."""
    buffer = io.BytesIO()
    colour = np.random.default_rng(seed).integers(0, 255, 3, np.uint8)
    Image.fromarray(np.tile(colour, (size[1], size[0], 1))).save(buffer, "PNG")
    return buffer.getvalue()


def pictures(folder: Path, names: Sequence[str], size: tuple[int, int] = (64, 64)) -> Path:
    """Write a scene under each name."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number, size))
    return folder


def lines(path: Path, records: Sequence[Any]) -> Path:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(each)}\n" for each in records))
    return path


def array(path: Path, records: Any) -> Path:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records))
    return path
