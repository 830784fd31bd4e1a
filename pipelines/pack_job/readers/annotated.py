"""Sets with boxes whose readers are in `grounding`, and COCO's detection annotations.

Goes in: Flickr30k Entities, RefCOCO, Visual Genome, or `instances.json`. Comes out: grounded
records under the same reasons as there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from grounding.annotated import flickr30k_entities, refcoco, visual_genome
from grounding.annotated.annotations import (
    Annotated,
    AnnotatedPhrase,
    Rejected,
    excluded,
    joined,
    relative_box,
)
from pipelines.pack_job.readers.lines import whole
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.records import Bad, BadRecordError, Origin, Record, grounded
from shards.grounded import BadGroundingError, Box

COCO_NAMES = "COCO_train2014_{:0>12}.jpg"


def read_flickr30k_entities(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read the unpacked annotations; `--split` takes the list of that name."""
    found = flickr30k_entities.read(unit.path, options.split)
    return _records(excluded(found, options.exclude), options, "{}.jpg")


def read_refcoco(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read a pickle of references with `--annotations instances.json`."""
    assert options.annotations is not None
    found = refcoco.read(
        unit.path,
        options.annotations,
        source=options.source,
        split=options.split,
        exclude=options.exclude,
    )
    return _records(found, options, COCO_NAMES)


def read_visual_genome(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read the descriptions of regions with `--annotations image_data.json`."""
    assert options.annotations is not None
    found = visual_genome.read(
        unit.path,
        options.annotations,
        regions_per_sample=options.regions_per_sample,
        exclude=options.exclude,
    )
    return _records(found, options, "{}.jpg")


def coco_detection(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read `instances.json`: a sample per image, whose caption is the names of what is in it.

    Crowds are left out: their boxes are of no one thing.
    """
    found = excluded(_detections(unit, options.source), options.exclude)
    return _records(found, options, "{:0>12}.jpg")


def _detections(unit: Unit, source: str) -> Iterator[Annotated | Rejected]:
    values = whole(unit.path)
    try:
        names = {each["id"]: str(each["name"]) for each in values["categories"]}
        boxes: dict[Any, list[Any]] = {}
        for each in values["annotations"]:
            if not each.get("iscrowd"):
                boxes.setdefault(each["image_id"], []).append(each)
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
    image_id, width, height = str(image["id"]), int(image["width"]), int(image["height"])
    found: dict[int, list[Box]] = {}
    for each in drawn:
        x, y, w, h = each["bbox"]
        try:
            box = relative_box([x, y, x + w, y + h], width, height)
        except BadGroundingError as error:
            yield Rejected(image_id, error.reason, error.detail)
            continue
        found.setdefault(each["category_id"], []).append(box)
    kinds = sorted(found)
    caption, spans = joined(f"{names[kind]}." for kind in kinds)
    yield Annotated(
        image_id=image_id,
        caption=caption,
        phrases=tuple(
            AnnotatedPhrase(start, end - 1, tuple(found[kind]), (names[kind],))
            for kind, (start, end) in zip(kinds, spans, strict=True)
        ),
        source=source,
        source_file=source_file,
        source_row=row,
        width_px=width,
        height_px=height,
    )


def _records(
    found: Iterable[Annotated | Rejected], options: ReadOptions, pattern: str
) -> Iterator[Record | Bad]:
    for each in found:
        if isinstance(each, Rejected):
            yield Bad(each.reason, each.detail)
            continue
        origin = Origin(
            source=each.source,
            source_file=each.source_file,
            source_row=each.source_row,
            source_key=each.image_id,
            image_id=each.image_id,
            language="en",
        )
        try:
            yield grounded(each, options.image_name(each.image_id, pattern), origin)
        except BadRecordError as error:
            yield Bad(error.reason, error.detail)
