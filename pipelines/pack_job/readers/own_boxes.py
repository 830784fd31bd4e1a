"""People's own boxes as JSON lines: an image, a caption, phrases of it with boxes.

Goes in: `{"image": NAME, "caption": TEXT, "phrases": [{"text": WORDS, "boxes": [[…4…], …]}]}`;
instead of `text`, which must be in the caption once, a phrase may have `start` and `end`. Comes
out: grounded records. What the four numbers are is said once, by `--box_format`; nothing is
guessed, and numbers that cannot be of that kind end the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.pack_job.format import LINES, Format
from pipelines.pack_job.readers.lines import Raw, rows, tried
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.records import (
    Bad,
    BadRecordError,
    Origin,
    Record,
    grounded,
    objects_of,
    text_of,
)

if TYPE_CHECKING:
    from shards.grounded import Box

BOX_FORMATS = ("xyxy_px", "xywh_px", "xyxy_1", "xyxy_1000")

_SURELY_PIXELS = 1.5  # no box overhangs an image by half of it

_HUGE = 1e9  # no side is that far off


class _Sizes(Protocol):
    def size_px(self, name: str) -> tuple[int, int] | None: ...


def boxes_jsonl(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read a file of captions with boxes.

    Raises:
        ValueError: A box is surely of another `--box_format`; the message names the line.
    """
    from grounding.annotated.annotations import Annotated, AnnotatedPhrase, cleaned

    box_format = options.box_format
    assert box_format is not None

    def make(row: int, raw: Raw) -> Record:
        name, caption = text_of(raw, "image"), text_of(raw, "caption")
        file = options.image_name(name, "{}")
        phrases = objects_of(raw, "phrases")
        where = f"{unit.path}, line {row + 1}"
        for phrase in phrases:
            for box in _boxes(phrase):
                check_kind(box, box_format, where)
        size = _size(raw, options.images, file)
        annotated = Annotated(
            image_id=name,
            caption=cleaned(caption),
            phrases=tuple(
                AnnotatedPhrase(
                    *_span(caption, phrase),
                    boxes_xyxy=tuple(to_share(box, box_format, size) for box in _boxes(phrase)),
                )
                for phrase in phrases
            ),
            source=options.source,
            source_file=unit.name,
            source_row=row,
            width_px=size[0],
            height_px=size[1],
        )
        origin = Origin(
            source=options.source,
            source_file=unit.name,
            source_row=row,
            source_key=str(raw["id"]) if "id" in raw else None,
            image_id=name,
        )
        return grounded(annotated, file, origin)

    return tried(rows(unit), make)


def check_kind(box: Sequence[float], box_format: str, where: str) -> None:
    """Check that four numbers can be what they are said to be.

    Raises:
        ValueError: They are pixels where shares belong, or the other way round.
    """
    largest = max(map(abs, box))
    if box_format == "xyxy_1" and largest > _SURELY_PIXELS:
        raise ValueError(
            f"{where}: box {list(box)} is not in 0..1, which --box_format xyxy_1 says; "
            "give xyxy_px, xywh_px or xyxy_1000 if it is one of these"
        )
    if box_format != "xyxy_1" and 0 < largest <= 1:
        raise ValueError(
            f"{where}: box {list(box)} looks like shares of the image, --box_format says "
            f"{box_format}; give xyxy_1 if they are"
        )


def to_share(box: Sequence[float], box_format: str, size_px: tuple[int, int]) -> Box:
    """Return a box in 0..1.

    Raises:
        BadRecordError: `box_outside`, `box_corners` or `box_empty`.
    """
    from grounding.annotated.annotations import relative_box
    from shards.grounded import BadGroundingError

    try:
        if box_format == "xywh_px":
            x, y, width, height = box
            return relative_box([x, y, x + width, y + height], *size_px)
        if box_format == "xyxy_px":
            return relative_box(box, *size_px)
        scale = 1000 if box_format == "xyxy_1000" else 1
        if min(box) < 0 or max(box) > scale:
            raise BadGroundingError("box_outside", f"{list(box)} is not in 0..{scale}")
        return relative_box(box, scale, scale)
    except BadGroundingError as error:
        raise BadRecordError(error.reason, error.detail) from error


def _boxes(phrase: Mapping[str, Any]) -> list[list[float]]:
    boxes = phrase.get("boxes", [])
    if not isinstance(boxes, list) or not all(_is_box(box) for box in boxes):
        raise BadRecordError(
            "rows_malformed", f"not a list of boxes of four finite numbers: {boxes!r:.120}"
        )
    return boxes


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(n, int | float) and not isinstance(n, bool) for n in box)
        and all(abs(n) < _HUGE for n in box)  # false for NaN, too
    )


def _size(raw: Raw, images: _Sizes, name: str) -> tuple[int, int]:
    """Return the size that boxes are of: as the record states it, else the image's own."""
    width, height = raw.get("width"), raw.get("height")
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return width, height
    size_px = images.size_px(name)
    if size_px is None:
        raise BadRecordError("image_missing", f"no image {name}, or none that can be read")
    return size_px


def _span(caption: str, phrase: Mapping[str, Any]) -> tuple[int, int]:
    """Return where a phrase is in the cleaned caption."""
    from grounding.annotated.annotations import cleaned

    whole = cleaned(caption)
    if "start" not in phrase:
        words = cleaned(text_of(phrase, "text"))
        if not words or whole.count(words) != 1:
            count = whole.count(words) if words else 0
            reason = "phrase_unclear" if count else "phrase_absent"
            raise BadRecordError(reason, f"{words!r} stands in the caption {count} times")
        return whole.index(words), whole.index(words) + len(words)
    start, end = phrase["start"], phrase.get("end")
    if (
        not isinstance(start, int)
        or not isinstance(end, int)
        or not 0 <= start < end <= len(caption)
    ):
        where = f"{start}..{end} in a caption of {len(caption)} characters"
        raise BadRecordError("span_outside", where)
    if whole == caption:
        return start, end
    # Cleaning moved it: it ends where the cleaned text up to its end does.
    words = cleaned(caption[start:end])
    new_end = len(cleaned(caption[:end]))
    if not words or whole[new_end - len(words) : new_end] != words:
        raise BadRecordError("span_outside", f"{start}..{end} does not survive cleaning")
    return new_end - len(words), new_end


FORMATS = (
    Format(
        name="boxes_jsonl",
        level="grounded",
        reader=boxes_jsonl,
        about="your own lines of `image`, `caption` and `phrases` with boxes",
        endings=LINES,
        box_format=True,
    ),
)
