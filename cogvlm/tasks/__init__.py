"""What is asked of a sample and what the model must answer: shards hold truth, tasks are made here.

A task turns an example into segments of a sequence, the answers as targets. All choices (which
phrase, which wording) are a hash of seed, epoch, key and what is chosen: the same on every visit
of a resumed run, another in the next epoch. A sample that a task can do nothing with is left out
under a reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal, NoReturn

import numpy as np
import xxhash
from torch import Tensor

from cogvlm.tokens import IMAGE_MARK, Picture, Segment, Text, Turn, dialogue
from cogvlm.train_config import TaskName
from shards import boxtext
from shards.ambiguity import AmbiguityReason, ambiguous, phrase_at
from shards.identity import Domain, choice
from shards.phrases import Phrase as Record

BOXES_MARK = "<boxes>"
MAX_BOXES = 10  # of one phrase, the best first
_LEADING_A = re.compile(r"^an?\s+", re.IGNORECASE)
_HUGE = 1e9  # no place of a caption and no coordinate is that far off

# "Where is {phrase}?" is the paper's wording; the others are ours.
WHERE = (
    "Where is {phrase}?",
    "Where can {phrase} be found in the picture?",
    "Give the place of {phrase} in the image.",
    "Point out {phrase}.",
    "Which region of the image shows {phrase}?",
)
WHAT = (
    "What is at {boxes}?",
    "What does the region {boxes} show?",
    "Describe what is inside {boxes}.",
    "Name the thing at {boxes}.",
)
GROUND = (
    "Describe the image and give the place of everything that you name.",
    "What does the picture show? Add coordinates to the things you mention.",
    "Write a caption with a box after each thing in it.",
)


class SkipReason(StrEnum):
    """Why a slot of a batch stays empty."""

    TAR_DAMAGED = "tar_damaged"
    JSON_DAMAGED = "json_damaged"
    SAMPLE_INCOMPLETE = "sample_incomplete"
    IMAGE_DAMAGED = "image_damaged"
    DOES_NOT_FIT = "does_not_fit"  # too long, or an image right after an answer
    NO_TEXT = "no_text"
    NO_PHRASE = "no_phrase"  # with a box, and clear by itself
    BAD_BOXES = "bad_boxes"  # not four finite numbers, or of no part of the caption
    BAD_CONVERSATION = "bad_conversation"  # roles or marks that do not fit
    BAD_DOCUMENT = "bad_document"


FAULTS = frozenset({*SkipReason} - {SkipReason.NO_PHRASE, SkipReason.DOES_NOT_FIT})
"""Reasons that are something wrong with a sample: named one by one. The others are counted."""


class Skip(Exception):
    """A sample that gives nothing for a task."""

    def __init__(self, reason: SkipReason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Example:
    """What a task is given."""

    key: str  # of the sample
    caption: str
    images: Sequence[Tensor]  # (3, size, size) each
    fields: Mapping[str, Any]  # the sample's JSON
    template: str  # a name in tokens.TEMPLATES
    seed: int
    epoch: int

    def choose(self, domain: Domain, what: str, size: int) -> int:
        """Return a number below `size`, the same for the same seed, epoch, key and `what`."""
        word = xxhash.xxh3_64_intdigest(f"{self.key}\0{self.epoch}\0{what}".encode())
        return int(choice(domain, self.seed, np.array([[word, 0]], np.uint64))[0]) % size

    def word(self, pool: Sequence[str], what: str) -> str:
        """Return one wording of a pool."""
        return pool[self.choose(Domain.PROMPT, what, len(pool))]


@dataclass(frozen=True)
class Phrase:
    """A phrase of the caption with its boxes."""

    start: int  # code points of the caption, end-exclusive
    end: int
    boxes_xyxy: tuple[tuple[float, float, float, float], ...]  # 0..1, best score first


def make(task: TaskName, example: Example) -> list[Segment]:
    """Return the segments of a task.

    Raises:
        Skip: The sample gives nothing for it.
    """
    return TASKS[task](example)


def caption(example: Example) -> list[Segment]:
    """Return image and caption; the prompt is empty, as the base models are used."""
    template = "glm4" if example.template == "glm4" else "base"
    return _dialogue(example, [Turn("", _text(example))], template)


def rec(example: Example) -> list[Segment]:
    """Referring expression comprehension: a phrase in, its boxes out."""
    phrase = _one_of(judged(example, "rec"), example)
    text = _LEADING_A.sub("the ", example.caption[phrase.start : phrase.end])
    question = example.word(WHERE, "rec").format(phrase=text)
    return _dialogue(example, [Turn(_plain(question), _box_text(phrase.boxes_xyxy))])


def reg(example: Example) -> list[Segment]:
    """Referring expression generation: boxes in, the phrase out."""
    phrase = _one_of(judged(example, "reg"), example)
    question = example.word(WHAT, "reg").format(boxes=_box_text(phrase.boxes_xyxy))
    text = example.caption[phrase.start : phrase.end]
    answer = f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
    return _dialogue(example, [Turn(question, answer)])


def grounded_caption(example: Example) -> list[Segment]:
    """Return a question, and the caption with box text after each phrase."""
    captions = grounded_captions(example)
    if not captions:
        raise Skip(SkipReason.NO_PHRASE)
    return _dialogue(example, [Turn(example.word(GROUND, "grounded_caption"), captions[0])])


def chat(example: Example) -> list[Segment]:
    """Return a conversation; every answer of it is a target. Boxes are written at their marks."""
    said = conversation(example.fields)
    if not said or len(said) % 2:
        _bad("user and assistant must alternate, and the assistant have the last word")
    turns = []
    for question, answer in zip(said[::2], said[1::2], strict=True):
        if (roles := (question.get("role"), answer.get("role"))) != ("user", "assistant"):
            _bad(f"a turn of {roles[0]!r} and {roles[1]!r}")
        turns.append(Turn(_with_boxes(question), _with_boxes(answer)))
        if not str(turns[-1].answer).strip():
            _bad("an empty answer")
    return _dialogue(example, turns)


def vqa(example: Example) -> list[Segment]:
    """Return a conversation with short answers, in the style that is kept for them."""
    template = "vqa" if example.template == "chat" else example.template
    return chat(replace(example, template=template))


def document(example: Example) -> list[Segment]:
    """Return texts and images in their order; all text is a target (VILA, section 3)."""
    segments: list[Segment] = []
    items = example.fields.get("items") or []
    if not isinstance(items, list):
        raise Skip(SkipReason.BAD_DOCUMENT, f"items {items!r}")
    for item in items:
        if not isinstance(item, dict):
            raise Skip(SkipReason.BAD_DOCUMENT, f"item {item!r}")
        if isinstance(text := item.get("text"), str):
            segments.append(Text(text, target=True))
        elif isinstance(number := item.get("image"), int) and 0 <= number < len(example.images):
            segments.append(Picture(example.images[number]))
        else:
            raise Skip(SkipReason.BAD_DOCUMENT, f"item {item!r}")
    return _ended(segments)


def text(example: Example) -> list[Segment]:
    """Return a text without an image; all of it is a target."""
    return _ended([Text(_text(example), target=True)])


TASKS: dict[TaskName, Callable[[Example], list[Segment]]] = {
    "caption": caption,
    "rec": rec,
    "reg": reg,
    "grounded_caption": grounded_caption,
    "grounded_vqa": chat,
    "dialogue": chat,
    "vqa": vqa,
    "document": document,
    "text": text,
}

# What a shard set must hold for a task; grounded samples are image-text pairs, too.
LEVELS: dict[TaskName, tuple[str, ...]] = {
    "caption": ("image_text", "grounded"),
    "rec": ("grounded",),
    "reg": ("grounded",),
    "grounded_caption": ("grounded",),
    "grounded_vqa": ("dialogue",),
    "dialogue": ("dialogue",),
    "vqa": ("dialogue",),
    "document": ("document",),
    "text": ("text",),
}


def box_rows(fields: Mapping[str, Any], name: str) -> list[list[float]]:
    """Return `noun_chunks` or `ref_exps`: rows [start, end, x0, y0, x1, y1, score].

    Raises:
        Skip: They are not that.
    """
    rows = fields.get(name) or []
    if not isinstance(rows, list) or not all(_are_numbers(row, 7) for row in rows):
        raise Skip(SkipReason.BAD_BOXES, f"{name} is no list of rows of seven finite numbers")
    return rows


def conversation(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the turns of a dialogue sample, none for others.

    Raises:
        Skip: They are no list of objects with lists of lists of boxes.
    """
    said = fields.get("conversations") or []
    if not isinstance(said, list) or not all(isinstance(turn, dict) for turn in said):
        _bad("conversations is no list of objects")
    for turn in said:
        boxes = turn.get("boxes") or []
        if not isinstance(boxes, list) or not all(isinstance(each, list) for each in boxes):
            _bad(f"the boxes of a turn are {boxes!r}")
        if not all(_are_numbers(box, 4) for each in boxes for box in each):
            raise Skip(SkipReason.BAD_BOXES, f"not four finite numbers each: {boxes!r}")
    return said


