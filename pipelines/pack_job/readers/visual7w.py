"""Visual7W: questions about an image that one of its boxes answers, or words do.

Goes in: `{boxes: [{box_id, x, y, width, height}], images: [{image_id, split, qa_pairs: [{qa_id,
question, answer, multiple_choices}]}]}`, and `image_data.json` of Visual Genome, whose images these
are. Comes out: a record per question. An answer that is text (the telling questions, whose file has
no boxes) keeps all that could be chosen as `choices`; any other one is the id of a box.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from pipelines.pack_job.format import Format
from pipelines.pack_job.readers.lines import Raw, tried, whole
from pipelines.pack_job.readers.own_boxes import to_share
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.records import (
    BOXES_MARK,
    Bad,
    BadRecordError,
    Origin,
    Record,
    dialogue,
    text_of,
)

_NAMES = "v7w_{}.jpg"


def visual7w(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read a file of questions with `--annotations image_data.json`; `--split` takes one part."""
    from grounding.annotated import visual_genome
    from grounding.annotated.annotations import of_split

    assert options.annotations is not None
    boxes, questions = _published(unit.path)
    chosen = of_split(questions, options.split, unit.path)
    images = visual_genome.images(options.annotations)

    def make(row: int, raw: Raw) -> Record:
        image_id = raw["image_id"]
        if image_id not in images:
            raise BadRecordError("image_missing", f"image_data.json has not image {image_id}")
        image = images[image_id]
        origin = Origin(
            source=options.source,
            source_file=unit.name,
            source_row=row,
            source_key=str(raw.get("qa_id")),
            image_id=image_id,
            coco_id=image.coco_id,
            language="en",
        )
        size = image.width_px, image.height_px
        answer, besides = _answer(raw, boxes, size)
        turns = [("user", text_of(raw, "question")), ("assistant", answer)]
        record = dialogue(origin, turns, [options.image_name(image_id, _NAMES)], **besides)
        return replace(record, size_px=size)

    return tried(((raw["row"], raw) for raw in chosen), make)


def _published(path: str) -> tuple[dict[str, list[float]], list[Raw]]:
    """Return boxes, as corner and size, by id, and all questions."""
    values = whole(path)
    try:
        boxes = {
            str(box["box_id"]): [float(box[side]) for side in ("x", "y", "width", "height")]
            for box in values.get("boxes", ())
        }
        return boxes, list(_questions(values["images"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: not Visual7W's questions ({type(error).__name__}: {error}); give "
            "dataset_v7w_pointing.json or dataset_v7w_telling.json"
        ) from error


def _questions(images: list[Mapping[str, Any]]) -> Iterator[Raw]:
    """Yield every question with what it needs of its image, and its number in the file."""
    rows = count()
    for image in images:
        of_image = {"image_id": str(image["image_id"]), "split": image["split"]}
        for pair in image["qa_pairs"]:
            yield {**pair, **of_image, "row": next(rows)}


def _answer(
    raw: Raw, boxes: Mapping[str, list[float]], size_px: tuple[int, int]
) -> tuple[str, dict[str, Any]]:
    """Return what the answer's turn says, and what the record has besides."""
    answer = raw.get("answer")
    if isinstance(answer, str):
        return answer, {"choices": _choices(raw, answer)}
    if str(answer) not in boxes:
        raise BadRecordError(
            "box_missing", f"question {raw.get('qa_id')}: there is no box {answer}"
        )
    return BOXES_MARK, {"boxes": {1: [[to_share(boxes[str(answer)], "xywh_px", size_px)]]}}


def _choices(raw: Raw, answer: str) -> list[str]:
    """Return the right answer among the wrong ones, sorted: its place must not give it away."""
    others = raw.get("multiple_choices")
    if not isinstance(others, list) or not all(isinstance(text, str) for text in others):
        raise BadRecordError("record_malformed", "multiple_choices is not a list of texts")
    return sorted({answer, *others})


FORMATS = (
    Format(
        name="visual7w",
        level="dialogue",
        reader=visual7w,
        about="`dataset_v7w_pointing.json` or `dataset_v7w_telling.json` of Visual7W",
        endings=(".json",),
        annotations="Visual Genome's image_data.json",
        coco=True,
        splits=True,
    ),
)
