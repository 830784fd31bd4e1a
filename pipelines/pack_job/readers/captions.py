"""Captions as their benchmarks publish them: COCO's form, NoCaps in it, and Karpathy's splits.

Goes in: `{images: [{id, file_name}], annotations: [{id, image_id, caption}]}`, or `{images:
[{filename, split, sentences: [{raw}]}]}`. Comes out: a record per caption. Those of an image have
its `image_id`: to `cogvlm.evaluate` they are the references of one question.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.pack_job.format import Format
from pipelines.pack_job.readers.conversations import coco_id
from pipelines.pack_job.readers.lines import Raw, listed, tried, whole
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.records import Bad, BadRecordError, Origin, Record, plain_text, text_of

_WANTED = "give a file of captions, such as captions_val2014.json"
_SPLITS = "give dataset_coco.json or dataset_flickr30k.json of Karpathy's splits"


def coco_captions(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read captions of COCO's images."""
    return _captions(unit, options, is_coco=True)


def nocaps(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read captions in COCO's form of other images, whose ids are not COCO's."""
    return _captions(unit, options, is_coco=False)


def karpathy(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read the captions of images that a split names; `--split` takes one part."""
    from grounding.annotated.annotations import cleaned, of_split

    images = [
        {"split": None, **image, "row": row}
        for row, image in enumerate(listed(whole(unit.path), "images", unit.path, _SPLITS))
    ]
    try:
        sentences = [
            (image["row"], {**sentence, "filename": image["filename"]})
            for image in of_split(images, options.split, unit.path)
            for sentence in image["sentences"]
        ]
    except (KeyError, TypeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{unit.path}: not as published ({what}); {_SPLITS}") from error

    def make(row: int, raw: Raw) -> Record:
        name = text_of(raw, "filename")
        origin = _origin(unit, options, row, raw.get("sentid"), name, coco_id(name))
        file = options.image_name(name, "{}")
        return plain_text(origin, cleaned(text_of(raw, "raw")), [file])

    return tried(iter(sentences), make)


def _captions(unit: Unit, options: ReadOptions, *, is_coco: bool) -> Iterator[Record | Bad]:
    from grounding.annotated.annotations import cleaned

    values = whole(unit.path)
    images = {str(image.get("id")): image for image in listed(values, "images", unit.path, _WANTED)}
    places = {image_id: place for place, image_id in enumerate(images)}
    captions = listed(values, "annotations", unit.path, _WANTED)

    def make(row: int, raw: Raw) -> Record:
        image_id = str(raw.get("image_id"))
        if image_id not in images:
            raise BadRecordError("image_missing", f"the file has no image {image_id}")
        coco = image_id if is_coco else None
        origin = _origin(unit, options, row, raw.get("id"), image_id, coco)
        if options.image_pattern:
            file = options.image_name(image_id, options.image_pattern)
        else:
            file = text_of(images[image_id], "file_name")
        return plain_text(origin, cleaned(text_of(raw, "caption")), [file])

    def place(numbered: tuple[int, Raw]) -> int:
        return places.get(str(numbered[1].get("image_id")), len(places))

    # COCO has an image's captions anywhere: --limit would leave most images one reference.
    by_image = sorted(enumerate(captions), key=place)
    return tried(iter(by_image), make)


def _origin(
    unit: Unit, options: ReadOptions, row: int, number: Any, image_id: str, coco: str | None
) -> Origin:
    return Origin(
        source=options.source,
        source_file=unit.name,
        source_row=row,
        source_key=None if number is None else str(number),
        image_id=image_id,
        coco_id=coco,
        language="en",
    )


FORMATS = (
    Format(
        name="coco_captions",
        level="image_text",
        reader=coco_captions,
        about="`captions_val2014.json` of COCO and its like",
        endings=(".json",),
        coco=True,
    ),
    Format(
        name="nocaps",
        level="image_text",
        reader=nocaps,
        about="`nocaps_val_4500_captions.json`, or captions in COCO's form of other images",
        endings=(".json",),
    ),
    Format(
        name="karpathy",
        level="image_text",
        reader=karpathy,
        about="`dataset_coco.json` or `dataset_flickr30k.json` of Karpathy's splits",
        endings=(".json",),
        coco=True,
        splits=True,
    ),
)
