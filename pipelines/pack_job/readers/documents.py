"""Documents of texts and images in reading order: MMC4 and OBELICS.

Goes in: records of either form. Comes out: a record per document, or (`pairs`) one per image with
its text. `images_first` puts all images before all texts. Texts between two images are one item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.pack_job.format import LINES, Format
from pipelines.pack_job.readers.lines import Raw, rows
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.records import (
    Bad,
    BadRecordError,
    Origin,
    Record,
    document,
    objects_of,
    text_of,
)

MODES = ("interleaved", "images_first", "pairs")

Piece = tuple[str, str]
"""`image` and a name, or `text` and words."""


def mmc4(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read MMC4's lines; an image stands before the sentence that it was matched with."""
    return _documents(unit, options, _mmc4_pieces, " ")


def obelics(unit: Unit, options: ReadOptions) -> Iterator[Record | Bad]:
    """Read OBELICS's records; `images` holds names, or URLs whose sha256 is the name."""
    return _documents(unit, options, _obelics_pieces, "\n")


def _documents(
    unit: Unit,
    options: ReadOptions,
    pieces_of: Callable[[Raw], list[Piece]],
    between: str,
) -> Iterator[Record | Bad]:
    for row, raw in rows(unit):
        if isinstance(raw, Bad):
            yield raw
            continue
        url = raw.get("url")
        origin = Origin(
            source=options.source,
            source_file=unit.name,
            source_row=row,
            source_key=url if isinstance(url, str) else None,
        )
        try:
            pieces = pieces_of(raw)
            if options.document_mode == "pairs":
                yield from _pairs(origin, pieces, options)
            else:
                yield _whole(origin, pieces, options, between)
        except BadRecordError as error:
            yield Bad(error.reason, error.detail)


def _mmc4_pieces(raw: Raw) -> list[Piece]:
    sentences = raw.get("text_list")
    if not isinstance(sentences, list) or not all(isinstance(s, str) for s in sentences):
        raise BadRecordError("record_malformed", "text_list is not a list of texts")
    at: dict[int, list[str]] = {}
    for image in objects_of(raw, "image_info"):
        place = image.get("matched_text_index")
        if not isinstance(place, int) or not 0 <= place < len(sentences):
            raise BadRecordError("record_malformed", f"an image of sentence {place!r}")
        at.setdefault(place, []).append(text_of(image, "image_name"))
    pieces: list[Piece] = []
    for number, sentence in enumerate(sentences):
        pieces += [("image", name) for name in at.get(number, ())]
        pieces.append(("text", sentence))
    return pieces


def _obelics_pieces(raw: Raw) -> list[Piece]:
    images, texts = raw.get("images"), raw.get("texts")
    if not isinstance(images, list) or not isinstance(texts, list) or len(images) != len(texts):
        raise BadRecordError("record_malformed", "images and texts are not lists of one length")
    pieces: list[Piece] = []
    for image, text in zip(images, texts, strict=True):
        present = [value for value in (image, text) if value is not None]
        if len(present) != 1 or not isinstance(present[0], str):
            raise BadRecordError("record_malformed", "a place with neither image nor text, or both")
        pieces.append(("text", text) if image is None else ("image", _file_name(image)))
    return pieces


def _file_name(image: str) -> str:
    return f"{hashlib.sha256(image.encode()).hexdigest()}.jpg" if "://" in image else image


def _whole(origin: Origin, pieces: Sequence[Piece], options: ReadOptions, between: str) -> Record:
    if options.document_mode == "images_first":
        pieces = sorted(pieces, key=lambda piece: piece[0] != "image")
    items: list[dict[str, Any]] = []
    images: list[str] = []
    for kind, what in pieces:
        if kind == "image":
            items.append({"image": len(images)})
            images.append(options.image_name(what, "{}"))
        elif items and "text" in items[-1]:
            items[-1]["text"] += between + what
        elif what.strip():
            items.append({"text": what})
    return document(origin, items, images)


def _pairs(origin: Origin, pieces: Sequence[Piece], options: ReadOptions) -> Iterator[Record | Bad]:
    """Yield every image with the text that follows it; images in a row share theirs."""
    text: str | None = None
    pairs: list[Mapping[str, str]] = []
    for kind, what in reversed(pieces):
        if kind == "text":
            text = what if what.strip() else text
        elif text is not None:
            pairs.append({"image": what, "text": text})
    if not pairs:
        raise BadRecordError("no_pair", "no image has a text after it")
    for pair in reversed(pairs):
        items: list[dict[str, Any]] = [{"image": 0}, {"text": pair["text"]}]
        name = options.image_name(pair["image"], "{}")
        yield document(replace(origin, image_id=pair["image"]), items, [name])


FORMATS = (
    Format(
        name="mmc4",
        level="document",
        reader=mmc4,
        about="MMC4's lines; images by `image_name`",
        endings=LINES,
    ),
    Format(
        name="obelics",
        level="document",
        reader=obelics,
        about="OBELICS's records, as parquet or lines; images by name",
        endings=(".parquet", *LINES),
    ),
)
