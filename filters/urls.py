"""The text that the URL rules look at, and how Python judges the few rows that patterns cannot.

In: `canonical_url` and the raw `url` of a batch. Out: Arrow text, masks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from filters.base import Mask
from filters.regex import matching

if TYPE_CHECKING:
    import pyarrow as pa


def url_text(batch: pa.RecordBatch) -> pa.Array:
    """Return the canonical URL of every row, or the raw one, stripped, where there is none."""
    import pyarrow.compute as pc

    canonical, raw = batch.column("canonical_url"), batch.column("url")
    if not canonical.null_count:
        return canonical
    missing = canonical.is_null()
    stripped = pc.utf8_trim_whitespace(raw.filter(missing))
    return pc.replace_with_mask(canonical, missing, stripped)


def has_url(batch: pa.RecordBatch) -> Mask:
    """Return which rows have a URL with a visible character, shape (rows,)."""
    return matching(batch.column("url"), r"[^\pZ\x00-\x20\x7f\x{85}]")


def judged(text: pa.Array, doubtful: Mask, judge: Callable[[str], bool]) -> Mask:
    """Judge the `doubtful` rows one by one; the others are False. Shape (rows,)."""
    rows = np.flatnonzero(doubtful)
    mask: Mask = np.zeros(len(text), dtype=np.bool_)
    mask[rows] = [judge(url) for url in taken(text, rows)]
    return mask


def taken(text: pa.Array, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    """Return the texts of some rows; null is empty."""
    import pyarrow as pa

    return [url or "" for url in text.take(pa.array(rows)).to_pylist()]
