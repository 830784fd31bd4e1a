"""Sets with boxes whose readers are in `grounding`: Flickr30k Entities, RefCOCO, Visual Genome.

Goes in: their annotations. Comes out: grounded records under the same reasons as there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pipelines.pack_job.format import Format
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.records import Bad, BadRecordError, Origin, Record, grounded
from pipelines.pack_job.units import folder

if TYPE_CHECKING:
    from grounding.annotated.annotations import Annotated, Rejected

_COCO_NAMES = "COCO_train2014_{:0>12}.jpg"


def flickr30k_folder(path: str, limit: int | None) -> Iterator[Unit]:
    """Yield the unpacked annotations, which are read as a whole."""
    yield folder(path, "Sentences/*.txt", "Annotations/*.xml", "*.txt")


def read_flickr30k_entities(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read the unpacked annotations; `--split` takes the list of that name."""
    from grounding.annotated import flickr30k_entities
    from grounding.annotated.annotations import excluded

    annotated = flickr30k_entities.read(unit.path, options.split)
    return records(excluded(annotated, options.exclude), options, "{}.jpg")


def read_refcoco(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read a pickle of references with `--annotations instances.json`."""
    from grounding.annotated import refcoco

    assert options.annotations is not None
    annotated = refcoco.read(
        unit.path,
        options.annotations,
        source=options.source,
        split=options.split,
        exclude=options.exclude,
    )
    return records(annotated, options, _COCO_NAMES)


def read_visual_genome(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read the descriptions of regions with `--annotations image_data.json`."""
    from grounding.annotated import visual_genome

    assert options.annotations is not None
    annotated = visual_genome.read(
        unit.path,
        options.annotations,
        regions_per_sample=options.regions_per_sample,
        exclude=options.exclude,
    )
    return records(annotated, options, "{}.jpg")


def records(
    annotated: Iterable[Annotated | Rejected], options: ReadOptions, pattern: str
) -> Iterator[Record | Bad]:
    """Yield annotated captions as records; `pattern` makes the name of an image's file."""
    from grounding.annotated.annotations import Rejected

    for caption in annotated:
        if isinstance(caption, Rejected):
            yield Bad(caption.reason, caption.detail)
            continue
        origin = Origin(
            source=caption.source,
            source_file=caption.source_file,
            source_row=caption.source_row,
            source_key=caption.image_id,
            image_id=caption.image_id,
            language="en",
        )
        try:
            yield grounded(caption, options.image_name(caption.image_id, pattern), origin)
        except BadRecordError as error:
            yield Bad(error.reason, error.detail)


FORMATS = (
    Format(
        name="flickr30k_entities",
        level="grounded",
        reader=read_flickr30k_entities,
        about="Flickr30k Entities: the unpacked folder of annotations",
        units=flickr30k_folder,
        splits=True,
    ),
    Format(
        name="refcoco",
        level="grounded",
        reader=read_refcoco,
        about="RefCOCO, RefCOCO+, RefCOCOg: the pickle of references",
        endings=(".p",),
        annotations="instances.json",
        coco=True,
        splits=True,
    ),
    Format(
        name="visual_genome",
        level="grounded",
        reader=read_visual_genome,
        about="`region_descriptions.json` of Visual Genome",
        endings=(".json",),
        annotations="image_data.json",
        coco=True,
    ),
)
