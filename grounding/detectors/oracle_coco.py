"""Annotated captions out of COCO-style annotations, for the oracle.

The caption of an image names its categories with their numbers, "a dog and two people", and
every phrase has the boxes of all its instances, so alignment and selection have a known truth.
Categories with a crowd region are left out: how many there are is not known.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grounding.detectors.oracle import Annotated, Box, pixels_sha256

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_PLURALS = {"person": "people", "mouse": "mice", "knife": "knives", "sheep": "sheep"}
_PAIRS = ("skis", "scissors")  # plural already
_HISSING = ("s", "sh", "ch", "x")


def annotated(annotations: str | Path, folder: str | Path | None = None) -> Iterator[Annotated]:
    """Yield a caption with boxes for every annotated image, in the order of the file.

    Args:
        annotations: JSON with `images`, `categories` and `annotations` as COCO has them.
        folder: Where the image files are; with it, lines hold the hashes of the pixels, which
            tell images with the same caption apart. Images that are not there are left out.
    """
    from shards import image as images

    record = json.loads(Path(annotations).read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in record["categories"]}
    by_image = defaultdict(list)
    for annotation in record["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    for image in record["images"]:
        groups = _groups(image, by_image[image["id"]])
        if not groups or (folder and not (Path(folder) / image["file_name"]).is_file()):
            continue
        caption, spans = _caption({names[number]: boxes for number, boxes in groups.items()})
        digest = None
        if folder:
            digest = pixels_sha256(images.decode((Path(folder) / image["file_name"]).read_bytes()))
        yield Annotated(spans=spans, image=digest, caption=caption)


def phrase(category: str, number: int) -> str:
    """Return how a caption names that many of a category."""
    if category in _PAIRS:
        return f"{'a pair' if number == 1 else f'{_word(number)} pairs'} of {category}"
    if number == 1:
        return f"{'an' if category[0] in 'aeiou' else 'a'} {category}"
    plural = _PLURALS.get(category, category + ("es" if category.endswith(_HISSING) else "s"))
    return f"{_word(number)} {plural}"


def _groups(image: dict[str, Any], annotations: list[dict[str, Any]]) -> dict[int, list[Box]]:
    """Return the boxes of each category that has no crowd, largest first."""
    boxes = defaultdict(list)
    for annotation in annotations:
        left, top, width, height = annotation["bbox"]
        sides = (left, top, left + width, top + height)
        scale = (image["width"], image["height"]) * 2
        x1, y1, x2, y2 = (min(max(a / b, 0.0), 1.0) for a, b in zip(sides, scale, strict=True))
        boxes[annotation["category_id"]].append((x1, y1, x2, y2))
    crowded = {one["category_id"] for one in annotations if one.get("iscrowd")}
    return {
        category: sorted(instances, key=lambda box: -(box[2] - box[0]) * (box[3] - box[1]))
        for category, instances in boxes.items()
        if category not in crowded
    }


def _caption(groups: dict[str, list[Box]]) -> tuple[str, dict[tuple[int, int], tuple[Box, ...]]]:
    text = ""
    spans = {}
    for number, (category, boxes) in enumerate(groups.items()):
        if number:
            text += " and " if number == len(groups) - 1 else ", "
        start, text = len(text), text + phrase(category, len(boxes))
        spans[start, len(text)] = tuple(boxes)
    return text, spans


def _word(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)
