"""The three texts that boxes and phrases become, and the ways between them.

A grounded caption (GC) has box text after its phrases; from it come REC (expression in, boxes out)
and REG (boxes in, description out), and these two into each other by swapping. No way loses a box.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cogvlm.data.tasks.example import Example
from cogvlm.data.tasks.fields import box_text
from cogvlm.data.tasks.reasons import Skip, SkipReason
from cogvlm.data.tasks.spans import Phrase, apart, phrases, recs, regs
from shards import boxtext
from shards.boxtext import Box

_LEADING_A = re.compile(r"^an?\s+", re.IGNORECASE)
_FINAL_PERIOD = re.compile(r"(?<=[^.])\.\Z")
_ABBREVIATION = re.compile(r"\.\S+\.\Z")  # U.S.


@dataclass(frozen=True)
class Rec:
    """An expression, and the boxes that it stands for."""

    expression: str  # as within a sentence: the dog
    boxes: str  # box text


@dataclass(frozen=True)
class Reg:
    """Boxes, and what is in them."""

    boxes: str  # box text
    description: str  # a sentence of its own: A dog.


class BoxTextReason(StrEnum):
    """Why a text gives no boxes."""

    NO_BOX_TEXT = "no_box_text"
    MALFORMED = "malformed_box_text"  # double brackets with something else between


def rec_of(caption: str, phrase: Phrase) -> Rec:
    """Return the REC of a phrase: an "a" or "an" becomes "the", as one is meant that is there."""
    return Rec(_expression(caption[phrase.start : phrase.end]), box_text(phrase.boxes_xyxy))


def reg_of(caption: str, phrase: Phrase) -> Reg:
    """Return the REG of a phrase: a capital and a period make it a sentence."""
    return Reg(box_text(phrase.boxes_xyxy), _sentence(caption[phrase.start : phrase.end]))


def rec_to_reg(rec: Rec) -> Reg:
    """Swap question and answer; `reg_to_rec` undoes it, but for a capital that is no article's."""
    return Reg(rec.boxes, _sentence(rec.expression))


def reg_to_rec(reg: Reg) -> Rec:
    """Swap question and answer.

    A capital stays unless it is an article's, since it may be a name's; so does the period of an
    abbreviation.
    """
    words = reg.description
    if not _ABBREVIATION.search(words):
        words = _FINAL_PERIOD.sub("", words)
    return Rec(re.sub(r"^The\b", "the", _expression(words)), reg.boxes)


def gc_to_recs_and_regs(example: Example) -> tuple[list[Rec], list[Reg]]:
    """Return all that may be asked of a grounded sample, by the rules of `shards.ambiguity`."""
    return (
        [rec_of(example.caption, phrase) for phrase in recs(example)],
        [reg_of(example.caption, phrase) for phrase in regs(example)],
    )


def grounded_captions(example: Example) -> list[str]:
    """Return the caption with box text after each phrase; nothing where no phrase has a box.

    Raises:
        Skip: The caption holds what reads as box text, so that nobody could tell it from ours.
    """
    text = example.text()
    boxed = phrases(example.fields, example.caption, example.options.grounding_units)
    if not boxed:
        return []
    written = with_boxes(text, apart(boxed))
    if without_boxes(written) != text:
        raise Skip(SkipReason.BAD_BOXES, f"the caption has double brackets of its own: {text!r}")
    return [written]


def with_boxes(caption: str, phrases: Sequence[Phrase]) -> str:
    """Return the caption with a space and box text after each phrase; these must not overlap."""
    text = caption
    for phrase in reversed(phrases):  # from the end, so that offsets stay
        text = f"{text[: phrase.end]} {box_text(phrase.boxes_xyxy)}{text[phrase.end :]}"
    return text


def without_boxes(text: str) -> str:
    """Return a grounded caption without its box texts and the space before each."""
    for box_text_at in reversed(boxtext.find(text)):
        start = box_text_at.start - text[: box_text_at.start].endswith(" ")
        text = text[:start] + text[box_text_at.end :]
    return text


def boxes_of(text: str) -> tuple[list[Box], BoxTextReason | None]:
    """Return all boxes that a text names, such as a model's answer, and why there are none.

    One malformed box text spoils the whole: what was meant by the others is not known either.
    """
    texts = boxtext.find(text)
    if not texts:
        return [], BoxTextReason.NO_BOX_TEXT
    if any(text_of_boxes.boxes is None for text_of_boxes in texts):
        return [], BoxTextReason.MALFORMED
    return [box for text_of_boxes in texts for box in text_of_boxes.boxes or ()], None


def _expression(words: str) -> str:
    return _LEADING_A.sub("the ", words)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith('.') else '.'}"
