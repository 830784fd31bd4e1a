"""Grounded samples as typed records: which words of a caption have which boxes.

Goes in: the JSON of a shard's sample of level `grounded`, or rows of another file of the same
form. Comes out: records that have been checked, or the reason why they cannot be used.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from shards import Dataset, RawSample, SampleError, SampleReader, open_dataset
from shards.phrases import Phrase
from shards.sample import ImageSample, compact_json, decode_json, encode_json

Span = tuple[int, int]
"""Code points of a caption, end-exclusive."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in 0..1 of the image."""

_EDGE = 1e-6  # how far beyond the image rounding may put a side

# A phrase's head stands before the first of these, where nothing parsed the phrase.
_AFTER_HEAD = re.compile(
    "of|in|on|at|with|from|to|by|for|near|over|under|behind|beside|between|against|into|onto|"
    "that|which|who|whose|wearing|holding|carrying|sitting|standing",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


class BoxRow(NamedTuple):
    """A row of `noun_chunks` or `ref_exps`: one box of one phrase."""

    start: int  # code points of the caption, end-exclusive
    end: int
    x0: float  # 0..1 of the image
    y0: float
    x1: float
    y1: float
    score: float

    @property
    def span(self) -> Span:
        """The phrase's place in the caption."""
        return self.start, self.end

    @property
    def box_xyxy(self) -> Box:
        """The box alone."""
        return self.x0, self.y0, self.x1, self.y1


@dataclass(frozen=True)
class Grounding:
    """Which words of a caption have boxes."""

    noun_chunks: tuple[BoxRow, ...]
    ref_exps: tuple[BoxRow, ...]
    phrases: tuple[Phrase, ...]  # every phrase, with or without a box
    categories: Mapping[Span, tuple[str, ...]] = field(default_factory=dict)  # where annotated


@dataclass(frozen=True)
class GroundedSample:
    """One sample without its image."""

    common: ImageSample  # the fields that every sample has
    grounding: Grounding
    detector: str | None = None  # name of what found the boxes; None: they were annotated


class BadGroundingError(ValueError):
    """Rows or spans that cannot be used; `reason` is counted, `detail` is for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[BadGroundingError], tuple[str, str]]:
        return BadGroundingError, (self.reason, self.detail)


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
        for found in reader.iterate(shard):
            if isinstance(found, SampleError):
                raise ValueError(str(found))
            yield found


def samples(dataset: Dataset) -> Iterator[GroundedSample]:
    """Yield the samples of a dataset in shard and key order; raises as `raw_samples` does."""
    return (parse(raw) for raw in raw_samples(dataset))


def parse(raw: RawSample) -> GroundedSample:
    """Read what a sample's JSON says of phrases and boxes.

    Raises:
        ValueError: It does not keep the contract; the message names shard and key.
    """
    where = f"{raw.dataset}: shard {raw.shard}, sample {raw.key}"
    try:
        fields = raw.fields()
        common = decode_json(raw.json)
        phrases = tuple(Phrase.from_json(each) for each in fields["phrases"])
        check_spans([(each.start, each.end) for each in phrases], common.caption)
        grounding = Grounding(
            noun_chunks=box_rows(fields["noun_chunks"], common.caption),
            ref_exps=box_rows(fields["ref_exps"], common.caption),
            phrases=phrases,
            categories={
                (int(start), int(end)): tuple(map(str, names))
                for start, end, names in fields.get("phrase_categories") or ()
            },
        )
    except KeyError as error:
        raise ValueError(f"{where}: its JSON lacks {error}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error
    return GroundedSample(common, grounding, fields.get("detector"))


def encode(sample: GroundedSample) -> bytes:
    """Return the JSON of a grounded sample; `phrase_categories` only where there are any."""
    grounding = sample.grounding
    values: dict[str, Any] = json.loads(encode_json(sample.common))
    values["noun_chunks"] = [list(row) for row in grounding.noun_chunks]
    values["ref_exps"] = [list(row) for row in grounding.ref_exps]
    values["phrases"] = [phrase.to_json() for phrase in grounding.phrases]
    if grounding.categories:
        found = sorted(grounding.categories.items())
        values["phrase_categories"] = [[*span, list(names)] for span, names in found]
    if sample.detector is not None:
        values["detector"] = sample.detector
    return compact_json(values).encode()


def box_rows(values: Any, caption: str) -> tuple[BoxRow, ...]:
    """Check rows `[start, end, x0, y0, x1, y1, score]`; offsets may be floats.

    Raises:
        BadGroundingError: `rows_malformed`, `span_outside`, `box_outside` or `box_corners`.
    """
    if not isinstance(values, list | tuple):
        raise BadGroundingError("rows_malformed", f"no list of rows: {values!r:.60}")
    return tuple(_box_row(each, caption) for each in values)


def check_spans(spans: Sequence[Span], caption: str) -> None:
    """Check that every span is a part of the caption.

    Raises:
        BadGroundingError: `span_outside`.
    """
    for start, end in spans:
        if not 0 <= start < end <= len(caption):
            where = f"{start}..{end} in a caption of {len(caption)} characters"
            raise BadGroundingError("span_outside", where)


def boxes_by_span(rows: Sequence[BoxRow]) -> dict[Span, list[BoxRow]]:
    """Return the rows of each span, the highest score first, equal ones as they were given."""
    found: dict[Span, list[BoxRow]] = {}
    for row in sorted(rows, key=lambda each: -each.score):
        found.setdefault(row.span, []).append(row)
    return found


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


def _box_row(row: Any, caption: str) -> BoxRow:
    if not isinstance(row, list | tuple) or len(row) != 7 or not all(map(_is_finite, row)):
        raise BadGroundingError("rows_malformed", f"not seven finite numbers: {row!r:.120}")
    if any(side != int(side) for side in row[:2]):
        raise BadGroundingError("rows_malformed", f"offsets {row[0]} and {row[1]} are not whole")
    start, end = int(row[0]), int(row[1])
    check_spans([(start, end)], caption)
    x0, y0, x1, y1, score = map(float, row[2:])
    if min(x0, y0, x1, y1) < -_EDGE or max(x0, y0, x1, y1) > 1 + _EDGE:
        raise BadGroundingError("box_outside", f"{[x0, y0, x1, y1]} does not lie in 0..1")
    if x0 >= x1 or y0 >= y1:
        raise BadGroundingError("box_corners", f"{[x0, y0, x1, y1]} is no x0 < x1, y0 < y1")
    return BoxRow(start, end, x0, y0, x1, y1, score)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
