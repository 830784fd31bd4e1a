"""Visual Genome: descriptions of regions, a box each.

Goes in: `region_descriptions.json` and `image_data.json`. Comes out: records whose caption is some
descriptions of one image, one after the other, each of them a phrase. One image has about fifty,
so that a record for each would store every image as often.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from grounding.annotated.annotations import (
    Annotated,
    AnnotatedPhrase,
    Rejected,
    cleaned,
    joined,
    relative_box,
)
from shards.grounded import BadGroundingError, Box

SOURCE = "visual_genome"

_BLOCK_CHARS = 1 << 20
_BETWEEN = re.compile(r"[\s,]*")


@dataclass(frozen=True)
class Image:
    """What `image_data.json` says of an image."""

    width_px: int
    height_px: int
    coco_id: str | None  # None: it is not COCO's


def read(
    regions: str | os.PathLike[str],
    image_data: str | os.PathLike[str],
    *,
    regions_per_sample: int = 8,
    exclude: Iterable[str | int] = (),
) -> Iterator[Annotated | Rejected]:
    """Yield the regions of all images; a region that cannot be used is a reject of its own.

    Args:
        regions: `region_descriptions.json`, read image by image.
        image_data: `image_data.json`: sizes, and which images are COCO's.
        regions_per_sample: Descriptions per caption; 1 makes each a referring expression.
        exclude: COCO's ids of images that must not be used; those images are rejected.

    Raises:
        ValueError: A file is missing or is something else; the message names it.
    """
    if regions_per_sample < 1:
        raise ValueError(f"regions_per_sample must be at least 1, not {regions_per_sample}")
    unwanted = {str(image_id) for image_id in exclude}
    known = images(image_data)
    try:
        for row, entry in enumerate(elements(regions)):
            image_id = str(entry.get("image_id", entry.get("id")))
            if image_id not in known:
                yield Rejected(image_id, "image_missing", "image_data.json has not this image")
            elif known[image_id].coco_id in unwanted:
                detail = f"COCO's image {known[image_id].coco_id} is on the list of exclusions"
                yield Rejected(image_id, "excluded", detail)
            else:
                made = _Regions(image_id, known[image_id], Path(regions).name, row)
                yield from made.records(entry["regions"], regions_per_sample)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{os.fspath(regions)}: not as published ({type(error).__name__}: {error})"
        ) from error


def images(path: str | os.PathLike[str]) -> dict[str, Image]:
    """Return the images of `image_data.json` by id.

    Raises:
        ValueError: It is missing or something else.
    """
    try:
        return {str(record["image_id"]): _image(record) for record in elements(path)}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{os.fspath(path)}: not Visual Genome's image_data.json "
            f"({type(error).__name__}: {error})"
        ) from error


def elements(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Yield the elements of a file that is one JSON array; memory holds one at a time.

    Raises:
        ValueError: It is missing or no such array.
    """
    try:
        with open(path, encoding="utf-8") as file:
            yield from _elements(file)
    except FileNotFoundError:
        raise ValueError(f"{os.fspath(path)}: there is no such file") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{os.fspath(path)}: not a whole JSON array ({error.msg})") from error


def _elements(file: IO[str]) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    text, place = file.read(_BLOCK_CHARS), 0
    opening = _BETWEEN.match(text)
    assert opening is not None
    if text[opening.end() : opening.end() + 1] != "[":
        raise json.JSONDecodeError("it does not begin with [", text[:20], 0)
    place = opening.end() + 1
    while True:
        between = _BETWEEN.match(text, place)
        assert between is not None
        if text[between.end() : between.end() + 1] == "]":
            return
        try:
            value, end = decoder.raw_decode(text, between.end())
        except json.JSONDecodeError:
            value, end = None, len(text)
        if end < len(text):  # a number at the end of what was read may continue
            yield value
            place = end
            continue
        text, place = text[place:], 0
        more = file.read(max(_BLOCK_CHARS, len(text)))  # doubling keeps long elements cheap
        if not more:
            raise json.JSONDecodeError("it ends too early", text[:20], 0)
        text += more


@dataclass(frozen=True)
class _Regions:
    """Makes records of one image."""

    image_id: str
    image: Image
    source_file: str
    row: int

    def records(
        self, regions: Sequence[Mapping[str, Any]], per_sample: int
    ) -> Iterator[Annotated | Rejected]:
        usable: list[tuple[str, Box]] = []
        for region in regions:
            try:
                usable.append(self._region(region))
            except BadGroundingError as error:
                yield Rejected(self.image_id, error.reason, error.detail)
        for first in range(0, len(usable), per_sample):
            yield self._record(usable[first : first + per_sample])

    def _region(self, region: Mapping[str, Any]) -> tuple[str, Box]:
        text = cleaned(region["phrase"]).rstrip(". ")
        if not text:
            raise BadGroundingError("phrase_empty", f"region {region.get('region_id')}")
        x, y = region["x"], region["y"]
        corners = [x, y, x + region["width"], y + region["height"]]
        return text, relative_box(corners, self.image.width_px, self.image.height_px)

    def _record(self, regions: Sequence[tuple[str, Box]]) -> Annotated:
        alone = len(regions) == 1
        caption, spans = joined(text if alone else f"{text}." for text, _ in regions)
        phrases = [
            AnnotatedPhrase(start, start + len(text), (box,))
            for (start, _), (text, box) in zip(spans, regions, strict=True)
        ]
        return Annotated(
            image_id=self.image_id,
            caption=caption,
            phrases=tuple(phrases),
            source=SOURCE,
            source_file=self.source_file,
            source_row=self.row,
            width_px=self.image.width_px,
            height_px=self.image.height_px,
        )


def _image(values: Mapping[str, Any]) -> Image:
    coco_id = values.get("coco_id")
    return Image(
        int(values["width"]), int(values["height"]), None if coco_id is None else str(coco_id)
    )
