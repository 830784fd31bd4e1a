"""The stable entry point: a table and a preset in, what to keep and why not out."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from filters.chain import Chain, ChainResult, Mode, apply_chain
from filters.presets import build_chain

if TYPE_CHECKING:
    import pyarrow as pa

_STRINGS = ("url", "canonical_url", "caption", "nsfw_tag")


def apply(
    table: pa.Table | pa.RecordBatch,
    preset: str | Chain = "cogvlm",
    mode: Mode = "full",
) -> ChainResult:
    """Run a preset or a chain of your own over a table. This signature is stable.

    Args:
        table: rows with the columns that the chain reads: `url`, `caption` (cleaned: NFC,
            entities unescaped, white space collapsed), `width` and `height` in pixels,
            `nsfw_score` in [0, 1], `nsfw_tag`. Two may be absent: `canonical_url` (then `url`
            counts as canonical) and `invalid_text` (then all text counts as valid UTF-8).
            Where a source has no sizes or scores, give the column as nulls: what a null means
            is the filter's `on_missing`.
        preset: name of a preset, or a chain.
        mode: `full`, or `first` for speed without "alone" counts and overlap.

    Returns:
        Masks, owners and counts in the table's row order.

    Raises:
        ValueError: an unknown preset, a missing column, or a column of the wrong type.
    """
    import pyarrow as pa

    chain = build_chain(preset) if isinstance(preset, str) else preset
    batches = _complete(table).combine_chunks().to_batches()
    if not batches:
        batches = [pa.RecordBatch.from_pylist([], schema=_complete(table).schema)]
    results = [apply_chain(batch, chain, mode) for batch in batches]
    return functools.reduce(_joined, results)


def _complete(table: pa.Table | pa.RecordBatch) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    names = table.schema.names
    if "canonical_url" not in names and "url" in names:
        table = table.append_column("canonical_url", table.column("url"))
    if "invalid_text" not in names:
        valid = pa.repeat(pa.scalar(False), table.num_rows)
        table = table.append_column("invalid_text", valid)
    for index, field in enumerate(table.schema):
        if field.name in _STRINGS and field.type != pa.string():
            column = pc.cast(table.column(index), pa.string())
            table = table.set_column(index, field.name, column)
    return table


def _joined(a: ChainResult, b: ChainResult) -> ChainResult:
    return ChainResult(a.chain, a.mode, np.concatenate([a.verdicts, b.verdicts], axis=1))
