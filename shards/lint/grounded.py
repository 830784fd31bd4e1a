"""What lint looks at in grounded samples: whether every box is of a phrase, and all are in order.

Goes in: a sample's JSON. Comes out: breaches, each of a kind from a closed list. Values are checked
by the one reader of grounded records; what is here are the rules between records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any, TypeVar

from shards.grounded import EDGE, BadGroundingError, BoxRow, Phrase, Span, category

_Record = TypeVar("_Record")


class GroundedBreach(StrEnum):
    """What can be wrong; a finding begins with it."""

    # Of one record.
    ROWS_MALFORMED = "rows_malformed"  # no list, or a row that is not seven finite numbers
    PHRASES_MALFORMED = "phrases_malformed"  # no list, a field missing or of another type
    CATEGORIES_MALFORMED = "categories_malformed"  # not [start, end, names]
    SPAN_OUTSIDE = "span_outside"  # of the caption, or empty
    BOX_OUTSIDE = "box_outside"  # of 0..1
    BOX_CORNERS = "box_corners"  # not x0 < x1 and y0 < y1
    SCORE_OUTSIDE = "score_outside"  # of 0..1
    # Of records that do not fit together.
    ROWS_ORDER = "rows_order"  # not by score, the highest first, then by span
    PHRASES_ORDER = "phrases_order"  # not by span, or one span twice
    HEAD_OUTSIDE = "head_outside"  # of its phrase
    EXPRESSION_OUTSIDE = "expression_outside"  # does not hold its phrase
    ROW_WITHOUT_PHRASE = "row_without_phrase"  # no phrase, or no expression, has its span
    ROW_OF_DROPPED = "row_of_dropped"  # a box of a phrase that was never looked for
    CATEGORY_WITHOUT_PHRASE = "category_without_phrase"


def grounded_breaches(fields: Mapping[str, Any], caption: str) -> Iterator[str]:
    """Yield what is wrong with the phrases and boxes of a sample.

    Rules between records are looked at only where every single record can be read.
    """
    breaches: list[str] = []

    def read(name: str, malformed: str, reader: Callable[[Any, str], _Record]) -> list[_Record]:
        values = fields.get(name)
        if not isinstance(values, list):
            breaches.append(f"{malformed}: {name} is not a list: {values!r:.60}")
            return []
        return _read(name, values, lambda value: reader(value, caption), breaches)

    chunks = read("noun_chunks", "rows_malformed", _row)
    expressions = read("ref_exps", "rows_malformed", _row)
    phrases = read("phrases", "phrases_malformed", Phrase.read)
    categories = []
    if "phrase_categories" in fields:
        categories = read("phrase_categories", "categories_malformed", category)
    yield from breaches
    if breaches:
        return
    yield from _of_phrases(phrases)
    yield from _of_rows("noun_chunks", chunks, {phrase.span: phrase for phrase in phrases})
    by_expression = {phrase.expression: phrase for phrase in phrases if phrase.is_kept}
    yield from _of_rows("ref_exps", expressions, by_expression)
    spans = {phrase.span for phrase in phrases}
    for span, _ in categories:
        if span not in spans:
            yield f"{GroundedBreach.CATEGORY_WITHOUT_PHRASE}: {_at(span)} is not a phrase"


def _read(
    name: str, values: Sequence[Any], reader: Callable[[Any], _Record], breaches: list[str]
) -> list[_Record]:
    """Return the records that can be read; appends why the others cannot."""
    records = []
    for number, value in enumerate(values):
        try:
            records.append(reader(value))
        except BadGroundingError as error:
            breaches.append(f"{error.reason}: {name}[{number}]: {error.detail}")
    return records


def _row(value: Any, caption: str) -> BoxRow:
    row = BoxRow.read(value).check(caption)
    if not -EDGE <= row.score <= 1 + EDGE:
        raise BadGroundingError("score_outside", f"the score {row.score} is not within 0..1")
    return row


def _of_phrases(phrases: Sequence[Phrase]) -> Iterator[str]:
    for before, after in pairwise(phrases):
        if before.span >= after.span:
            what = f"{_at(after.span)} after {_at(before.span)}"
            yield f"{GroundedBreach.PHRASES_ORDER}: {what}"
    for phrase in phrases:
        head = phrase.head_start, phrase.head_end
        if not _holds(phrase.span, head):
            what = f"the head {_at(head)} of {_at(phrase.span)}"
            yield f"{GroundedBreach.HEAD_OUTSIDE}: {what}"
        if not _holds(phrase.expression, phrase.span):
            what = f"the expression {_at(phrase.expression)} around {_at(phrase.span)}"
            yield f"{GroundedBreach.EXPRESSION_OUTSIDE}: {what}"


def _of_rows(name: str, rows: Sequence[BoxRow], phrase_at: Mapping[Span, Phrase]) -> Iterator[str]:
    for number, (before, after) in enumerate(pairwise(rows), start=1):
        if (-before.score, before.span) > (-after.score, after.span):
            what = f"{name}[{number}] belongs before the row that it follows"
            yield f"{GroundedBreach.ROWS_ORDER}: {what}"
    for number, row in enumerate(rows):
        phrase = phrase_at.get(row.span)
        if phrase is None:
            what = f"{name}[{number}]: {_at(row.span)} is not the place of a phrase or expression"
            yield f"{GroundedBreach.ROW_WITHOUT_PHRASE}: {what}"
        elif not phrase.is_kept:
            what = f"{name}[{number}]: {_at(row.span)} was dropped as {phrase.drop_reason}"
            yield f"{GroundedBreach.ROW_OF_DROPPED}: {what}"


def _holds(outer: Span, inner: Span) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _at(span: Span) -> str:
    return f"{span[0]}..{span[1]}"
