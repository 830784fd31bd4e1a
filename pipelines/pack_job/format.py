"""What a pack format is: how one published form is found, read and packed, as data.

Goes in: nothing. Comes out: the declaration that files of `pipelines.pack_job.readers` fill in.
`--help` and the docs list them, so those files import pyarrow, Pillow and the readers of
`grounding` inside the functions that read: loading them takes longer than all of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipelines.pack_job.reading import Reader, Unit

LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.bz2")
"""Endings of JSON lines, which `readers.lines` reads."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One published form."""

    name: str
    level: str  # one of `shards.schema.LEVELS`
    reader: Reader
    about: str  # what --input is, for help, docs and errors
    endings: tuple[str, ...] = ()  # of its files; none: `units` says what an input is
    units: Callable[[str, int | None], Iterator[Unit]] | None = None  # an input and --limit
    annotations: str | None = None  # what the second file is, where there is one
    coco: bool = False  # its images are COCO's, as those of several test sets are
    ids: bool = True  # of COCO's images: it has their ids, so that --exclude can name them
    splits: bool = False  # --split chooses a part of it
    box_format: bool = False  # what the numbers of its boxes are must be said by --box_format
    images_of: Callable[[Sequence[str]], tuple[str, ...]] | None = None
    """Where the images of its inputs are, when --images does not say."""
