"""One mix item: a bucket over all parts becomes deduplicated, ordered plan rows.

Goes in: the bucket's segments of every part. Comes out: `plan/bucket-N.parquet`, one
row group per shard, and `plan/bucket-N.dropped.parquet` with what was left out and for
which row. Keys, content and shard membership depend on the rows alone, not on how they
were spread over files, parts, flags or workers.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipelines.filter_job.items import MixItem
from pipelines.harness.buckets import read_segment
from pipelines.harness.leases import Running
from shards.files import parquet
from shards.files.commit import Attempt, Result, commit, run_facts
from shards.files.store import Store
from shards.identity import Domain, choice, key_words
from shards.schema import DROPPED, KEPT, PLAN, TOMBSTONE

STAGE = "mix"
UNSAFE_ELSEWHERE = "unsafe_elsewhere"
DUPLICATE_URL = "duplicate_url"

_PROVENANCE = ("source", "source_file", "source_row")
_NOT_CONTENT = frozenset({*_PROVENANCE, "url_hash"})


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """What a mix item needs to know."""

    ranks: Mapping[str, int]  # source name -> rank; the lower wins
    shard_size: int  # planned rows per shard
    seed: int
    safety_scope: str  # url: a safety reject drops the URL everywhere; row: only its own row
    stage: str = STAGE

    def process(self, store: Store, record: dict[str, Any], running: Running) -> Result:
        """Mix one bucket and commit its plan."""
        return _process(store, self, MixItem.from_json(record), running)


def _process(store: Store, config: MixConfig, item: MixItem, running: Running) -> Result:
    started_s = time.time()
    rows, tombstones = _load(store, item)
    unsafe = _unsafe(rows, tombstones) if config.safety_scope == "url" else _none(rows)
    winner = _winners(rows, config.ranks, ~unsafe)
    losing = ~unsafe & (winner != np.arange(len(winner)))
    plan_indices = _ordered(rows, np.flatnonzero(~unsafe & ~losing), config)
    running.rows_done = rows.num_rows
    with Attempt(store, running.item) as attempt:
        planned = parquet.write(
            attempt.path(f"plan/{item.name}.parquet"),
            _plan_tables(rows, plan_indices, config.shard_size),
            PLAN,
            row_group_rows=config.shard_size,
        )
        dropped = _dropped(rows, unsafe, losing, winner)
        parquet.write(attempt.path(f"plan/{item.name}.dropped.parquet"), [dropped], DROPPED)
        result = {
            "kept": rows.num_rows,
            "planned": planned,
            DUPLICATE_URL: int(losing.sum()),
            UNSAFE_ELSEWHERE: int(unsafe.sum()),
            "tombstones": tombstones.num_rows,
            "sources": dict(Counter(rows.column("source").take(plan_indices).to_pylist())),
        }
        return commit(attempt, result, claimed=False, run=run_facts(started_s))


def _load(store: Store, item: MixItem) -> tuple[pa.Table, pa.Table]:
    ranges = [(s.file, s.offset, s.rows_bytes + s.tombstones_bytes) for s in item.segments]
    rows, tombstones = [KEPT.empty_table()], [TOMBSTONE.empty_table()]
    for segment, data in zip(item.segments, store.read_ranges(ranges), strict=True):
        if segment.rows_bytes:
            rows.append(read_segment(data[: segment.rows_bytes]))
        if segment.tombstones_bytes:
            tombstones.append(read_segment(data[segment.rows_bytes :]))
    return _contiguous(rows), _contiguous(tombstones)


def _contiguous(tables: list[pa.Table]) -> pa.Table:
    # Column by column, so that only one column exists twice at a time.
    table = pa.concat_tables(tables).unify_dictionaries()
    tables.clear()
    columns, schema = table.columns, table.schema
    del table
    arrays = []
    while columns:
        arrays.append(pa.concat_arrays(columns.pop(0).chunks))
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(table: pa.Table, name: str) -> pa.Array:
    (chunk,) = table.column(name).chunks or [pa.array([], table.schema.field(name).type)]
    return chunk


def _none(rows: pa.Table) -> npt.NDArray[np.bool_]:
    return np.zeros(rows.num_rows, np.bool_)


def _unsafe(rows: pa.Table, tombstones: pa.Table) -> npt.NDArray[np.bool_]:
    hit = pc.is_in(_array(rows, "url_hash"), value_set=_array(tombstones, "url_hash"))
    return np.asarray(hit.to_numpy(zero_copy_only=False), np.bool_)


def _winners(
    rows: pa.Table, ranks: Mapping[str, int], candidate: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Return for each row the index of the row that stands for its URL (often itself)."""
    # Only rows of a URL that has several candidates become Python objects: they are few, and
    # comparing every row in Python would cost far more than the rest of the stage. The sort puts
    # the candidates of one URL side by side; it is stable, and `_preference` has no ties but
    # between equal rows, so the layout of the parts decides nothing.
    winner = np.arange(rows.num_rows)
    urls = _array(rows, "url_hash").dictionary_encode()
    codes = np.asarray(urls.indices)
    repeated = candidate & (
        np.bincount(codes[candidate], minlength=len(urls.dictionary))[codes] > 1
    )
    indices = np.flatnonzero(repeated)
    indices = indices[np.argsort(codes[indices], kind="stable")]
    contenders = rows.take(indices).to_pylist()
    groups = np.split(np.arange(len(indices)), np.flatnonzero(np.diff(codes[indices])) + 1)
    for group in groups:
        if len(group):
            best = min(group, key=lambda i: _preference(contenders[i], ranks))
            winner[indices[group]] = indices[best]
    return winner


