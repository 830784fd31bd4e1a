"""Which phrases of a caption name more than one thing, so that a box does not answer them.

Goes in: all phrases of a caption, boxed or not, and their boxes. Comes out: for each phrase why it
must not be asked for (or be an answer) by itself, or None. A grounded caption needs no such rule:
there the caption says which is meant. Phrases are English; others pass all rules but `same_head`,
`same_text` and `whole_image`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from shards.boxtext import Box
from shards.grounded import Phrase

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_ANAPHORS = frozenset(
    _WORD.findall("another other others same such each either neither second third last next rest")
)
_ANAPHORIC_STARTS = (("the", "other"), ("the", "others"), ("one", "of"), ("the", "rest"))
_SINGULAR = frozenset(("a", "an", "one", "this", "that"))
# For phrases whose part of speech nobody kept.
_PRONOUNS = frozenset(
    _WORD.findall("""
    i me you he him she her it we us they them myself yourself himself herself itself ourselves
    themselves who whom which what that this these those someone somebody something anyone anybody
    anything everyone everybody everything nobody nothing
    """)
)
_WHOLE_IMAGE = 0.95  # a single box that covers more of the image answers no question


class AmbiguityReason(StrEnum):
    """Why a phrase does not stand for its boxes; the first that holds."""

    ANAPHOR = "anaphor"  # another man, the other one
    PRONOUN = "pronoun"
    SAME_HEAD = "same_head"  # another phrase has its head and not its boxes
    SAME_TEXT = "same_text"  # the caption has it twice
    COUNT = "count"  # one thing by its words, several boxes
    WHOLE_IMAGE = "whole_image"  # its box is the whole image, so where it is need not be asked


def ambiguous(
    phrases: Sequence[Phrase],
    caption: str,
    boxes: Sequence[Sequence[Box]],
    task: Literal["rec", "reg"],
) -> list[AmbiguityReason | None]:
    """Return, for each phrase, the first rule that forbids it for a task.

    Args:
        phrases: All of the caption, those without a box and those never looked for as well: a twin
            that lost its box is a twin.
        caption: What their spans are of.
        boxes: Of each phrase, the best score first; empty where it has none.
        task: Asking for boxes (`rec`), or for the words (`reg`).
    """
    words = [_words(caption[phrase.start : phrase.end]) for phrase in phrases]
    heads = [phrase.head_lemma.casefold() for phrase in phrases]
    spans_of_text = Counter(
        text
        for text, _ in {
            (text, (phrase.start, phrase.end)) for text, phrase in zip(words, phrases, strict=True)
        }
    )

    def reason(number: int) -> AmbiguityReason | None:
        own = boxes[number]
        if _is_anaphor(words[number], heads[number]):
            return AmbiguityReason.ANAPHOR
        if phrases[number].root_pos == "PRON":
            return AmbiguityReason.PRONOUN
        if any(
            heads[other] == heads[number] and {*boxes[other]} != {*boxes[number]}
            for other in range(len(phrases))
        ):
            return AmbiguityReason.SAME_HEAD
        if spans_of_text[words[number]] > 1:
            return AmbiguityReason.SAME_TEXT
        if len(own) > 1 and words[number][0] in _SINGULAR:
            return AmbiguityReason.COUNT
        if task == "rec" and len(own) == 1 and _area(own[0]) > _WHOLE_IMAGE:
            return AmbiguityReason.WHOLE_IMAGE
        return None

    return [reason(number) for number in range(len(phrases))]


def phrase_at(caption: str, start: int, end: int) -> Phrase:
    """Return the phrase of a span of which nothing else was kept: its last word is its head."""
    words = list(_WORD.finditer(caption, start, end))
    head_start, head_end = words[-1].span() if words else (start, end)
    head = caption[head_start:head_end].lower()
    is_pronoun = len(words) == 1 and head in _PRONOUNS
    return Phrase(
        start=start,
        end=end,
        head_start=head_start,
        head_end=head_end,
        head_lemma=head,
        root_pos="PRON" if is_pronoun else "NOUN",
    )


def _words(text: str) -> tuple[str, ...]:
    """Return a phrase without case, spaces and punctuation; a text without words is one."""
    return tuple(_WORD.findall(text.casefold())) or (text.casefold(),)


def _is_anaphor(words: tuple[str, ...], head: str) -> bool:
    return words[0] in _ANAPHORS or words[:2] in _ANAPHORIC_STARTS or head == "one"


def _area(box: Box) -> float:
    x0, y0, x1, y1 = box
    return max(x1 - x0, 0.0) * max(y1 - y0, 0.0)
