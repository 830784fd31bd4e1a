"""A chain of filters over a batch: who keeps, who owns a rejection, what is counted.

In: a `pa.RecordBatch` and a `Chain`. Out: a `ChainResult`. The first failing filter in chain
order owns a row. Mode `full` runs every filter on every row; mode `first` runs later filters on
survivors only: the same rows are kept and owned, but what else a rejected row would have failed
stays unknown. Safety filters run on every row in both modes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from filters.base import DEFERRED, Filter, Mask, Verdict
from filters.counts import ChainCounts, Matrix
from filters.lexicon import data_sha256

if TYPE_CHECKING:
    import pyarrow as pa

Mode = Literal["full", "first"]

_WORTH_COMPACTING = 0.08
"""Share of dead rows from which copying the survivors costs less than looking at the dead."""


@dataclasses.dataclass(frozen=True)
class Chain:
    """Filters in the order in which they own rejections.

    Raises:
        ValueError: two filters of the same name.
    """

    filters: tuple[Filter, ...]

    def __init__(self, filters: Sequence[Filter]) -> None:
        """Take any sequence of filters."""
        object.__setattr__(self, "filters", tuple(filters))
        names = [f.name for f in self.filters]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"filter {name!r} is in the chain twice; name it once")

    @functools.cached_property
    def reasons(self) -> tuple[str, ...]:
        """All reasons in chain order: `owner` indexes this."""
        return tuple(reason for f in self.filters for reason in f.reasons)

    @functools.cached_property
    def first_reasons(self) -> npt.NDArray[np.int16]:
        """Return the index in `reasons` of each filter's first reason, shape (filters,)."""
        lengths = [len(f.reasons) for f in self.filters]
        return np.cumsum([0, *lengths[:-1]]).astype(np.int16)[: len(lengths)]

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that the filters read."""
        return tuple(dict.fromkeys(column for f in self.filters for column in f.columns))

    def decoded(self) -> Chain:
        """Return the filters that run again on the size of the decoded image, for all images."""
        return Chain([f for f in self.filters if f.decides_on == "decoded"])

    def undecidable(self) -> tuple[str, ...]:
        """Name the filters that are set to defer although no later stage has their columns.

        A planner that has no scorer for them refuses such a chain.
        """
        return tuple(
            f.name
            for f in self.filters
            if f.parameters().get("on_missing") == "defer" and f.decides_on == "metadata"
        )

    def spec(self) -> list[dict[str, Any]]:
        """Return names and parameters as JSON values, for fingerprints and `run.json`."""
        return [{"name": f.name, "parameters": f.parameters()} for f in self.filters]

    def data_files(self) -> dict[str, str]:
        """Return the sha256 of every data file that the verdicts depend on."""
        names = sorted({name for f in self.filters for name in f.data_files})
        return {f"filters/data/{name}": data_sha256(name) for name in names}


@dataclasses.dataclass(frozen=True, eq=False)
class ChainResult:
    """What a chain decided about the rows of a batch, in the batch's row order."""

    chain: Chain
    mode: Mode
    verdicts: npt.NDArray[np.int8]
    """(filters, rows) every filter's verdict; in mode `first` 0 where a filter was not asked."""

    @property
    def num_rows(self) -> int:
        """Return the number of rows."""
        return int(self.verdicts.shape[1])

    @functools.cached_property
    def failed(self) -> npt.NDArray[np.bool_]:
        """Which filter rejects which row, shape (filters, rows)."""
        return self.verdicts > 0

    @functools.cached_property
    def owner(self) -> npt.NDArray[np.int16]:
        """Index in `chain.reasons` of the reason that owns each row, -1 where kept; (rows,)."""
        return self._first_failure(lambda f: True)

    @functools.cached_property
    def safety_owner(self) -> npt.NDArray[np.int16]:
        """Index in `chain.reasons` of each row's first safety failure, else -1; (rows,)."""
        return self._first_failure(lambda f: f.safety)

    @property
    def keep(self) -> Mask:
        """Which rows no filter rejects, shape (rows,)."""
        return self.owner < 0

    @functools.cached_property
    def deferred(self) -> npt.NDArray[np.bool_]:
        """Which filter could not decide which *kept* row, shape (filters, rows)."""
        waiting: npt.NDArray[np.bool_] = (self.verdicts == DEFERRED) & self.keep
        return waiting

    @functools.cached_property
    def counts(self) -> ChainCounts:
        """Return the counts of this batch."""
        return _count(self)

    def reason_lists(self) -> pa.Array:
        """List the reasons of every filter that rejects a row: `list<string>`, (rows,).

        In mode `first` these are the owner's and those of safety filters.
        """
        import pyarrow as pa

        names = pa.array(self.chain.reasons, pa.string())
        offsets, rows, chosen = _ragged(self.failed)
        reason = self.chain.first_reasons[chosen] + self.verdicts[chosen, rows] - 1
        return pa.ListArray.from_arrays(offsets, names.take(pa.array(reason, pa.int32())))

    def deferred_lists(self) -> pa.Array:
        """List the names of the filters that wait for decoded facts: `list<string>`, (rows,)."""
        import pyarrow as pa

        names = pa.array([f.name for f in self.chain.filters], pa.string())
        offsets, _, chosen = _ragged(self.deferred)
        return pa.ListArray.from_arrays(offsets, names.take(pa.array(chosen, pa.int32())))

    def _first_failure(self, counts_for: Callable[[Filter], bool]) -> npt.NDArray[np.int16]:
        owner = np.full(self.num_rows, -1, dtype=np.int16)
        for i in reversed(range(len(self.chain.filters))):
            if counts_for(self.chain.filters[i]):
                rows = np.flatnonzero(self.failed[i])
                owner[rows] = self.chain.first_reasons[i] + self.verdicts[i, rows] - 1
        return owner