def phrases(fields: Mapping[str, Any], caption: str) -> list[Phrase]:
    """Return the phrases of a grounded sample that have a box with an area, by start and length.

    Raises:
        Skip: A row of boxes is none, or of no part of the caption.
    """
    boxes: dict[tuple[int, int], list[list[float]]] = {}
    for row in box_rows(fields, "noun_chunks"):
        start, end = int(row[0]), int(row[1])
        if not 0 <= start < end <= len(caption):
            where = f"a phrase at {start}..{end} in a caption of {len(caption)} characters"
            raise Skip(SkipReason.BAD_BOXES, where)
        boxes.setdefault((start, end), []).append(row[2:])
    found = [
        Phrase(
            start,
            end,
            tuple(
                (box[0], box[1], box[2], box[3])
                for box in sorted(rows, key=lambda row: -row[4])[:MAX_BOXES]
            ),
        )
        for (start, end), rows in sorted(boxes.items())
    ]
    return [phrase for phrase in found if _box_text(phrase.boxes_xyxy)]


def recs(example: Example) -> list[Phrase]:
    """Return the phrases whose boxes may be asked for."""
    return [phrase for phrase, reason in judged(example, "rec") if reason is None]


def regs(example: Example) -> list[Phrase]:
    """Return the phrases that may be asked for, given their boxes."""
    return [phrase for phrase, reason in judged(example, "reg") if reason is None]


