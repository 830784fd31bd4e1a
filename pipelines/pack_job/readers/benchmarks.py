"""Benchmarks that ask one question at a time, each in the form of its publishers.

Goes in: a file of questions with their answers. Comes out: a record per question, with what its
task in `cogvlm.evaluate` needs beside it: `answers`, all that people gave, or `choices`. Where a
test split keeps its answers back, every question is `no_annotation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.pack_job.format import LINES, Format
from pipelines.pack_job.readers.conversations import coco_id
from pipelines.pack_job.readers.lines import Raw, by_id, json_lines, listed, rows, tried, whole
from pipelines.pack_job.readers.vqa import most_common
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


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A question of any benchmark."""

    number: Any  # the benchmark's own
    question: str
    answer: str
    image: str | None  # id or name; None: there is none
    pattern: str = "{}"  # of the image's file
    besides: dict[str, Any] = field(default_factory=dict)  # answers or choices


def textvqa(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read `{data: [{question_id, image_id, question, answers: [text]}]}`."""
    questions = listed(
        whole(unit.path), "data", unit.path, "give TextVQA_0.5.1_val.json or its like"
    )
    return _records(unit, options, enumerate(questions), _textvqa)


def docvqa(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read `{data: [{questionId, image, question, answers: [text]}]}`.

    InfographicVQA names its images in `image_local_name`.
    """
    questions = listed(
        whole(unit.path), "data", unit.path, "give val_v1.0.json of DocVQA or its like"
    )
    return _records(unit, options, enumerate(questions), _docvqa)


def vizwiz(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read a list of `{image, question, answers: [{answer}]}`."""
    return _records(unit, options, rows(unit), _vizwiz)


def pope(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read lines of `{question_id, image, text, label}`, which are published as `.json`."""
    return _records(unit, options, json_lines(unit), _pope)


def gqa(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read `{id: {imageId, question, answer}}`; the full answer is a sentence, and not used."""
    questions = by_id(unit.path, "give testdev_balanced_questions.json of GQA or its like")
    return _records(unit, options, enumerate(questions), _gqa)


def mm_vet(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read `{id: {imagename, question, answer}}`; `<AND>` and `<OR>` of answers are the judge's."""
    questions = by_id(unit.path, "give mm-vet.json")
    return _records(unit, options, enumerate(questions), _mm_vet)


def scienceqa(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read `{id: {split, image, hint, question, choices, answer: index}}`; `--split` takes a part.

    The text has the choices, too: many problems without an image differ in nothing else, and would
    have the same key.
    """
    from grounding.annotated.annotations import of_split

    problems = by_id(unit.path, "give ScienceQA's problems.json")
    chosen = of_split([{"split": None, **raw} for raw in problems], options.split, unit.path)
    records = _records(unit, options, ((raw["row"], raw) for raw in chosen), _scienceqa)
    return (record if isinstance(record, Bad) else _with_choices(record) for record in records)


def _textvqa(raw: Raw) -> _Asked:
    return _open(raw, raw.get("question_id"), text_of(raw, "image_id"), "{}.jpg")


def _docvqa(raw: Raw) -> _Asked:
    name = text_of(raw, "image" if "image" in raw else "image_local_name")
    return _open(raw, raw.get("questionId"), name)


def _vizwiz(raw: Raw) -> _Asked:
    name = text_of(raw, "image")
    return _open(raw, name, name)  # there is one question about an image


def _pope(raw: Raw) -> _Asked:
    return _Asked(
        number=raw.get("question_id"),
        question=text_of(raw, "text"),
        answer=_answer(raw, "label"),
        image=text_of(raw, "image"),
    )


def _gqa(raw: Raw) -> _Asked:
    return _Asked(
        number=raw["id"],
        question=text_of(raw, "question"),
        answer=_answer(raw, "answer"),
        image=text_of(raw, "imageId"),
        pattern="{}.jpg",
    )


def _mm_vet(raw: Raw) -> _Asked:
    return _Asked(
        number=raw["id"],
        question=text_of(raw, "question"),
        answer=_answer(raw, "answer"),
        image=text_of(raw, "imagename"),
    )


def _scienceqa(raw: Raw) -> _Asked:
    choices, right = raw.get("choices"), raw.get("answer")
    if not isinstance(choices, list) or not all(isinstance(text, str) for text in choices):
        raise BadRecordError("record_malformed", "choices is not a list of texts")
    if type(right) is not int or not 0 <= right < len(choices):
        detail = f"the answer is {str(right)[:60]}, of {len(choices)} choices"
        raise BadRecordError("record_malformed", detail)
    question, hint = text_of(raw, "question"), raw.get("hint")
    if hint and question.strip():
        question = f"{text_of(raw, 'hint')}\n{question}"
    has_image = raw.get("image") is not None
    return _Asked(
        number=raw["id"],
        question=question,
        answer=choices[right],
        image=f"{raw['split']}/{raw['id']}/{text_of(raw, 'image')}" if has_image else None,
        besides={"choices": choices},
    )


def _open(raw: Raw, number: Any, image: str, pattern: str = "{}") -> _Asked:
    """Return a question that several people answered, as texts or as objects with an `answer`."""
    answers = raw.get("answers")
    if not answers:
        raise BadRecordError("no_annotation", f"question {number} has no answers")
    if not isinstance(answers, list) or not all(isinstance(text, str) for text in answers):
        answers = [text_of(answer, "answer") for answer in objects_of(raw, "answers")]
    return _Asked(
        number=number,
        question=text_of(raw, "question"),
        answer=most_common({}, answers),
        image=image,
        pattern=pattern,
        besides={"answers": answers},
    )


def _answer(raw: Raw, name: str) -> str:
    if raw.get(name) is None:
        raise BadRecordError("no_annotation", f"there is no {name}")
    return text_of(raw, name)


def _records(
    unit: Unit,
    options: ReadOptions,
    questions: Iterable[tuple[int, Raw | Bad]],
    read: Callable[[Raw], _Asked],
) -> Iterator[Record | Bad]:
    def make(row: int, raw: Raw) -> Record:
        asked = read(raw)
        origin = Origin(
            source=options.source,
            source_file=unit.name,
            source_row=row,
            source_key=None if asked.number is None else str(asked.number),
            image_id=asked.image,
            coco_id=coco_id(asked.image) if asked.image else None,
            language="en",
        )
        ids = [] if asked.image is None else [asked.image]
        images = [options.image_name(image_id, asked.pattern) for image_id in ids]
        turns = [("user", asked.question), ("assistant", asked.answer)]
        return dialogue(origin, turns, images, **asked.besides)

    return tried(iter(questions), make)


def _with_choices(record: Record) -> Record:
    question, answer = (turn["content"] for turn in record.fields["conversations"])
    return replace(record, text="\n".join([question, *record.fields["choices"], answer]))


FORMATS = (
    Format(
        name="textvqa",
        level="dialogue",
        reader=textvqa,
        about="`TextVQA_0.5.1_val.json` and its like",
        endings=(".json",),
    ),
    Format(
        name="docvqa",
        level="dialogue",
        reader=docvqa,
        about="DocVQA: `val_v1.0.json` and its like; InfographicVQA",
        endings=(".json",),
    ),
    Format(
        name="vizwiz",
        level="dialogue",
        reader=vizwiz,
        about="`val.json` of VizWiz's questions",
        endings=(".json",),
    ),
    Format(
        name="gqa",
        level="dialogue",
        reader=gqa,
        about="`testdev_balanced_questions.json` of GQA and its like",
        endings=(".json",),
        coco=True,
        ids=False,
    ),
    Format(
        name="pope",
        level="dialogue",
        reader=pope,
        about="`coco_pope_random.json` and its like, which hold lines whatever they end in",
        endings=(".json", *LINES),
        coco=True,
    ),
    Format(
        name="scienceqa",
        level="dialogue",
        reader=scienceqa,
        about="`problems.json` of ScienceQA",
        endings=(".json",),
        splits=True,
    ),
    Format(
        name="mm_vet",
        level="dialogue",
        reader=mm_vet,
        about="`mm-vet.json`",
        endings=(".json",),
    ),
)
