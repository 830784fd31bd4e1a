"""Brings a batch of any source to canonical rows.

Goes in: a record batch as a corpus published it. Comes out: a batch of
`shards.schema.CANONICAL` + `DERIVED` columns. The code is the same for all sources; what differs
is declared.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.metadata.casts import cast
from pipelines.metadata.source import REQUIRED, Source
from shards import identity, text
from shards.schema import CANONICAL, DERIVED, NAME


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
    if not source.canonical:
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
