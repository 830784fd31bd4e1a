"""Flickr30k Entities: captions whose phrases are marked up, and boxes in an XML file per image.

Goes in: the unpacked annotations, `Sentences/ID.txt` and `Annotations/ID.xml`, with the lists
`train.txt`, `val.txt` and `test.txt`. Comes out: a record per caption. All boxes with the chain
number of a phrase are its boxes; chain 0 is what cannot be seen. Coordinates are taken as they
stand and divided by the size, as the published evaluations do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from grounding.annotated.annotations import (
    Annotated,
    AnnotatedPhrase,
    Rejected,
    joined,
    relative_box,
)
from shards.grounded import BadGroundingError, Box

SOURCE = "flickr30k_entities"

_NOT_VISUAL = "0"
_MARK = re.compile(r"\[/EN#(?P<chain>\d+)(?P<types>(?:/\w+)+)\s+(?P<words>[^\[\]]+)\]")
_BROKEN = re.compile(r"\[/EN#|/EN#\d")


@dataclass(frozen=True)
class _Drawn:
    """What an XML file holds."""

    width_px: int
    height_px: int
    boxes: dict[str, list[Box]]  # by chain


def read(
    folder: str | os.PathLike[str], split: str | None = None, image_ids: Iterable[str] | None = None
) -> Iterator[Annotated | Rejected]:
    """Yield the captions of a split, or of given images, or of all.

    Args:
        folder: The unpacked annotations.
        split: `train`, `val` or `test`; read from the list of that name.
        image_ids: Instead of a split.

    Raises:
        ValueError: A folder, list or file is missing or is something else; the message names it.
    """
    root = Path(folder)
    for name in ("Annotations", "Sentences"):
        if not (root / name).is_dir():
            raise ValueError(f"{root}: no folder {name}; give the unpacked Flickr30k Entities")
    for image_id in _ids(root, split) if image_ids is None else image_ids:
        yield from _captions(root, image_id)


def _ids(root: Path, split: str | None) -> list[str]:
    if split is None:
        return sorted(path.stem for path in (root / "Sentences").glob("*.txt"))
    try:
        return (root / f"{split}.txt").read_text(encoding="ascii").split()
    except FileNotFoundError:
        raise ValueError(
            f"{root}: no list {split}.txt; copy it there, or take all images"
        ) from None


def _captions(root: Path, image_id: str) -> Iterator[Annotated | Rejected]:
    source_file = f"Sentences/{image_id}.txt"
    try:
        drawn = _drawn(root / "Annotations" / f"{image_id}.xml")
        lines = (root / source_file).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename}: there is no such file; is the folder whole?") from None
    except BadGroundingError as error:
        yield Rejected(image_id, error.reason, error.detail)
        return
    for row, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            caption, phrases = _parse(line, drawn)
        except BadGroundingError as error:
            yield Rejected(image_id, error.reason, error.detail)
            continue
        yield Annotated(
            image_id=image_id,
            caption=caption,
            phrases=phrases,
            source=SOURCE,
            source_file=source_file,
            source_row=row,
            width_px=drawn.width_px,
            height_px=drawn.height_px,
        )


def _parse(line: str, drawn: _Drawn) -> tuple[str, tuple[AnnotatedPhrase, ...]]:
    parts: list[str] = []
    marks: list[re.Match[str]] = []
    places: list[int] = []  # of each mark's words among the parts
    reached = 0
    for mark in _MARK.finditer(line):
        parts.append(line[reached : mark.start()])
        places.append(len(parts))
        parts.append(mark["words"])
        marks.append(mark)
        reached = mark.end()
    parts.append(line[reached:])
    if any(_BROKEN.search(part) for part in parts):
        raise BadGroundingError("markup_malformed", f"a mark is not closed, or nested: {line:.200}")
    caption, spans = joined(parts)
    phrases = [
        AnnotatedPhrase(
            *spans[place],
            boxes_xyxy=()
            if mark["chain"] == _NOT_VISUAL
            else tuple(drawn.boxes.get(mark["chain"], ())),
            categories=tuple(mark["types"].strip("/").split("/")),
        )
        for mark, place in zip(marks, places, strict=True)
    ]
    return caption, tuple(phrases)


def _drawn(path: Path) -> _Drawn:
    data = path.read_bytes()
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        # Nothing in these files needs entities, and expanding them can fill the memory.
        raise ValueError(f"{path}: it defines XML entities; these annotations have none")
    try:
        root = ElementTree.fromstring(data)
        width, height = (int(_text(root, f"size/{name}")) for name in ("width", "height"))
        boxes: dict[str, list[Box]] = {}
        for drawn in root.iter("object"):
            if drawn.find("bndbox") is None:
                continue  # the whole scene, or nothing to draw
            sides = [int(_text(drawn, f"bndbox/{name}")) for name in _SIDES]
            box = relative_box(sides, width, height)
            for name in drawn.iter("name"):
                boxes.setdefault((name.text or "").strip(), []).append(box)
    except BadGroundingError:
        raise
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{path}: no annotation of Flickr30k Entities ({error})") from error
    return _Drawn(width, height, boxes)


_SIDES = ("xmin", "ymin", "xmax", "ymax")


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"<{element.tag}> has no {path}")
    return text
