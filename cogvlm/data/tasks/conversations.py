"""Dialogues, short answers and grounded question answering: conversations as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from cogvlm.data.segments import Segment, Turn
from cogvlm.data.task import Task
from cogvlm.data.tasks.conversions import BoxTextReason, boxes_of
from cogvlm.data.tasks.example import Example
from cogvlm.data.tasks.fields import box_text, conversation
from cogvlm.data.tasks.reasons import Skip, SkipReason
from cogvlm.model.registry import TEMPLATES

BOXES_MARK = "<boxes>"


def chat(example: Example) -> list[Segment]:
    """Return a conversation; every answer of it is a target. Boxes are written at their marks."""
    return example.segments("dialogue", turns(example))


def vqa(example: Example) -> list[Segment]:
    """Return a conversation with short answers, in the style that is kept for them."""
    return example.segments("vqa", turns(example), TEMPLATES[example.template].short)


def grounded_vqa(example: Example) -> list[Segment]:
    """Return a conversation in which questions ask for boxes where their answers have some.

    Box text that was written by others must be as we write it, or as our parser reads it.
    """
    asked = []
    for number, turn in enumerate(turns(example)):
        answer = turn.answer or ""
        for text in (turn.question, answer):
            if boxes_of(text)[1] == BoxTextReason.MALFORMED:
                raise Skip(SkipReason.BAD_BOXES, f"malformed box text in {text!r}")
        question = turn.question
        if boxes_of(answer)[0]:
            what = f"grounded_vqa {number}"
            question = example.question("grounded_vqa", what, question=question)
        asked.append(replace(turn, question=question))
    return example.segments("grounded_vqa", asked)


def turns(example: Example) -> list[Turn]:
    """Return questions and answers with their boxes as text.

    Raises:
        Skip: They do not alternate, an answer is empty, or marks and boxes do not fit.
    """
    messages = conversation(example.fields)
    if not messages or len(messages) % 2:
        _bad("user and assistant must alternate, and the assistant have the last word")
    pairs = []
    for question, answer in zip(messages[::2], messages[1::2], strict=True):
        if (roles := (question.get("role"), answer.get("role"))) != ("user", "assistant"):
            _bad(f"a turn of {roles[0]!r} and {roles[1]!r}")
        pairs.append(Turn(_with_boxes(question), _with_boxes(answer)))
        if not str(pairs[-1].answer).strip():
            _bad("an empty answer")
    return pairs


def _with_boxes(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if not isinstance(content, str):
        _bad(f"the content of a turn is {content!r}")
    first, *others = content.split(BOXES_MARK)
    boxes = message.get("boxes") or []
    if len(boxes) != len(others):
        _bad(f"{len(others)} {BOXES_MARK} marks for {len(boxes)} entries of boxes")
    return first + "".join(
        box_text(each) + after for each, after in zip(boxes, others, strict=True)
    )


def _bad(detail: str) -> NoReturn:
    raise Skip(SkipReason.BAD_CONVERSATION, detail)


TASKS = (
    Task(
        name="dialogue",
        help="A conversation; every answer is a target, boxes are written at their marks.",
        make=chat,
        levels=("dialogue",),
    ),
    Task(
        name="vqa",
        help="A conversation with short answers, in the template's style for them.",
        make=vqa,
        levels=("dialogue",),
    ),
    Task(
        name="grounded_vqa",
        help="A conversation whose questions ask for boxes where the answers have some.",
        make=grounded_vqa,
        levels=("dialogue",),
        has_pool=True,
        slot="question",
    ),
)
