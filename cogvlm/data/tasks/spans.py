"""The phrases of a caption with their boxes, and which of them stand for their boxes alone.

With `grounding_units` "chunks" a phrase is a noun chunk; with "expressions" it is the referring
expression around one, of which those that lie inside another are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Literal

from cogvlm.data.task_options import GroundingUnits
from cogvlm.data.tasks.example import Example
from cogvlm.data.tasks.fields import are_numbers, box_rows, box_text
from cogvlm.data.tasks.reasons import Skip, SkipReason
from shards.ambiguity import AmbiguityReason, ambiguous, phrase_at
from shards.phrases import Phrase as Record

MAX_BOXES = 10  # of one phrase, the best first
_ROWS: dict[GroundingUnits, str] = {"chunks": "noun_chunks", "expressions": "ref_exps"}

Span = tuple[int, int]


@dataclass(frozen=True)
class Phrase:
    """A phrase of the caption with its boxes."""

    start: int  # code points of the caption, end-exclusive
    end: int
    boxes_xyxy: tuple[tuple[float, float, float, float], ...]  # 0..1, best score first


def phrases(
    fields: Mapping[str, Any], caption: str, units: GroundingUnits = "chunks"
) -> list[Phrase]:
    """Return the phrases of a grounded sample that have a box with an area, by start and length.

    Raises:
        Skip: A row of boxes is none, or of no part of the caption.
    """
    found = _boxed(fields, caption, units)
    return _outermost(found) if units == "expressions" else found


def recs(example: Example) -> list[Phrase]:
    """Return the phrases whose boxes may be asked for."""
    return [phrase for phrase, reason in judged(example, "rec") if reason is None]


def regs(example: Example) -> list[Phrase]:
    """Return the phrases that may be asked for, given their boxes."""
    return [phrase for phrase, reason in judged(example, "reg") if reason is None]


def judged(
    example: Example, task: Literal["rec", "reg"]
) -> list[tuple[Phrase, AmbiguityReason | None]]:
    """Return the phrases with boxes, and why one does not stand for its boxes by itself.

    With `keep_ambiguous` no reason holds.
    """
    whole, units = example.text(), example.options.grounding_units
    # Those inside another are not asked for, but are twins of those that are.
    every = _boxed(example.fields, example.caption, units)
    boxed = {(each.start, each.end): each.boxes_xyxy for each in every}
    said = _records(example.fields, example.caption, units)
    boxes = [boxed.get(span, ()) for span in said]
    reasons = dict(zip(said, ambiguous([*said.values()], whole, boxes, task), strict=True))
    if example.options.keep_ambiguous:
        reasons = dict.fromkeys(said)
    usable = _outermost(every) if units == "expressions" else every
    return [(phrase, reasons[phrase.start, phrase.end]) for phrase in usable]


def apart(found: Sequence[Phrase]) -> list[Phrase]:
    """Return phrases that do not overlap, those with most boxes first, then longest, then first."""

    def value(phrase: Phrase) -> tuple[int, int, int]:
        return -len(phrase.boxes_xyxy), phrase.start - phrase.end, phrase.start

    taken: list[Phrase] = []
    for phrase in sorted(found, key=value):
        if all(phrase.end <= other.start or other.end <= phrase.start for other in taken):
            taken.append(phrase)
    return sorted(taken, key=lambda phrase: phrase.start)


def _boxed(fields: Mapping[str, Any], caption: str, units: GroundingUnits) -> list[Phrase]:
    boxes: dict[Span, list[list[float]]] = {}
    for span, row in _rows(fields, caption, units):
        if box_text([row[2:6]]):
            boxes.setdefault(span, []).append(row[2:])
    return [
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


def _rows(
    fields: Mapping[str, Any], caption: str, units: GroundingUnits
) -> list[tuple[Span, list[float]]]:
    """Return the rows of boxes with their spans."""
    found = []
    for row in box_rows(fields, _ROWS[units]):
        start, end = int(row[0]), int(row[1])
        if not 0 <= start < end <= len(caption):
            where = f"a phrase at {start}..{end} in a caption of {len(caption)} characters"
            raise Skip(SkipReason.BAD_BOXES, where)
        found.append(((start, end), row))
    return found


def _outermost(found: Sequence[Phrase]) -> list[Phrase]:
    """Return the phrases that lie inside no other."""

    def is_inside(inner: Phrase, outer: Phrase) -> bool:
        return inner is not outer and outer.start <= inner.start and inner.end <= outer.end

    return [each for each in found if not any(is_inside(each, other) for other in found)]


def _records(fields: Mapping[str, Any], caption: str, units: GroundingUnits) -> dict[Span, Record]:
    """Return all phrases of the caption by their spans, made up where only a span is known."""
    found = {span: phrase_at(caption, *span) for span, _ in _rows(fields, caption, "chunks")}
    found |= {(each.start, each.end): each for each in _kept_records(fields, caption)}
    if units == "expressions":
        expressions = {span for span, _ in _rows(fields, caption, units)}
        found = _as_expressions(found.values(), expressions, caption)
    return dict(sorted(found.items()))


def _kept_records(fields: Mapping[str, Any], caption: str) -> list[Record]:
    """Return what the sample's `phrases` say; those that say nothing usable are passed over."""
    others = fields.get("phrases")
    found = []
    for each in others if isinstance(others, list) else ():
        pair: list[Any] = [each.get("start"), each.get("end")] if isinstance(each, dict) else []
        if not are_numbers(pair, 2) or not 0 <= pair[0] < pair[1] <= len(caption):
            continue
        record = phrase_at(caption, int(pair[0]), int(pair[1]))
        head, part = each.get("head_lemma"), each.get("root_pos")
        if head and isinstance(head, str):
            record = replace(record, head_lemma=head)
        if part and isinstance(part, str):
            record = replace(record, root_pos=part)
        around = [each.get("expr_start"), each.get("expr_end")]
        if are_numbers(around, 2) and 0 <= around[0] < around[1] <= len(caption):
            record = replace(record, expr_start=int(around[0]), expr_end=int(around[1]))
        found.append(record)
    return found


def _as_expressions(
    chunks: Iterable[Record], expressions: Set[Span], caption: str
) -> dict[Span, Record]:
    """Return chunks with the spans of their expressions.

    The head stays the chunk's: the last word of "a dog on a lawn" is not what it is about. An
    expression begins with its chunk, so where no record says which one it is of, that is the one.
    """
    found: dict[Span, Record] = {}
    unknown = []  # chunks of which nobody says whether they have an expression
    for record in chunks:
        if record.expr_start is not None and record.expr_end is not None:
            found[record.expr_start, record.expr_end] = record
        else:
            unknown.append(record)
    by_start = {record.start: record for record in unknown}
    for span in expressions - {*found}:
        found[span] = by_start.get(span[0]) or phrase_at(caption, *span)
    starts = {start for start, _ in found}
    found |= {(each.start, each.end): each for each in unknown if each.start not in starts}
    return {
        (start, end): replace(record, start=start, end=end)
        for (start, end), record in found.items()
    }