def _preference(row: Mapping[str, Any], ranks: Mapping[str, int]) -> tuple[Any, ...]:
    """Return a total order over rows of one URL; the smallest wins.

    Similarities compare only where the scorer is the same: scorers come first.
    """
    similarity = row["similarity"]
    scored = similarity is not None and similarity == similarity
    return (
        ranks[row["source"]],
        row["similarity_scorer"] or "\U0010ffff",
        (0, -similarity) if scored else (1, 0.0),
        row["key"],
        _content_hash(row),
        row["source_file"],
        row["source_row"],
    )


def _content_hash(row: Mapping[str, Any]) -> str:
    content = [repr(value) for name, value in row.items() if name not in _NOT_CONTENT]
    return xxhash.xxh3_128_hexdigest(json.dumps(content).encode())


def _ordered(
    rows: pa.Table, indices: npt.NDArray[np.int64], config: MixConfig
) -> npt.NDArray[np.int64]:
    """Return the indices in plan order: cut into shards by hash, by key within a shard."""
    words = key_words(_array(rows, "key"))[indices]
    shuffled = np.lexsort((words[:, 1], words[:, 0], choice(Domain.ORDER, config.seed, words)))
    for start in range(0, len(shuffled), config.shard_size):
        shard = shuffled[start : start + config.shard_size]
        by_key = np.lexsort((words[shard, 1], words[shard, 0]))
        shuffled[start : start + config.shard_size] = shard[by_key]
    ordered: npt.NDArray[np.int64] = indices[shuffled]
    return ordered


def _plan_tables(
    rows: pa.Table, indices: npt.NDArray[np.int64], shard_size: int
) -> Iterator[pa.Table]:
    for start in range(0, len(indices), shard_size):
        shard = rows.take(pa.array(indices[start : start + shard_size]))
        position = pa.array(np.arange(shard.num_rows), pa.int32())
        yield shard.append_column(PLAN.field("shard_row"), position)


def _dropped(
    rows: pa.Table,
    unsafe: npt.NDArray[np.bool_],
    losing: npt.NDArray[np.bool_],
    winner: npt.NDArray[np.int64],
) -> pa.Table:
    indices = np.flatnonzero(unsafe | losing)
    lost = rows.select(["key", *_PROVENANCE]).take(indices)
    by_safety = pa.array(unsafe[indices])
    winners = _array(rows, "key").take(pa.array(winner[indices]))
    columns = {
        **{name: lost.column(name) for name in lost.column_names},
        "reason": pc.if_else(by_safety, UNSAFE_ELSEWHERE, DUPLICATE_URL),
        "winner": pc.if_else(by_safety, pa.scalar(None, pa.string()), winners),
    }
    table = pa.table([columns[name] for name in DROPPED.names], names=DROPPED.names)
    table = table.cast(parquet.storage_schema(DROPPED))  # dictionaries cannot be sorted
    return table.sort_by([(name, "ascending") for name in ("key", *_PROVENANCE)])
