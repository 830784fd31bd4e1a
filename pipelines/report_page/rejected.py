"""Some of the rows that were left out, for every reason: out of rejects, mixes and sidecars.

Nothing of a row that a safety rule rejects is shown but its key and its reasons; the files hold
no more of it, and if one did, it would stay there. Few files are read: in the order of their hash,
until every reason has its rows.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters import FILTERS
from pipelines.filter_job.totals import UNREADABLE_ROWS
from pipelines.harness import planfile
from pipelines.harness.accounting import Line
from pipelines.report_page.runs import ReportedRun
from pipelines.report_page.samples import Origin, origin
from pipelines.report_page.words import shown
from shards import layout
from shards.files.store import Store
from shards.identity import Domain, choice

PER_REASON = 4
_MOST_FILES = 64  # of a stage
_BATCH_ROWS = 65_536

_COLUMNS = (
    *("key", "url", "caption", "source", "source_file", "source_row"),
    *("reasons", "winner", "error_message"),
)
_UNSAFE = {reason for rule in FILTERS.values() if rule.safety for reason in rule.reasons}

_Ranked = tuple[int, int, dict[str, Any]]  # hash, tie-breaker, row


@dataclass(frozen=True)
class Rejected:
    """One row that was left out."""

    origin: Origin
    caption: str
    others: str  # reasons of other rules that it fails as well
    detail: str
    is_withheld: bool  # a safety rule rejected it


@dataclass(frozen=True)
class Reason:
    """Why rows were left out, and some of them."""

    stage: str
    name: str
    count: int
    rows: tuple[Rejected, ...]


@dataclass(frozen=True)
class _Files:
    """Where a stage's rejected rows are."""

    names: Sequence[str]
    column: str  # that holds the reason


def reasons(run: ReportedRun, line: Line) -> list[Reason]:
    """Return the reasons of a stage, the commonest first, with the rows that its files show."""
    files = _files(run, line.stage)
    wanted = {name: count for name, count in line.left_out.items() if count}
    if files is None or not wanted:
        return []
    rows_of = _walk(run.store, files, {n: c for n, c in wanted.items() if n != UNREADABLE_ROWS})
    ordered = sorted(wanted.items(), key=lambda pair: (-pair[1], pair[0]))
    return [
        Reason(
            stage=line.stage,
            name=shown(name, 60),
            count=count,
            rows=tuple(_row(name, row) for row in rows_of.get(name, ())),
        )
        for name, count in ordered
    ]


def _files(run: ReportedRun, stage: str) -> _Files | None:
    """Return the files that hold a stage's rejected rows; None where no stage writes such files."""
    if run.manifest is None:
        assert run.dataset is not None
        sidecars = [layout.sidecar_name(run.dataset.kind, name) for name in run.dataset.shards]
        return _Files(sidecars, "status")
    if stage in ("download", "pack"):
        short = [shard.sidecar for shard in run.manifest.shards if shard.samples < shard.planned]
        return _Files(short, "outcome")
    patterns = {"filter": "rejects/{}.parquet", "mix": "plan/{}.dropped.parquet"}
    head = planfile.read_head(run.store, stage) if stage in patterns else None
    if head is None:
        return None
    return _Files([patterns[stage].format(name) for name in head["names"]], "reason")


def _walk(
    store: Store, files: _Files, wanted: Mapping[str, int]
) -> dict[str, list[dict[str, Any]]]:
    """Return up to `PER_REASON` rows of every reason."""
    best: dict[str, list[_Ranked]] = {name: [] for name in wanted}
    for number in _by_hash(len(files.names))[:_MOST_FILES]:
        if all(len(best[name]) >= min(PER_REASON, count) for name, count in wanted.items()):
            break
        for name, ranked in _read(store, files.names[number], files.column, number, [*wanted]):
            best[name] = heapq.nsmallest(PER_REASON, [*best[name], ranked])
    return {name: [row for _, _, row in ranked] for name, ranked in best.items()}


def _read(
    store: Store, name: str, column: str, number: int, wanted: Sequence[str]
) -> Iterator[tuple[str, _Ranked]]:
    """Yield the rows of smallest hash of every reason, from each batch of a file."""
    if not store.exists(name):  # only the main files of a run may have been copied
        return
    first = 0
    for batch in _batches(store, name, column):
        order = _hashes(number, first, batch.num_rows)
        why = batch.column(column).cast(pa.string())
        for reason in wanted:
            rows = np.flatnonzero(pc.fill_null(pc.equal(why, reason), False))
            for row in rows[np.argsort(order[rows], kind="stable")[:PER_REASON]].tolist():
                (values,) = batch.slice(row, 1).to_pylist()
                yield reason, (int(order[row]), first + row, values)
        first += batch.num_rows


def _batches(store: Store, name: str, column: str) -> Iterator[pa.RecordBatch]:
    try:
        with store.open(name) as opened:
            file = pq.ParquetFile(opened)
            columns = [
                wanted for wanted in (*_COLUMNS, column) if wanted in file.schema_arrow.names
            ]
            yield from file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(
            f"{store.url(name)}: cannot be read ({error}); python -m pipelines.lint {store.root} "
            "says what else is damaged"
        ) from error


def _by_hash(count: int) -> list[int]:
    order: list[int] = np.argsort(_hashes(count, 0, count), kind="stable").tolist()
    return order


def _hashes(file: int, first: int, count: int) -> Any:
    """Return a hash for each of the rows of a file from the first one on.

    By place, not by key: a row without a URL has no key.
    """
    rows = np.arange(first, first + count)
    ids = np.stack([np.full(count, file), rows], axis=1).astype(np.uint64)
    return choice(Domain.REJECT_SAMPLE, 0, ids)


def _row(reason: str, row: Mapping[str, Any]) -> Rejected:
    others = [other for other in row.get("reasons") or () if other != reason]
    is_withheld = not _UNSAFE.isdisjoint([reason, *others])
    visible = {} if is_withheld else row
    winner = visible.get("winner")
    return Rejected(
        origin=origin(row.get("key"), visible),
        caption=shown(visible.get("caption")),
        others=", ".join(map(shown, others)),
        detail=shown(f"kept instead: {winner}" if winner else visible.get("error_message")),
        is_withheld=is_withheld,
    )
