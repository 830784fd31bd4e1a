"""Grounded samples on the page: boxes over the picture, and the caption in the boxes' colours.

Spans may nest and overlap. Every box is drawn and every phrase is listed; in the caption itself a
choice of spans that do not overlap is coloured, always the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.report_page.samples import Origin, origin
from pipelines.report_page.svg import Svg, element, rect
from pipelines.report_page.thumbnails import thumbnail
from pipelines.report_page.words import CAPTION_CHARS, shown
from shards.access import RawSample
from shards.grounded import BoxRow, Grounding, Span, boxes_by_span, parse

COLOURS = 8
"""Classes `p0` … of the style sheet."""

NO_BOX = "no box"

_SIDE_PX = 240
_PHRASE_CHARS = 80


@dataclass(frozen=True)
class Piece:
    """A part of a caption."""

    text: str
    colour: int | None = None  # of a phrase with boxes
    dropped: str | None = None  # why a phrase has none


@dataclass(frozen=True)
class PhraseLine:
    """One phrase in the list under the caption."""

    text: str
    colour: int | None
    scores: str  # of its boxes, the best first
    dropped: str | None


@dataclass(frozen=True)
class GroundedSample:
    """One sample on the page."""

    origin: Origin
    image: str | None  # a `data:` URI
    boxes: Svg
    pieces: tuple[Piece, ...]
    phrases: tuple[PhraseLine, ...]


def grounded_sample(raw: RawSample) -> GroundedSample:
    """Return what the page shows of a sample.

    Raises:
        ValueError: It does not keep the contract; the message names shard and key.
    """
    sample = parse(raw)
    caption, boxed = sample.common.caption, boxes_by_span(sample.grounding.noun_chunks)
    colours = {span: place % COLOURS for place, span in enumerate(sorted(boxed))}
    dropped = _dropped(sample.grounding, boxed)
    return GroundedSample(
        origin=origin(raw.key, raw.fields()),
        image=thumbnail(raw.images[0], _SIDE_PX),
        boxes=_overlay(caption, boxed, colours),
        pieces=tuple(pieces(caption, colours, dropped)),
        phrases=tuple(_phrases(caption, boxed, colours, dropped)),
    )


def _dropped(grounding: Grounding, boxed: Mapping[Span, Sequence[BoxRow]]) -> dict[Span, str]:
    """Return why the phrases without a box have none."""
    without = (phrase for phrase in grounding.phrases if phrase.span not in boxed)
    return {phrase.span: phrase.drop_reason or NO_BOX for phrase in without}


def pieces(caption: str, colours: Mapping[Span, int], dropped: Mapping[Span, str]) -> list[Piece]:
    """Cut a caption, as far as it is shown, into phrases and what is between them."""
    end_of_all = min(len(caption), CAPTION_CHARS)
    cut, at = [], 0
    for start, end in _apart([*colours], [*dropped]):
        if start >= end_of_all:
            break
        stop = min(end, end_of_all)
        cut.append(Piece(shown(caption[at:start])))
        span = start, end
        cut.append(Piece(shown(caption[start:stop]), colours.get(span), dropped.get(span)))
        at = stop
    rest = shown(caption[at:end_of_all]) + ("…" if len(caption) > end_of_all else "")
    return [piece for piece in [*cut, Piece(rest)] if piece.text]


def _apart(boxed: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Choose spans that do not overlap: those with boxes first, of these the longest."""
    ranked = [
        (place, start - end, start, end)
        for place, spans in enumerate((boxed, others))
        for start, end in spans
    ]
    chosen: list[Span] = []
    for _, _, start, end in sorted(ranked):
        if all(end <= before or after <= start for before, after in chosen):
            chosen.append((start, end))
    return sorted(chosen)


def _phrases(
    caption: str,
    boxed: Mapping[Span, Sequence[BoxRow]],
    colours: Mapping[Span, int],
    dropped: Mapping[Span, str],
) -> list[PhraseLine]:
    return [
        PhraseLine(
            text=shown(caption[slice(*span)], _PHRASE_CHARS),
            colour=colours.get(span),
            scores=", ".join(f"{row.score:.2f}" for row in boxed.get(span, ())),
            dropped=None if span not in dropped else shown(dropped[span]),
        )
        for span in sorted({*boxed, *dropped})
    ]


def _overlay(
    caption: str, boxed: Mapping[Span, Sequence[BoxRow]], colours: Mapping[Span, int]
) -> Svg:
    """Return the boxes, to be laid over the whole picture whatever its size."""
    rectangles = [
        rectangle
        for span, rows in sorted(boxed.items())
        for row in rows
        for rectangle in _rectangles(
            row, colours[span], shown(caption[slice(*span)], _PHRASE_CHARS)
        )
    ]
    return element("svg", *rectangles, viewBox="0 0 100 100", preserveAspectRatio="none")


def _rectangles(row: BoxRow, colour: int, phrase: str) -> tuple[Svg, Svg]:
    """Return a box on a white one that is wider: it shows on a thing of its own colour as well."""
    x0, y0, x1, y1 = (100 * side for side in row.box_xyxy)
    place = (x0, y0, x1 - x0, y1 - y0)
    return rect(*place, "halo"), rect(*place, f"box p{colour}", f"{phrase} {row.score:.2f}")