def apply_chain(batch: pa.RecordBatch, chain: Chain, mode: Mode = "full") -> ChainResult:
    """Run a chain over a batch.

    Args:
        batch: at least the chain's columns.
        chain: the filters.
        mode: `full` asks every filter about every row, `first` asks later filters about
            survivors only.

    Raises:
        ValueError: a column is missing or the mode is unknown.
    """
    if mode not in ("full", "first"):
        raise ValueError(f"the funnel mode must be full or first, not {mode!r}")
    missing = [name for name in chain.columns if name not in batch.schema.names]
    if missing:
        raise ValueError(
            f"the table lacks the columns {', '.join(missing)}, which the filters read; "
            "add them (null where unknown) or use a chain without their filters"
        )
    batch = batch.select(list(chain.columns))
    run = _run_full if mode == "full" else _run_first
    return ChainResult(chain, mode, run(batch, chain))


def _run_full(batch: pa.RecordBatch, chain: Chain) -> npt.NDArray[np.int8]:
    verdicts = np.zeros((len(chain.filters), batch.num_rows), dtype=np.int8)
    for i, rule in enumerate(chain.filters):
        verdicts[i] = _verdict(rule, batch)
    return verdicts


def _run_first(batch: pa.RecordBatch, chain: Chain) -> npt.NDArray[np.int8]:
    import pyarrow as pa

    verdicts = np.zeros((len(chain.filters), batch.num_rows), dtype=np.int8)
    alive = np.ones(batch.num_rows, dtype=np.bool_)
    survivors = batch
    rows = np.arange(batch.num_rows)  # rows[i]: the row in `batch` of survivor i
    for i, rule in enumerate(chain.filters):
        if rule.safety:
            verdicts[i] = _verdict(rule, batch)
        else:
            verdict = _verdict(rule, survivors)
            verdict[~alive[rows]] = 0
            verdicts[i, rows] = verdict
        alive &= verdicts[i] <= 0
        living = alive[rows]
        if len(rows) - np.count_nonzero(living) > _WORTH_COMPACTING * len(rows):
            still_read = {name for f in chain.filters[i + 1 :] for name in f.columns}
            columns = [name for name in survivors.schema.names if name in still_read]
            if not columns:  # this was the last filter
                break
            survivors = survivors.select(columns).filter(pa.array(living))
            rows = rows[living]
    return verdicts


def _verdict(rule: Filter, batch: pa.RecordBatch) -> Verdict:
    verdict = rule.verdicts(batch)
    assert verdict.dtype == np.int8 and verdict.shape == (batch.num_rows,), rule.name
    return verdict


def _ragged(
    chosen: npt.NDArray[np.bool_],
) -> tuple[pa.Array, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Turn a (filters, rows) mask into list offsets and the (row, filter) of every set cell."""
    import pyarrow as pa

    some = np.flatnonzero(chosen.any(axis=0))  # few rows; walking the others is what would cost
    nth, filters = np.nonzero(chosen[:, some].T)
    offsets = np.concatenate([[0], np.cumsum(chosen.sum(axis=0))])
    return pa.array(offsets, pa.int32()), some[nth], filters


def _count(result: ChainResult) -> ChainCounts:
    chain, filters = result.chain, result.chain.filters
    full = result.mode == "full"
    failed = result.failed[:, ~result.keep]
    return ChainCounts(
        rows=result.num_rows,
        kept=result.num_rows - failed.shape[1],
        owned=_per_reason(result.owner, chain.reasons),
        deferred={f.name: int(row.sum()) for f, row in zip(filters, result.deferred, strict=True)},
        safety={
            reason: count
            for reason, count in _per_reason(result.safety_owner, chain.reasons).items()
            if reason in {r for f in filters if f.safety for r in f.reasons}
        },
        alone=_alone(failed, chain) if full else None,
        overlap=_overlap(failed) if full else None,
    )


def _per_reason(owner: npt.NDArray[np.int16], reasons: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(owner[owner >= 0], minlength=len(reasons))
    return dict(zip(reasons, counts.tolist(), strict=True))


def _alone(failed: npt.NDArray[np.bool_], chain: Chain) -> dict[str, int]:
    counts = failed[:, failed.sum(axis=0) == 1].sum(axis=1)
    return {f.name: int(count) for f, count in zip(chain.filters, counts, strict=True)}


def _overlap(failed: npt.NDArray[np.bool_]) -> Matrix:
    # Few combinations occur. A product over all rows would go to BLAS, whose threads spin for
    # longer than they work: a quarter of a filter item's CPU time.
    packed, counts = np.unique(np.packbits(failed, axis=0), axis=1, return_counts=True)
    cells = np.unpackbits(packed, axis=0, count=len(failed)).astype(np.int64)
    return tuple(tuple(map(int, row)) for row in np.einsum("ic,jc,c->ij", cells, cells, counts))
