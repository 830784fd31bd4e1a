"""What a source is: the metadata format of one corpus, as data.

Goes in: nothing. Comes out: the declaration that `pipelines.metadata.corpora` fills in. Nothing
here imports pyarrow: help pages and command lines list the sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shards.suggest import suggest

COLUMNS = (
    *("url", "caption", "caption_raw", "width", "height", "similarity", "similarity_scorer"),
    *("nsfw_score", "nsfw_tag", "watermark_score", "aesthetic_score", "language", "license"),
    *("source_key", "source", "source_file", "source_row"),
)
"""The names of `shards.schema.CANONICAL`, which only pyarrow can spell."""

_NOT_SETTABLE = ("source", "source_file", "source_row", "caption_raw", "similarity_scorer")
SETTABLE = tuple(name for name in COLUMNS if name not in _NOT_SETTABLE)
"""Canonical columns that a user may name in `--columns`: all but provenance."""

REQUIRED = ("url", "caption")
SAFETY_COLUMNS = ("nsfw_score", "nsfw_tag")

CLIP_B32 = "clip-vit-b-32"
MCLIP_B32 = "mclip-vit-b-32"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One corpus's metadata format."""

    name: str
    summary: str  # one sentence for help and docs
    columns: Mapping[str, tuple[str, ...]]  # canonical name -> the corpus's names, any casing
    rank: int  # unique; the lower wins where several sources hold one URL
    scorer: str | None = None  # model behind `similarity`; scores of two models never meet
    swapped: bool = False  # the corpus published WIDTH and HEIGHT exchanged
    headerless: bool = False  # column names are positions in a text file
    highest: frozenset[str] = frozenset()  # of these, all listed columns count: the highest value
    canonical: bool = False  # rows of an earlier run, which keep the provenance they have

    def __post_init__(self) -> None:
        for column, names in self.columns.items():
            if column not in COLUMNS:
                raise ValueError(
                    f"source {self.name}: {column!r} is not a column of ours; "
                    f"{suggest(column, COLUMNS)}"
                )
            if isinstance(names, str):
                raise ValueError(f"source {self.name}: write {column!r}: ({names!r},), a tuple")
