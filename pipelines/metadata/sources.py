"""What each corpus's metadata looks like, and how a batch of it becomes canonical rows.

Goes in: a record batch as a corpus published it. Comes out: a batch of
`shards.schema.CANONICAL` + `DERIVED` columns. A source is data (column names, a swap,
a scorer, a rank); the code below is the same for all of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.metadata.casts import cast
from shards import identity, text
from shards.schema import CANONICAL, DERIVED, NAME

PROVENANCE = ("source", "source_file", "source_row")
SETTABLE = tuple(
    name
    for name in CANONICAL.names
    if name not in (*PROVENANCE, "caption_raw", "similarity_scorer")
)
"""Canonical columns that a user may name in `--columns`."""

REQUIRED = ("url", "caption")
SAFETY_COLUMNS = ("nsfw_score", "nsfw_tag")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One corpus's metadata format."""

    name: str
    summary: str  # one sentence for help and docs
    columns: Mapping[str, tuple[str, ...]]  # canonical name -> the corpus's names, any casing
    rank: int  # the lower wins where several sources hold one URL
    scorer: str | None = None  # model behind `similarity`; scores of two models never meet
    swapped: bool = False  # the corpus published WIDTH and HEIGHT exchanged
    headerless: bool = False  # column names are positions in a text file


_LAION_BASE = {
    "url": ("URL",),
    "caption": ("TEXT", "caption"),
    "width": ("WIDTH",),
    "height": ("HEIGHT",),
    "similarity": ("similarity",),
    "language": ("LANGUAGE",),
}
_LAION = {
    **_LAION_BASE,
    "nsfw_tag": ("NSFW",),
    "license": ("LICENSE",),
    "source_key": ("SAMPLE_ID",),
}
_LAION_JOINED = {
    **_LAION_BASE,
    "nsfw_score": ("punsafe",),
    "watermark_score": ("pwatermark",),
    "aesthetic_score": ("aesthetic", "AESTHETIC_SCORE"),
    "source_key": ("hash",),
}
_CLIP_B32 = "clip-vit-b-32"
_MCLIP_B32 = "mclip-vit-b-32"

# Ranks put the sources with scores first: a row that was judged beats one that was not.
SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source(
            name="laion2b_en_joined",
            summary="LAION-2B-en joined with punsafe and pwatermark.",
            columns=_LAION_JOINED,
            rank=10,
            scorer=_CLIP_B32,
        ),
        Source(
            name="laion2b_multi_joined",
            summary="LAION-2B-multi joined with punsafe and pwatermark.",
            columns=_LAION_JOINED,
            rank=11,
            scorer=_MCLIP_B32,
        ),
        Source(
            name="laion1b_nolang_joined",
            summary="LAION-1B-nolang joined with punsafe and pwatermark.",
            columns=_LAION_JOINED,
            rank=12,
            scorer=_MCLIP_B32,
        ),
        Source(
            name="coyo700m",
            summary="COYO-700M; the NSFW score is the higher of its two.",
            columns={
                "url": ("url",),
                "caption": ("text",),
                "width": ("width",),
                "height": ("height",),
                "similarity": ("clip_similarity_vitb32",),
                "nsfw_score": ("nsfw_score_opennsfw2", "nsfw_score_gantman"),
                "watermark_score": ("watermark_score",),
                "aesthetic_score": ("aesthetic_score_laion_v2",),
                "source_key": ("id",),
            },
            rank=20,
            scorer=_CLIP_B32,
        ),
        Source(
            name="laion2b_en",
            summary="LAION-2B-en as first published: WIDTH and HEIGHT exchanged, NSFW tags.",
            columns=_LAION,
            rank=30,
            scorer=_CLIP_B32,
            swapped=True,
        ),
        Source(
            name="laion2b_multi",
            summary="LAION-2B-multi as first published: WIDTH and HEIGHT exchanged, NSFW tags.",
            columns=_LAION,
            rank=31,
            scorer=_MCLIP_B32,
            swapped=True,
        ),
        Source(
            name="laion1b_nolang",
            summary="LAION-1B-nolang as first published: WIDTH and HEIGHT exchanged, NSFW tags.",
            columns=_LAION,
            rank=32,
            scorer=_MCLIP_B32,
            swapped=True,
        ),
        Source(
            name="laion400m",
            summary="LAION-400M with its NSFW tags.",
            columns=_LAION,
            rank=40,
            scorer=_CLIP_B32,
        ),
        Source(
            name="generic",
            summary="Any parquet, CSV or TSV; name its columns with --columns.",
            columns={
                "url": ("url",),
                "caption": ("caption", "text", "txt"),
                **{name: (name,) for name in SETTABLE if name not in REQUIRED},
            },
            rank=90,
        ),
        Source(
            name="run",
            summary="The kept rows and tombstones of another run's directory.",
            columns={name: (name,) for name in CANONICAL.names},
            rank=99,
        ),
    )
}

_SEVERAL = {("coyo700m", "nsfw_score")}
"""Where the listed columns are not alternatives: the highest of them is taken."""


