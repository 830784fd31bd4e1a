"""COCO's detection annotations.

Goes in: `instances.json`. Comes out: a grounded record per image, whose caption is the names of
what is in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipelines.pack_job.format import Format
from pipelines.pack_job.readers.annotated import records
from pipelines.pack_job.readers.lines import whole
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.records import Bad, Record

if TYPE_CHECKING:
    from grounding.annotated.annotations import Annotated, Rejected
    from shards.grounded import Box


def coco_detection(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read `instances.json`: a sample per image, whose caption is the names of what is in it.

    Crowds are left out: their boxes are of no one thing.
    """
    from grounding.annotated.annotations import excluded

    annotated = excluded(_detections(unit, options.source), options.exclude)
    return records(annotated, options, "{:0>12}.jpg")


def _detections(unit: Unit, source: str) -> Iterator[Annotated | Rejected]:
    values = whole(unit.path)
    try:
        names = {kind["id"]: str(kind["name"]) for kind in values["categories"]}
        boxes: dict[Any, list[Any]] = {}
        for drawn in values["annotations"]:
            if not drawn.get("iscrowd"):
                boxes.setdefault(drawn["image_id"], []).append(drawn)
        for row, image in enumerate(values["images"]):
            yield from _of_image(row, image, boxes.get(image["id"], []), names, unit.name, source)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{unit.path}: not COCO's instances ({type(error).__name__}: {error})"
        ) from error


def _of_image(
    row: int,
    image: dict[str, Any],
    drawn: list[Any],
    names: dict[Any, str],
    source_file: str,
    source: str,
) -> Iterator[Annotated | Rejected]:
    from grounding.annotated.annotations import (
        Annotated,
        AnnotatedPhrase,
        Rejected,
        joined,
        relative_box,
    )
    from shards.grounded import BadGroundingError

    image_id, width, height = str(image["id"]), int(image["width"]), int(image["height"])
    by_kind: dict[int, list[Box]] = {}
    for instance in drawn:
        x, y, w, h = instance["bbox"]
        try:
            box = relative_box([x, y, x + w, y + h], width, height)
        except BadGroundingError as error:
            yield Rejected(image_id, error.reason, error.detail)
            continue
        by_kind.setdefault(instance["category_id"], []).append(box)
    kinds = sorted(by_kind)
    caption, spans = joined(f"{names[kind]}." for kind in kinds)
    yield Annotated(
        image_id=image_id,
        caption=caption,
        phrases=tuple(
            AnnotatedPhrase(start, end - 1, tuple(by_kind[kind]), (names[kind],))
            for kind, (start, end) in zip(kinds, spans, strict=True)
        ),
        source=source,
        source_file=source_file,
        source_row=row,
        width_px=width,
        height_px=height,
    )


FORMATS = (
    Format(
        name="coco_detection",
        level="grounded",
        reader=coco_detection,
        about="COCO's `instances.json`",
        endings=(".json",),
        coco=True,
    ),
)
