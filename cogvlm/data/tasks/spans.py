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
from cogvlm.data.tasks.fields import box_rows, box_text
from cogvlm.data.tasks.reasons import Skip, SkipReason
from shards.ambiguity import AmbiguityReason, ambiguous, phrase_at
from shards.grounded import BadGroundingError, BoxRow, Span, boxes_by_span, check_spans
from shards.grounded import Phrase as Record

MAX_BOXES = 10  # of one phrase, the best first
_ROWS: dict[GroundingUnits, str] = {"chunks": "noun_chunks", "expressions": "ref_exps"}


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
        Skip: A row of boxes is malformed, or not of a part of the caption.
    """
    boxed = _boxed(fields, caption, units)
    return _outermost(boxed) if units == "expressions" else boxed


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
    all_boxed = _boxed(example.fields, example.caption, units)
    boxed = {(phrase.start, phrase.end): phrase.boxes_xyxy for phrase in all_boxed}
    records = _records(example.fields, example.caption, units)
    boxes = [boxed.get(span, ()) for span in records]
    reasons = dict(zip(records, ambiguous([*records.values()], whole, boxes, task), strict=True))
    if example.options.keep_ambiguous:
        reasons = dict.fromkeys(records)
    usable = _outermost(all_boxed) if units == "expressions" else all_boxed
    return [(phrase, reasons[phrase.start, phrase.end]) for phrase in usable]


def apart(phrases: Sequence[Phrase]) -> list[Phrase]:
    """Return phrases that do not overlap, those with most boxes first, then longest, then first."""

    def value(phrase: Phrase) -> tuple[int, int, int]:
        return -len(phrase.boxes_xyxy), phrase.start - phrase.end, phrase.start

    taken: list[Phrase] = []
    for phrase in sorted(phrases, key=value):
        if all(phrase.end <= other.start or other.end <= phrase.start for other in taken):
            taken.append(phrase)
    return sorted(taken, key=lambda phrase: phrase.start)


def _boxed(fields: Mapping[str, Any], caption: str, units: GroundingUnits) -> list[Phrase]:
    rows = _rows(fields, caption, units)
    with_area = [row for row in rows if box_text([row.box_xyxy])]
    return [
        Phrase(*span, tuple(row.box_xyxy for row in best[:MAX_BOXES]))
        for span, best in sorted(boxes_by_span(with_area).items())
    ]


def _rows(fields: Mapping[str, Any], caption: str, units: GroundingUnits) -> list[BoxRow]:
    """Return the rows of boxes; their spans are parts of the caption."""
    rows = box_rows(fields, _ROWS[units])
    try:
        check_spans([row.span for row in rows], caption)
    except BadGroundingError as error:
        raise Skip(SkipReason.BAD_BOXES, f"a phrase at {error.detail}") from error
    return rows


def _outermost(phrases: Sequence[Phrase]) -> list[Phrase]:
    """Return the phrases that lie inside no other."""

    def is_inside(inner: Phrase, outer: Phrase) -> bool:
        return inner is not outer and outer.start <= inner.start and inner.end <= outer.end

    return [inner for inner in phrases if not any(is_inside(inner, outer) for outer in phrases)]


def _records(fields: Mapping[str, Any], caption: str, units: GroundingUnits) -> dict[Span, Record]:
    """Return all phrases of the caption by their spans, made up where only a span is known."""
    records = {row.span: phrase_at(caption, *row.span) for row in _rows(fields, caption, "chunks")}
    records |= {record.span: record for record in _kept_records(fields, caption)}
    if units == "expressions":
        expressions = {row.span for row in _rows(fields, caption, units)}
        records = _as_expressions(records.values(), expressions, caption)
    return dict(sorted(records.items()))


def _kept_records(fields: Mapping[str, Any], caption: str) -> list[Record]:
    """Return what the sample's `phrases` say; those that say nothing usable are passed over."""
    phrases = fields.get("phrases")
    records = []
    for phrase in phrases if isinstance(phrases, list) else ():
        match phrase:
            case {"start": int(start), "end": int(end)} if 0 <= start < end <= len(caption):
                records.append(_completed(phrase, phrase_at(caption, start, end), caption))
    return records


def _completed(phrase: Mapping[str, Any], by_rule: Record, caption: str) -> Record:
    """Return a phrase with what is not known of it by rule, or all by rule where some is wrong.

    Other people's samples may have no more than a span; a twin is a twin all the same.
    """
    known = {name: value for name, value in phrase.items() if value not in (None, "")}
    try:
        return Record.read({**by_rule.to_json(), **known}, caption)
    except BadGroundingError:
        return by_rule


def _as_expressions(
    chunks: Iterable[Record], expressions: Set[Span], caption: str
) -> dict[Span, Record]:
    """Return chunks with the spans of their expressions.

    The head stays the chunk's: the last word of "a dog on a lawn" is not what it is about. An
    expression begins with its chunk, so where no record says which one it is of, that is the one.
    """
    by_span: dict[Span, Record] = {}
    unknown = []  # chunks of which nobody says whether they have an expression
    for record in chunks:
        if record.expr_start is not None:
            by_span[record.expression] = record
        else:
            unknown.append(record)
    by_start = {record.start: record for record in unknown}
    for span in expressions - {*by_span}:
        by_span[span] = by_start.get(span[0]) or phrase_at(caption, *span)
    starts = {start for start, _ in by_span}
    by_span |= {record.span: record for record in unknown if record.start not in starts}
    return {
        (start, end): replace(record, start=start, end=end)
        for (start, end), record in by_span.items()
    }
