"""Segments to token sequences: ids, targets, image slots.

A sequence is BOS, then segments in order. Texts between two targets or images are one string for
the tokenizer, as in the official code; an answer that is trained on is tokenized by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cogvlm.data.segments import Picture, Segment, Text
from cogvlm.data.tokenizer import Tokenizer
from cogvlm.model.config import ModelConfig
from cogvlm.model.layout import IGNORE, Sample


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
