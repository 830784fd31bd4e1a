"""Which rejected rows a filter item keeps for people to look at, and what of them.

A row that a safety rule rejects keeps its key and reasons, never its URL or caption.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filters import ChainResult
from shards.files import parquet
from shards.identity import Domain, choice
from shards.schema import REJECT

PER_REASON = 32
"""Rows kept per reason and item when sampling."""


class RejectSampler:
    """Collects rejected rows, batch by batch; the sample is chosen by hash, not by arrival."""

    def __init__(self, mode: str, seed: int, reasons: Sequence[str]) -> None:
        self._mode = mode
        self._seed = seed
        self._reasons = pa.array(reasons, pa.string())
        self._tables: list[tuple[npt.NDArray[np.int16], npt.NDArray[np.uint64], pa.Table]] = []

    def add(self, batch: pa.RecordBatch, result: ChainResult, ids: npt.NDArray[np.uint64]) -> None:
        """Look at one judged batch."""
        if self._mode == "none":
            return
        order = choice(Domain.REJECT_SAMPLE, self._seed, ids)
        indices = np.flatnonzero(result.owner >= 0)
        if self._mode == "sample":
            indices = indices[_smallest(result.owner[indices], order[indices])]
        if len(indices):
            table = self._table(batch, result, indices)
            self._tables.append((result.owner[indices], order[indices], table))

    def write(self, path: str) -> None:
        """Write the rejects in the order of their rows."""
        table = pa.concat_tables([REJECT.empty_table(), *(table for _, _, table in self._tables)])
        if self._mode == "sample" and self._tables:
            owner = np.concatenate([owner for owner, _, _ in self._tables])
            order = np.concatenate([order for _, order, _ in self._tables])
            table = table.take(pa.array(np.sort(_smallest(owner, order))))
        parquet.write(path, [table], REJECT)

    def _table(
        self, batch: pa.RecordBatch, result: ChainResult, indices: npt.NDArray[np.intp]
    ) -> pa.Table:
        rows = batch.take(pa.array(indices))
        safe = pa.array(result.safety_owner[indices] < 0)
        nothing = pa.scalar(None, pa.string())
        columns = {name: rows.column(name) for name in REJECT.names if name in rows.schema.names}
        columns |= {
            "reason": self._reasons.take(pa.array(result.owner[indices])).dictionary_encode(),
            "reasons": result.reason_lists().take(pa.array(indices)),
            "url": pc.if_else(safe, rows.column("url"), nothing),
            "caption": pc.if_else(safe, rows.column("caption"), nothing),
        }
        return pa.table([columns[name] for name in REJECT.names], schema=REJECT)


def _smallest(owner: npt.NDArray[np.int16], order: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    """Return the indices of the `PER_REASON` rows of smallest hash of every reason."""
    sorted_rows = np.lexsort((order, owner))
    starts = np.flatnonzero(np.diff(owner[sorted_rows], prepend=-1))
    rank = np.arange(len(sorted_rows)) - np.repeat(
        starts, np.diff(np.append(starts, len(sorted_rows)))
    )
    chosen: npt.NDArray[np.intp] = np.sort(sorted_rows[rank < PER_REASON])
    return chosen
