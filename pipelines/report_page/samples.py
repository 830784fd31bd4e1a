"""Some of a dataset's samples, chosen by hash over all of them, and read by their places.

Goes in: a dataset and how many. Comes out: what the page shows of each, or why it cannot be shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.report_page.thumbnails import thumbnails
from pipelines.report_page.words import shown, web_address
from shards.access import RawSample, SampleError, SampleReader
from shards.dataset import Dataset
from shards.identity import Domain, choice

_SIDE_PX = 160
_MOST_IMAGES = 4  # of one sample
_URL_CHARS = 200


@dataclass(frozen=True)
class Origin:
    """Where something came from, as text."""

    key: str
    url: str
    link: str | None  # the URL, where it may be a link
    place: str  # source, file and row of the metadata


@dataclass(frozen=True)
class KeptSample:
    """One sample on the page."""

    origin: Origin
    caption: str
    images: tuple[str, ...]  # `data:` URIs
    wants_image: bool  # it has images, whether or not they can be shown


def read_some(dataset: Dataset, number: int) -> Iterator[RawSample | SampleError]:
    """Yield so many samples of a dataset, the same for the same dataset, in its order."""
    return SampleReader(dataset).read_many(choose_places(dataset.counts, number))


def choose_places(counts: tuple[int, ...], number: int) -> list[tuple[int, int]]:
    """Return shard and row of so many samples, drawn by hash without reading anything.

    Places are drawn, not keys: the smallest hashes of all keys would cost every sidecar of a run.
    """
    ends = np.cumsum(counts)
    total = int(ends[-1])
    chosen: dict[int, None] = {}
    drawn = 0
    while len(chosen) < min(number, total):
        ids = np.stack([np.arange(drawn, drawn + 4 * number)] * 2, axis=1).astype(np.uint64)
        drawn += len(ids)
        draws = choice(Domain.SAMPLE, 0, ids) % np.uint64(total)
        chosen |= dict.fromkeys(draws.tolist())
    places = sorted([*chosen][:number])
    shards = np.searchsorted(ends, places, side="right").tolist()
    return [
        (shard, place - int(ends[shard]) + counts[shard])
        for shard, place in zip(shards, places, strict=True)
    ]


def kept_sample(raw: RawSample) -> KeptSample:
    """Return what the page shows of a sample.

    Raises:
        SampleError: Its JSON is damaged.
    """
    return KeptSample(
        origin=origin(raw.key, raw.fields()),
        caption=shown(raw.text.decode("utf-8", "replace")),
        images=thumbnails(raw.images, _SIDE_PX, _MOST_IMAGES),
        wants_image=bool(raw.images),
    )


def origin(key: str | None, fields: Mapping[str, Any]) -> Origin:
    """Return where a sample or a row came from; any field may be missing."""
    url = fields.get("url")
    file, row = fields.get("source_file"), fields.get("source_row")
    known = [fields.get("source"), file, None if row is None else f"row {row}"]
    return Origin(
        key=shown(key),
        url=shown(url, _URL_CHARS),
        link=web_address(url),
        place=shown(", ".join(str(part) for part in known if part is not None)),
    )