def grounded_captions(example: Example) -> list[str]:
    """Return the caption with box text after each phrase; nothing where no phrase has a box."""
    text, found = _text(example), phrases(example.fields, example.caption)
    for phrase in reversed(_apart(found)):
        box_text = _box_text(phrase.boxes_xyxy)
        text = f"{text[: phrase.end]} {box_text}{text[phrase.end :]}"
    return [text] if found else []


def judged(
    example: Example, task: Literal["rec", "reg"]
) -> list[tuple[Phrase, AmbiguityReason | None]]:
    """Return the phrases with boxes, and why one does not stand for its boxes by itself."""
    whole = _text(example)
    boxed = {(each.start, each.end): each for each in phrases(example.fields, example.caption)}
    said = _records(example)
    boxes = [boxed[span].boxes_xyxy if span in boxed else () for span in said]
    reasons = ambiguous([*said.values()], whole, boxes, task)
    return [
        (boxed[span], reason) for span, reason in zip(said, reasons, strict=True) if span in boxed
    ]


def _one_of(found: list[tuple[Phrase, AmbiguityReason | None]], example: Example) -> Phrase:
    """Return the phrase of this visit."""
    usable = [phrase for phrase, reason in found if reason is None]
    if not usable:
        raise Skip(SkipReason.NO_PHRASE, ", ".join(reason for _, reason in found if reason))
    return usable[example.choose(Domain.TASK, "phrase", len(usable))]