def with_columns(source: Source, columns: Mapping[str, str]) -> Source:
    """Return the generic source with a user's column names (or positions, for headerless text).

    Raises:
        ValueError: A canonical name is unknown, or names and positions are mixed.
    """
    for name in columns:
        if name not in SETTABLE:
            close = difflib.get_close_matches(name, SETTABLE, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(
                f"--columns: {name!r} is not a column of ours; {hint}known: {', '.join(SETTABLE)}"
            )
    positions = [actual.isdigit() for actual in columns.values()]
    if any(positions) and not all(positions):
        raise ValueError("--columns: give either column names or positions (0, 1, …), not both")
    named = {name: (actual,) for name, actual in columns.items()}
    headerless = bool(positions) and all(positions)
    merged = named if headerless else {**source.columns, **named}
    return replace(source, columns=merged, headerless=headerless)


def resolve(source: Source, names: Iterable[str], where: str) -> dict[str, tuple[str, ...]]:
    """Match a file's columns to ours, whatever their casing.

    Args:
        source: The format the file claims to have.
        names: The file's column names.
        where: The file, for errors.

    Returns:
        Canonical name to the file's own names: one, or several of which the highest counts.

    Raises:
        ValueError: A required column is absent, or two columns could be meant.
    """
    names = list(names)
    found: dict[str, tuple[str, ...]] = {}
    for canonical, wanted in source.columns.items():
        matches = [name for name in names if name.casefold() in {w.casefold() for w in wanted}]
        exact = [name for name in matches if name in wanted]
        if (source.name, canonical) in _SEVERAL:
            found[canonical] = tuple(matches)
        elif len(matches) > 1 and len(exact) != 1:
            raise ValueError(
                f"{where}: {' and '.join(map(repr, matches))} could both be {canonical!r}; "
                f"say which with --columns {canonical}=NAME"
            )
        elif matches:
            found[canonical] = tuple((exact or matches)[:1])
    for canonical in REQUIRED:
        if not found.get(canonical):
            raise ValueError(
                f"{where}: source {source.name!r} needs a column for {canonical!r} "
                f"({' or '.join(source.columns.get(canonical, ()))}); the file has "
                f"{', '.join(names) or 'none'}; use another source or generic with --columns"
            )
    return {canonical: actual for canonical, actual in found.items() if actual}


def canonicalise(
    batch: pa.RecordBatch,
    source: Source,
    resolved: Mapping[str, tuple[str, ...]],
    *,
    file: str,
    rows: npt.NDArray[np.int64],
) -> pa.RecordBatch:
    """Return a batch of a source's rows as `CANONICAL` + `DERIVED` columns.

    Args:
        batch: Rows as read from the file; at least the resolved columns.
        source: The format.
        resolved: From `resolve`.
        file: Relative name of the file, for provenance.
        rows: Row numbers of the batch's rows in that file.

    Raises:
        ValueError: A column holds lists or structs.
    """
    columns = {name: _column(batch, actual, name, file) for name, actual in resolved.items()}
    columns |= _text_columns(columns)
    if source.swapped and "width" in columns and "height" in columns:
        columns["width"], columns["height"] = columns["height"], columns["width"]
    if source.name != "run":
        columns["source"] = _repeat(source.name, len(batch))
        columns["source_file"] = _repeat(file, len(batch))
        columns["source_row"] = pa.array(rows, pa.int64())
        if source.scorer and "similarity" in columns:
            columns["similarity_scorer"] = _repeat(source.scorer, len(batch))
    fields = [*CANONICAL, *DERIVED]
    arrays = [
        columns[f.name] if f.name in columns else pa.nulls(len(batch), f.type) for f in fields
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _text_columns(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    url, bad_url = text.drop_invalid(columns["url"])
    caption, bad_caption = text.drop_invalid(columns["caption"])
    invalid = pc.or_(bad_url, bad_caption)
    if pc.any(invalid).as_py():
        nothing = pa.scalar(None, pa.string())
        url, caption = pc.if_else(invalid, nothing, url), pc.if_else(invalid, nothing, caption)
    raw = caption
    if "caption_raw" in columns:  # a row of an earlier run: the key hashes what its source had
        raw = pc.coalesce(columns["caption_raw"], caption)
    cleaned = text.clean_captions(raw)
    changed = pc.fill_null(pc.not_equal(cleaned, raw), False)
    canonical = identity.canonical_urls(url)
    others = {
        name: text.drop_invalid(array)[0]
        for name, array in columns.items()
        if array.type == pa.string() and name not in (*REQUIRED, "caption_raw")
    }
    return others | {
        "url": url,
        "caption": cleaned,
        "caption_raw": pc.if_else(changed, raw, pa.scalar(None, pa.string())),
        "canonical_url": canonical,
        "invalid_text": invalid,
        "url_hash": identity.url_hashes(url, canonical),
        "key": identity.keys(url, canonical, raw),
    }


def _column(batch: pa.RecordBatch, actual: tuple[str, ...], canonical: str, file: str) -> pa.Array:
    target = CANONICAL.field(canonical).type
    for name in actual:
        if pa.types.is_nested(batch.column(name).type):
            raise ValueError(
                f"{file}: column {name!r} holds {batch.column(name).type}, which cannot be "
                f"{canonical!r}; name another with --columns {canonical}=NAME"
            )
    casted = [cast(batch.column(name), target) for name in actual]
    if len(casted) == 1:
        return casted[0]
    highest = pc.max_element_wise(*casted, skip_nulls=True)
    nan = pc.fill_null(pc.is_nan(casted[0]), False)
    for array in casted[1:]:
        nan = pc.or_(nan, pc.fill_null(pc.is_nan(array), False))
    # A NaN beside a number would be skipped: a score that went wrong must stay visible.
    return pc.if_else(nan, pa.scalar(float("nan"), target), highest)


def _repeat(value: str, count: int) -> pa.Array:
    indices = pa.array(np.zeros(count, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([value])).cast(NAME)
