"""Texts and images to token sequences: templates, targets, image slots.

A sequence is BOS, then segments in order. Texts between two targets or images are one string for
the tokenizer, as in the official code; an answer that is trained on is tokenized by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from cogvlm.data.tokenizer import Tokenizer
from cogvlm.model.config import ModelConfig
from cogvlm.model.layout import IGNORE, Sample

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
    """An image, (3, size, size) float32 as `image.preprocess` makes it."""

    image: Tensor


Segment = Text | Picture


@dataclass(frozen=True)
class Turn:
    """A question, and its answer where there is one already."""

    question: str
    answer: str | None = None


@dataclass(frozen=True)
class Template:
    """Text around a dialogue's images, questions and answers."""

    before: str  # before a question
    after: str  # between a question and its answer
    past: str = " "  # before an answer that was given earlier
    end: str = "\n"  # after the answer of a turn that is not the last
    start: str = ""  # before the images
    special: bool = False  # the template itself names special tokens


# The base models take a bare query; a caption has none. chat and vqa are CogVLM's two styles.
TEMPLATES = {
    "base": Template("", ""),
    "chat": Template("Question: ", " Answer:"),
    "vqa": Template("Question: ", " Short answer:"),
    "glm4": Template(
        before="",
        after="<|assistant|>\n",
        past="",
        end="<|user|>\n",
        start="[gMASK]<sop><|user|>\n",
        special=True,
    ),
}


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
        template: A name in `TEMPLATES`.
        train: Make every answer a target.

    Raises:
        ValueError: The template is unknown, an answer is missing, or the questions have another
            number of `<image>` marks than there are images.
    """
    if template not in TEMPLATES:
        raise ValueError(f"unknown template {template!r}; known: {', '.join(TEMPLATES)}")
    way = TEMPLATES[template]
    first, questions = place_images([turn.question for turn in turns], images)
    segments: list[Segment] = [Text(way.start, special=way.special), *first]
    for number, (turn, question) in enumerate(zip(turns, questions, strict=True)):
        is_last = number == len(turns) - 1
        if turn.answer is None and (train or not is_last):
            raise ValueError(f"turn {number + 1} of {len(turns)} has no answer")
        segments += [Text(way.before, special=way.special), *question]
        segments.append(Text(way.after, special=way.special))
        if turn.answer is not None and train:
            segments.append(Text(turn.answer, target=True, ends=True))
        elif turn.answer is not None:
            segments.append(Text(way.past + turn.answer))
        if not is_last:
            segments.append(Text(way.end, special=way.special))
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


def encode(segments: Iterable[Segment], tokenizer: Tokenizer, config: ModelConfig) -> Sample:
    """Return the token sequence of segments.

    Raises:
        ValueError: It is longer than the model's context.
    """
    ids = [] if config.bos_id is None else [config.bos_id]
    labels = [IGNORE] * len(ids)
    spans, images, is_ended = [], [], False
    for segment in _merged(segments):
        if isinstance(segment, Picture):
            spans.append((len(ids), len(ids) + config.span_size))
            images.append(segment.image)
            new, wanted = _slots(config), [IGNORE] * config.span_size
        else:
            new = tokenizer.encode(segment.text, special=segment.special)
            wanted = list(new) if segment.target else [IGNORE] * len(new)
        if is_ended and new:
            if isinstance(segment, Picture):
                raise ValueError("an image follows an answer directly; put text between them")
            wanted[0] = config.eos_id
        ids += new
        labels += wanted
        is_ended = isinstance(segment, Text) and segment.ends
    if is_ended:
        ids.append(config.eos_id)
        labels.append(config.eos_id)
    if len(ids) > config.max_positions:
        raise ValueError(
            f"the sequence has {len(ids)} tokens ({len(images)} images of {config.span_size}), "
            f"but the model's context is {config.max_positions}"
        )
    return Sample(ids, labels, spans, images)


def _slots(config: ModelConfig) -> list[int]:
    if not config.boundary_ids:
        return [config.pad_id] * config.span_size
    boi_id, eoi_id = config.boundary_ids
    return [boi_id, *[config.pad_id] * config.image_tokens, eoi_id]


def _merged(segments: Iterable[Segment]) -> list[Segment]:
    """Join neighbouring texts of one kind that are not trained on."""
    merged: list[Segment] = []
    for segment in segments:
        last = merged[-1] if merged else None
        if isinstance(segment, Text) and not segment.text and not segment.ends:
            continue
        if isinstance(segment, Text) and isinstance(last, Text) and _one_string(last, segment):
            merged[-1] = replace(last, text=last.text + segment.text)
        else:
            merged.append(segment)
    return merged


def _one_string(first: Text, second: Text) -> bool:
    return not (first.target or second.target) and first.special == second.special
