"""What every reader is given: a part of the input, and the settings of the set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipelines.pack_job.images import Images
from pipelines.pack_job.records import Bad, Record


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What one reader reads from its start: a file or a folder."""

    name: str  # relative; stands in `source_file`
    path: str
    size: int  # bytes
    identity: str  # sha256 of what it holds
    first: int = 0  # of a folder of labels the first file, of a file of lines the first byte
    count: int | None = None  # and how many; None: all
    first_row: int = 0  # lines before the first byte


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Settings of readers; each format uses some."""

    source: str  # stands in `source`
    images: Images
    image_pattern: str | None = None  # name of an image's file, of its id
    annotations: str | None = None  # the second file of formats that have two
    split: str | None = None
    box_format: str | None = None
    document_mode: str = "interleaved"
    regions_per_sample: int = 8
    exclude: frozenset[str] = frozenset()  # ids of images

    def image_name(self, image_id: str, default: str) -> str:
        """Return the name of an image's file."""
        return (self.image_pattern or default).format(image_id)


Reader = Callable[[Unit, ReadOptions], Iterator[Record | Bad]]