def _records(example: Example) -> dict[tuple[int, int], Record]:
    """Return all phrases of the caption by their spans, made up where only a span is known."""
    spans = [(int(row[0]), int(row[1])) for row in box_rows(example.fields, "noun_chunks")]
    found = {span: phrase_at(example.caption, *span) for span in spans}
    others = example.fields.get("phrases")
    for each in others if isinstance(others, list) else ():
        pair: list[Any] = [each.get("start"), each.get("end")] if isinstance(each, dict) else []
        if _are_numbers(pair, 2) and 0 <= pair[0] < pair[1] <= len(example.caption):
            record = phrase_at(example.caption, int(pair[0]), int(pair[1]))
            head, part = each.get("head_lemma"), each.get("root_pos")
            if head and isinstance(head, str):
                record = replace(record, head_lemma=head)
            if part and isinstance(part, str):
                record = replace(record, root_pos=part)
            found[record.start, record.end] = record
    return dict(sorted(found.items()))


def _apart(found: Sequence[Phrase]) -> list[Phrase]:
    """Return phrases that do not overlap, those with most boxes first, then longest, then first."""

    def value(phrase: Phrase) -> tuple[int, int, int]:
        return -len(phrase.boxes_xyxy), phrase.start - phrase.end, phrase.start

    taken: list[Phrase] = []
    for phrase in sorted(found, key=value):
        if all(phrase.end <= other.start or other.end <= phrase.start for other in taken):
            taken.append(phrase)
    return sorted(taken, key=lambda phrase: phrase.start)


def _dialogue(
    example: Example, turns: Sequence[Turn], template: str | None = None
) -> list[Segment]:
    try:
        return dialogue(turns, example.images, template or example.template, train=True)
    except ValueError as error:  # marks and images that do not fit
        raise Skip(SkipReason.BAD_CONVERSATION, str(error)) from error


def _text(example: Example) -> str:
    if not example.caption.strip():
        raise Skip(SkipReason.NO_TEXT)
    return example.caption


def _plain(question: str) -> str:
    """A caption may say <image>, which in a question would be the place of one."""
    return question.replace(IMAGE_MARK, "image")


def _content(said: Mapping[str, Any]) -> str:
    content = said.get("content")
    if not isinstance(content, str):
        _bad(f"the content of a turn is {content!r}")
    return content


def _box_text(boxes: Any) -> str:
    try:
        return boxtext.encode(boxes)
    except ValueError as error:
        raise Skip(SkipReason.BAD_BOXES, str(error)) from error


def _are_numbers(row: Any, size: int) -> bool:
    """Whether this is a list of so many finite numbers."""
    return (
        isinstance(row, list)
        and len(row) == size
        and all(isinstance(each, int | float) and abs(each) < _HUGE for each in row)
    )


def _with_boxes(said: Mapping[str, Any]) -> str:
    first, *others = _content(said).split(BOXES_MARK)
    boxes = said.get("boxes") or []
    if len(boxes) != len(others):
        _bad(f"{len(others)} {BOXES_MARK} marks for {len(boxes)} entries of boxes")
    return first + "".join(
        _box_text(each) + after for each, after in zip(boxes, others, strict=True)
    )


def _bad(detail: str) -> NoReturn:
    raise Skip(SkipReason.BAD_CONVERSATION, detail)


def _ended(segments: list[Segment]) -> list[Segment]:
    """Let EOS be predicted after the last text; images and blanks at the very end are left out."""
    while segments:
        last = segments.pop()
        if isinstance(last, Text) and last.text.strip():
            return [*segments, replace(last, ends=True)]
    raise Skip(SkipReason.NO_TEXT)


__all__ = [
    "LEVELS",
    "TASKS",
    "Example",
    "Phrase",
    "Skip",
    "SkipReason",
    "grounded_captions",
    "judged",
    "make",
    "phrases",
    "recs",
    "regs",
]
