"""Questions with short answers in VQAv2's form: a file of questions, one of annotations.

Goes in: `{questions: [{question_id, image_id, question}]}` and `{annotations: [{question_id,
answers: [{answer}], multiple_choice_answer}]}`. Comes out: a record per question, whose answer
is the one most people gave; `answers` in the JSON has what everyone said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.pack_job.format import Format
from pipelines.pack_job.readers.lines import Raw, listed, tried, whole
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.records import (
    Bad,
    BadRecordError,
    Origin,
    Record,
    dialogue,
    objects_of,
    text_of,
)

_PATTERN = "COCO_{}_{{:0>12}}.jpg"
_SUBTYPE = re.compile(r"(?:train|val|test)\w+")
_IMAGES = "train2014"  # where the file does not name its images
_WANTED = "--input has the questions, --annotations the answers"


def vqa(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read a file of questions with `--annotations`."""
    assert options.annotations is not None
    asked, answered = whole(unit.path), whole(options.annotations)
    questions = listed(asked, "questions", unit.path, _WANTED)
    known = {
        str(annotation.get("question_id")): annotation
        for annotation in listed(answered, "annotations", options.annotations, _WANTED)
    }
    subtype = str(asked.get("data_subtype"))
    pattern = _PATTERN.format(subtype if _SUBTYPE.fullmatch(subtype) else _IMAGES)

    def make(row: int, raw: Raw) -> Record:
        number, image_id = str(raw.get("question_id")), raw.get("image_id")
        if image_id is None or number not in known:
            raise BadRecordError("no_annotation", f"question {number}, image {image_id}")
        answers = [text_of(a, "answer") for a in objects_of(known[number], "answers")]
        answer = most_common(known[number], answers)
        origin = Origin(
            source=options.source,
            source_file=unit.name,
            source_row=row,
            source_key=number,
            image_id=str(image_id),
            coco_id=str(image_id),
            language="en",
        )
        turns = [("user", text_of(raw, "question")), ("assistant", answer)]
        image = options.image_name(str(image_id), pattern)
        return dialogue(origin, turns, [image], answers=answers)

    return tried(enumerate(questions), make)


def most_common(annotation: Mapping[str, Any], answers: Sequence[str]) -> str:
    """Return the annotation's own choice, else what was said most often, the first of equals.

    Raises:
        BadRecordError: `empty_answer`.
    """
    chosen = annotation.get("multiple_choice_answer")
    if isinstance(chosen, str) and chosen.strip():
        return chosen
    counts = Counter(answer for answer in answers if answer.strip())
    if not counts:
        raise BadRecordError("empty_answer", "nobody answered")
    return counts.most_common(1)[0][0]


FORMATS = (
    Format(
        name="vqa",
        level="dialogue",
        reader=vqa,
        about="questions of VQAv2's form, such as OK-VQA's",
        endings=(".json",),
        annotations="the file of answers",
        coco=True,
    ),
)
