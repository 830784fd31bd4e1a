"""Published annotations as grounded records, and such records as a run that keeps the contract.

Goes in: what a reader of one format yields (`flickr30k_entities`, `refcoco`, `visual_genome`) and
a way to get the images. Comes out: a run of level `grounded`, with a reason and a count for every
record that is not in it.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grounding.samples import unparsed_phrase
from shards.grounded import (
    BadGroundingError,
    Box,
    BoxRow,
    GroundedSample,
    Grounding,
    Span,
    check_spans,
    encode,
)
from shards.identity import image_key
from shards.image import PROFILES, ImageError, StoreSpec, store
from shards.sample import ImageSample
from shards.shard_writer import MadeSample, RunWriter
from shards.text import clean_caption

EDGE_PX = 2.0
"""By how much a box may overhang the image; it is cut there, beyond it the box is an error."""

_SAME_SHAPE = 0.01  # relative difference of aspect ratios of an image and its resized copy


@dataclass(frozen=True)
class AnnotatedPhrase:
    """A phrase of a caption with its boxes."""

    start: int  # code points of the caption, end-exclusive
    end: int
    boxes_xyxy: tuple[Box, ...]  # 0..1 of the upright image; none where nothing is drawn
    categories: tuple[str, ...] = ()  # as the annotation names them

    @property
    def span(self) -> Span:
        """The place in the caption."""
        return self.start, self.end


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """A caption of an image with its phrases."""

    image_id: str
    caption: str  # as `cleaned` returns it: spans index it, and it is what is stored
    phrases: tuple[AnnotatedPhrase, ...]
    source: str  # name of the annotations, such as flickr30k_entities
    source_file: str
    source_row: int
    width_px: int | None = None  # of the image as annotated; None: not stated
    height_px: int | None = None


@dataclass(frozen=True)
class Rejected:
    """A record that cannot be used."""

    image_id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Written:
    """What became of the records: `samples` are in the run, the others have a reason."""

    samples: int
    left_out: Mapping[str, int]


Images = Callable[[str], bytes]
"""Image id to the encoded file; `KeyError` or `FileNotFoundError` where there is none."""


def write_shards(
    records: Iterable[Annotated | Rejected],
    images: Images,
    out: str | os.PathLike[str],
    *,
    spec: StoreSpec = PROFILES["ground"],
    shard_size: int = 2500,
) -> Written:
    """Write records as a run of grounded samples; memory holds the images of one shard.

    A sample has no URL: its key is that of the image's sha256 and the caption, so that one caption
    of one image is one sample; a second record of it is left out as `duplicate`.

    Args:
        records: Shards take them in this order.
        images: Where to get an image. It is asked once for records that follow each other.
        out: A run directory that does not exist yet.
        spec: How images are stored.
        shard_size: Samples per shard.

    Raises:
        ValueError: `out` is not empty, or no record can be used.
    """
    writer = RunWriter(out, "grounded", spec.encode_format, shard_size)
    left_out: Counter[str] = Counter()
    seen: set[int] = set()
    asked: tuple[str, bytes | None] = ("", None)
    for record in records:
        if isinstance(record, Rejected):
            left_out[record.reason] += 1
            continue
        if asked[1] is None or asked[0] != record.image_id:
            asked = record.image_id, _image(images, record.image_id)
        try:
            made = _made(record, asked[1], spec)
        except BadGroundingError as error:
            left_out[error.reason] += 1
            continue
        key = int(made.values["key"], 16)
        if key in seen:
            left_out["duplicate"] += 1
            continue
        seen.add(key)
        writer.add(made)
    counts = writer.finish()
    left_out.update(counts["outcomes"])
    return Written(counts["samples"], dict(sorted(left_out.items())))


def check(record: Annotated) -> None:
    """Check what a caption's phrases must be.

    Raises:
        BadGroundingError: `no_phrases`, `span_outside`, `duplicate_span` or `box_outside`.
        ValueError: The caption was not cleaned, so that its spans would not be those stored.
    """
    if clean_caption(record.caption) != record.caption:
        raise ValueError(f"{record.source}, image {record.image_id}: caption is not cleaned")
    if not record.phrases:
        raise BadGroundingError("no_phrases", "nothing in the caption is annotated")
    spans = [phrase.span for phrase in record.phrases]
    check_spans(spans, record.caption)
    if len({*spans}) < len(spans):
        raise BadGroundingError("duplicate_span", f"two phrases at the same place: {spans}")
    for x0, y0, x1, y1 in (box for phrase in record.phrases for box in phrase.boxes_xyxy):
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            raise BadGroundingError("box_outside", f"{(x0, y0, x1, y1)} is not a box within 0..1")


def relative_box(box_xyxy_px: Sequence[float], width_px: float, height_px: float) -> Box:
    """Return a box of pixels as shares of the image; up to `EDGE_PX` outside are cut off.

    Raises:
        BadGroundingError: `box_corners` (swapped), `box_empty` or `box_outside`.
    """
    if width_px <= 0 or height_px <= 0 or not all(map(math.isfinite, box_xyxy_px)):
        raise BadGroundingError("box_outside", f"{box_xyxy_px} of {width_px} x {height_px} px")
    x0, y0, x1, y1 = box_xyxy_px
    if x0 > x1 or y0 > y1:
        raise BadGroundingError("box_corners", f"{box_xyxy_px} px: the first corner is not first")
    if min(x0, y0) < -EDGE_PX or x1 > width_px + EDGE_PX or y1 > height_px + EDGE_PX:
        raise BadGroundingError("box_outside", f"{box_xyxy_px} of {width_px} x {height_px} px")
    left, right = (min(max(side / width_px, 0.0), 1.0) for side in (x0, x1))
    top, bottom = (min(max(side / height_px, 0.0), 1.0) for side in (y0, y1))
    if left >= right or top >= bottom:
        raise BadGroundingError("box_empty", f"{box_xyxy_px} px has no area in the image")
    return left, top, right, bottom


def cleaned(text: str) -> str:
    """Clean a text until cleaning changes nothing: `&amp;lt;` takes two rounds."""
    while (once := clean_caption(text)) != text:
        text = once
    return text


def joined(parts: Iterable[str]) -> tuple[str, list[Span]]:
    """Clean the parts of a caption, join them with spaces, and say where each one lies.

    A part of which nothing is left has an empty span.
    """
    caption, spans = "", []
    for part in map(cleaned, parts):
        start = len(caption) + bool(caption and part)
        caption += f" {part}" if caption and part else part
        spans.append((start, start + len(part)))
    return caption, spans


def folder_images(folder: str | os.PathLike[str], pattern: str = "{}.jpg") -> Images:
    """Return a way to read images of a folder.

    Args:
        folder: Where they are.
        pattern: Name of an image's file, such as `COCO_train2014_{:0>12}.jpg`.
    """
    return lambda image_id: Path(folder, pattern.format(image_id)).read_bytes()


def excluded(
    records: Iterable[Annotated | Rejected], ids: Iterable[str | int]
) -> Iterator[Annotated | Rejected]:
    """Turn records of some images into rejects with the reason `excluded`."""
    unwanted = {str(image_id) for image_id in ids}
    for record in records:
        if record.image_id in unwanted:
            yield Rejected(record.image_id, "excluded", "the image is on the list of exclusions")
        else:
            yield record


def of_split(
    records: Sequence[Mapping[str, Any]], split: str | None, path: str | os.PathLike[str]
) -> list[Mapping[str, Any]]:
    """Return the records of a split, or all.

    Raises:
        ValueError: There are none; names the file and the splits that it has.
    """
    chosen = [record for record in records if split is None or record["split"] == split]
    if not chosen:
        there = ", ".join(sorted({str(record["split"]) for record in records}))
        raise ValueError(f"{os.fspath(path)}: no split {split!r}; it has {there or 'no records'}")
    return chosen


def _image(images: Images, image_id: str) -> bytes | None:
    try:
        return images(image_id)
    except (KeyError, FileNotFoundError):
        return None


def _made(record: Annotated, image: bytes | None, spec: StoreSpec) -> MadeSample:
    check(record)
    if image is None:
        raise BadGroundingError("image_missing", f"there is no image {record.image_id}")
    sha256 = hashlib.sha256(image).hexdigest()
    try:
        stored = store(image, spec)
    except ImageError as error:
        known = asdict(_common(record, sha256, (0, 0), (0, 0)))
        known |= dict.fromkeys(("width", "height", "original_width", "original_height"))
        return MadeSample(known, outcome=error.outcome, message=error.detail)
    original = stored.original_width, stored.original_height
    _check_size(record, *original)
    common = _common(record, sha256, (stored.width, stored.height), original)
    encoded = encode(GroundedSample(common, grounding_of(record)))
    members = {spec.encode_format: stored.data, "txt": common.caption.encode(), "json": encoded}
    return MadeSample(asdict(common), members)


def _check_size(record: Annotated, width: int, height: int) -> None:
    """An image of another shape is another image, or one that was turned or cut."""
    if record.width_px is None or record.height_px is None:
        return
    ratio = (record.width_px * height) / (record.height_px * width)
    if abs(ratio - 1) > _SAME_SHAPE:
        annotated = f"{record.width_px} x {record.height_px} px are annotated"
        raise BadGroundingError("image_differs", f"{annotated}, the image has {width} x {height}")


def _common(
    record: Annotated, sha256: str, stored: tuple[int, int], original: tuple[int, int]
) -> ImageSample:
    return ImageSample(
        key=image_key(sha256, record.caption),
        url=None,
        caption=record.caption,
        caption_raw=None,
        width=stored[0],
        height=stored[1],
        original_width=original[0],
        original_height=original[1],
        sha256=sha256,
        similarity=None,
        similarity_scorer=None,
        nsfw_score=None,
        nsfw_tag=None,
        watermark_score=None,
        aesthetic_score=None,
        language="en",
        license=None,
        source=record.source,
        source_file=record.source_file,
        source_row=record.source_row,
        source_key=record.image_id,
    )


def grounding_of(record: Annotated) -> Grounding:
    """Return the boxes of a record, as of noun chunks and of expressions, with score 1."""
    phrases = sorted(record.phrases, key=lambda phrase: phrase.span)
    rows = tuple(
        BoxRow(phrase.start, phrase.end, *box, 1.0)
        for phrase in phrases
        for box in phrase.boxes_xyxy
    )
    return Grounding(
        noun_chunks=rows,
        ref_exps=rows,
        phrases=tuple(
            unparsed_phrase(record.caption, phrase.span, phrase.span) for phrase in phrases
        ),
        categories={phrase.span: phrase.categories for phrase in phrases if phrase.categories},
    )
