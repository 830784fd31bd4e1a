"""REC, REG and grounded captions: questions about grounded samples."""

from __future__ import annotations

from typing import Literal

from cogvlm.data.segments import IMAGE_MARK, Segment, Turn
from cogvlm.data.task import Task
from cogvlm.data.tasks.conversions import grounded_captions, rec_of, reg_of
from cogvlm.data.tasks.example import Example
from cogvlm.data.tasks.pools import Language, heads
from cogvlm.data.tasks.reasons import Skip, SkipReason
from cogvlm.data.tasks.spans import Phrase, judged

NOT_THERE: dict[Language, str] = {"en": "Not in the image.", "zh": "图中没有。"}


def rec(example: Example) -> list[Segment]:
    """Referring expression comprehension: a phrase in, its boxes out."""
    asked = rec_of(example.caption, _one_of(example, "rec"))
    words, answer = asked.expression, asked.boxes
    if (missing := _missing_head(example)) is not None:
        words, answer = f"the {missing}", NOT_THERE[example.language("rec")]
    question = example.question("rec", phrase=words)
    return example.segments("rec", [Turn(_plain(question), answer)])


def reg(example: Example) -> list[Segment]:
    """Referring expression generation: boxes in, the phrase out."""
    asked = reg_of(example.caption, _one_of(example, "reg"))
    question = example.question("reg", boxes=asked.boxes)
    return example.segments("reg", [Turn(question, asked.description)])


def grounded_caption(example: Example) -> list[Segment]:
    """Return a question, and the caption with box text after each phrase."""
    captions = grounded_captions(example)
    if not captions:
        raise Skip(SkipReason.NO_PHRASE)
    turn = Turn(example.question("grounded_caption"), captions[0])
    return example.segments("grounded_caption", [turn])


def _one_of(example: Example, task: Literal["rec", "reg"]) -> Phrase:
    """Return the phrase of this visit."""
    judgements = judged(example, task)
    usable = [phrase for phrase, reason in judgements if reason is None]
    if not usable:
        raise Skip(SkipReason.NO_PHRASE, ", ".join(reason for _, reason in judgements if reason))
    return usable[example.choose("phrase", len(usable))]


def _missing_head(example: Example) -> str | None:
    """Return a noun that the caption does not mention if this visit is to ask for one.

    A sample gives it only where it could be asked for a phrase as well: the setting changes what
    is asked, not which samples are used.
    """
    options = example.options
    if not example.chance("negative", options.negatives):
        return None
    unsaid = [
        head for head, mention in heads(options.prompts) if not mention.search(example.caption)
    ]
    return unsaid[example.choose("negative head", len(unsaid))] if unsaid else None


def _plain(question: str) -> str:
    """A caption may say <image>, which in a question would be the place of one."""
    return question.replace(IMAGE_MARK, "image")


TASKS = (
    Task(
        name="rec",
        help="Referring expression comprehension: a phrase in, its boxes out.",
        make=rec,
        levels=("grounded",),
        has_pool=True,
        slot="phrase",
    ),
    Task(
        name="reg",
        help="Referring expression generation: boxes in, the phrase out.",
        make=reg,
        levels=("grounded",),
        has_pool=True,
        slot="boxes",
    ),
    Task(
        name="grounded_caption",
        help="A question, and the caption with box text after each phrase.",
        make=grounded_caption,
        levels=("grounded",),
        has_pool=True,
    ),
)
