"""Runs of grounded samples: opened, and read sample by sample.

Goes in: a run of level `grounded`. Comes out: its samples, as stored or as the typed records of
`shards.grounded`. And the records of phrases that no parser saw.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from shards import Dataset, RawSample, SampleError, SampleReader, open_dataset
from shards.grounded import GroundedSample, Phrase, Span, parse

# A phrase's head stands before the first of these, where nothing parsed the phrase.
_AFTER_HEAD = re.compile(
    "of|in|on|at|with|from|to|by|for|near|over|under|behind|beside|between|against|into|onto|"
    "that|which|who|whose|wearing|holding|carrying|sitting|standing",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def open_grounded(spec: str | os.PathLike[str]) -> Dataset:
    """Open a run of grounded samples, or `OUT@NAME`.

    Raises:
        ValueError: There is nothing to read, or the samples have no boxes.
    """
    dataset = open_dataset(spec)
    if dataset.level != "grounded":
        raise ValueError(
            f"{dataset.spec}: its samples are of level {dataset.level!r}; this needs 'grounded'"
        )
    return dataset


def raw_samples(dataset: Dataset) -> Iterator[RawSample]:
    """Yield the stored samples of a dataset in shard and key order.

    Raises:
        ValueError: One is damaged; the message names shard and key.
    """
    reader = SampleReader(dataset)
    for shard in range(len(dataset.shards)):
        for raw in reader.iterate(shard):
            if isinstance(raw, SampleError):
                raise ValueError(str(raw))
            yield raw


def samples(dataset: Dataset) -> Iterator[GroundedSample]:
    """Yield the samples of a dataset in shard and key order; raises as `raw_samples` does."""
    return (parse(raw) for raw in raw_samples(dataset))


def unparsed_phrase(caption: str, span: Span, expression: Span | None = None) -> Phrase:
    """Return the record of a phrase that no parser saw.

    Its head is the last word before the first preposition, relative pronoun or common participle:
    a rule for noun phrases of captions, not a parse.
    """
    start, end = span
    words = list(_WORD.finditer(caption, start, end))
    before = len(words)
    for place, word in enumerate(words[1:], start=1):
        if _AFTER_HEAD.fullmatch(word.group()):
            before = place
            break
    head_start, head_end = words[before - 1].span() if words else span
    return Phrase(
        start=start,
        end=end,
        head_start=head_start,
        head_end=head_end,
        head_lemma=caption[head_start:head_end].lower(),
        root_pos="NOUN",
        expr_start=None if expression is None else expression[0],
        expr_end=None if expression is None else expression[1],
    )
