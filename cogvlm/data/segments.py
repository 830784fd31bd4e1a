"""What a sequence is made of: texts, images, and the dialogues that templates make of turns.

Importing this module is free; `tokens` turns segments into token sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogvlm.model.registry import TEMPLATES
from shards.suggest import suggest

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_MARK = "<image>"


@dataclass(frozen=True)
class Text:
    """A stretch of text."""

    text: str
    target: bool = False  # trained on
    ends: bool = False  # an answer: EOS is to be predicted after it
    special: bool = False  # may name special tokens; a user's or the web's text never does


@dataclass(frozen=True)
class Picture:
    """An image, (3, size, size) float32 as `pixels.preprocess` makes it."""

    image: Tensor


Segment = Text | Picture


@dataclass(frozen=True)
class Turn:
    """A question, and its answer where there is one already."""

    question: str
    answer: str | None = None


def dialogue(
    turns: Sequence[Turn], images: Sequence[Tensor], template: str, *, train: bool = False
) -> list[Segment]:
    """Return the segments of a dialogue: a prompt, or with `train` every answer as a target.

    Images come before the first question, or where the questions say `<image>`. After a trained
    answer EOS is to be predicted, though the sequence goes on with the template's line break:
    that is what generation does, and what the next prompt looks like.

    Args:
        turns: Questions with their answers; a prompt's last one waits for its answer.
        images: Preprocessed images, in order.
        template: A name in `TEMPLATES` of the registry.
        train: Make every answer a target.

    Raises:
        ValueError: The template is unknown, an answer is missing, or the questions have another
            number of `<image>` marks than there are images.
    """
    if template not in TEMPLATES:
        raise ValueError(f"unknown template {template!r}; {suggest(template, TEMPLATES)}")
    around = TEMPLATES[template]
    first, questions = place_images([turn.question for turn in turns], images)
    segments: list[Segment] = [Text(around.start, special=around.special), *first]
    for number, (turn, question) in enumerate(zip(turns, questions, strict=True)):
        is_last = number == len(turns) - 1
        if turn.answer is None and (train or not is_last):
            raise ValueError(f"turn {number + 1} of {len(turns)} has no answer")
        segments += [Text(around.before, special=around.special), *question]
        segments.append(Text(around.after, special=around.special))
        if turn.answer is not None and train:
            segments.append(Text(turn.answer, target=True, ends=True))
        elif turn.answer is not None:
            segments.append(Text(around.past + turn.answer))
        if not is_last:
            segments.append(Text(around.end, special=around.special))
    return segments


def place_images(
    texts: Sequence[str], images: Sequence[Tensor]
) -> tuple[list[Segment], list[list[Segment]]]:
    """Return the images that come before all texts, and each text with those at its marks.

    Raises:
        ValueError: There are marks, but not as many as images.
    """
    marks = sum(text.count(IMAGE_MARK) for text in texts)
    if marks not in (0, len(images)):
        raise ValueError(f"the text has {marks} {IMAGE_MARK} marks for {len(images)} images")
    waiting: list[Segment] = [Picture(image) for image in images]
    placed: list[list[Segment]] = []
    for text in texts:
        first, *others = text.split(IMAGE_MARK)
        here: list[Segment] = [Text(first)]
        for piece in others:
            here += [waiting.pop(0), Text(piece)]
        placed.append(here)
    return waiting, placed
