"""One filter item: some rows of metadata become kept rows, rejects and bucket segments.

Goes in: pieces of metadata files. Comes out: `kept/`, `tombstones/`, `rejects/` and
`buckets/` parts, and counts in which every selected row appears exactly once:
selected = kept + sum of reasons + unreadable rows.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from filters import Chain, ChainCounts, ChainResult, Mode, apply_chain
from pipelines.filter_job.items import SEGMENT_SIZES, FilterItem
from pipelines.filter_job.rejects import RejectSampler
from pipelines.harness import buckets
from pipelines.harness.leases import Running
from pipelines.metadata.canonical import canonicalise
from pipelines.metadata.filesystems import open_input
from pipelines.metadata.pieces import Piece
from pipelines.metadata.reader import PieceReader, UnreadableError
from pipelines.metadata.source import Source
from pipelines.metadata.sources import resolve
from shards.files import parquet
from shards.files.commit import Attempt, Result, commit, run_facts
from shards.files.store import Store
from shards.identity import Domain, UInt64, choice, fraction_threshold, hash_words
from shards.schema import KEPT, NAME, TOMBSTONE

STAGE = "filter"

ROWS_PER_RUN = 500_000
"""Kept rows that wait in memory before they are cut into bucket segments."""

_WRITE_BUFFER = 1 << 20


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """What a filter item needs to know; `process` is what a worker calls."""

    chains: Mapping[str, Chain]  # by source
    sources: Mapping[str, Source]
    num_buckets: int
    seed: int
    sample: float | None  # share of URLs; None for all
    funnel: Mode
    rejects: str  # none | sample | all
    max_unreadable: int
    stage: str = STAGE

    def process(self, store: Store, record: dict[str, Any], running: Running) -> Result:
        """Filter one item and commit its parts."""
        item = FilterItem.from_json(record)
        with Attempt(store, running.item) as attempt:
            return _Part(self, item, attempt, running).process()


@dataclass
class _Part:
    config: FilterConfig
    item: FilterItem
    attempt: Attempt
    running: Running
    started_s: float = field(default_factory=time.time)
    selected: int = 0
    unreadable_rows: int = 0
    unreadable_files: dict[str, str] = field(default_factory=dict)
    counts: ChainCounts | None = None
    bytes_read: int = 0
    tombstones_total: int = 0
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    waiting_rows: int = 0
    tombstones: list[pa.RecordBatch] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def process(self) -> Result:
        name = self.item.name
        self.rejects = RejectSampler(self.config.rejects, self.config.seed, self.chain.reasons)
        # Arrow's own file: a stream makes hundreds of small writes, slow in Python.
        path = self.attempt.path(f"buckets/{name}.arrows")
        with pa.BufferedOutputStream(pa.OSFile(path, "wb"), _WRITE_BUFFER) as segments:
            kept = parquet.write(
                self.attempt.path(f"kept/{name}.parquet"), self._kept_batches(segments), KEPT
            )
            self._flush(segments)
        self._write_tombstones()
        self.rejects.write(self.attempt.path(f"rejects/{name}.parquet"))
        result = {
            "source": self.item.source,
            "selected": self.selected,
            "kept": kept,
            "unreadable_rows": self.unreadable_rows,
            "unreadable_files": self.unreadable_files,
            "tombstones": self.tombstones_total,
            "counts": None if self.counts is None else self.counts.to_json(),
            "num_buckets": self.config.num_buckets,
            SEGMENT_SIZES: self.runs,
        }
        # What this item held would else stay beside what the next one takes: 15 MB at the peak.
        pa.default_memory_pool().release_unused()
        return commit(self.attempt, result, claimed=False, run=run_facts(self.started_s))

    @functools.cached_property
    def chain(self) -> Chain:
        return self.config.chains[self.item.source]

    @functools.cached_property
    def source(self) -> Source:
        return self.config.sources[self.item.source]

    def _kept_batches(self, segments: BinaryIO) -> Iterator[pa.RecordBatch]:
        self.all_tombstones: list[pa.RecordBatch] = []
        for piece in self.item.pieces:
            self._take_tombstones(piece)
            for batch in self._selected_batches(piece):
                kept = self._judge(batch)
                if len(kept):
                    yield kept
                    self._wait(kept, segments)

    def _selected_batches(self, piece: Piece) -> Iterator[pa.RecordBatch]:
        resolved = resolve(self.source, piece.columns, piece.path)
        reader = PieceReader(piece, resolved)
        try:
            for raw, rows in reader:
                batch = canonicalise(raw, self.source, resolved, file=piece.name, rows=rows)
                batch = batch if self.config.sample is None else self._sampled(batch)
                self.selected += len(batch)
                self.running.rows_done += len(raw)
                yield batch
        except UnreadableError as error:
            if not self.config.max_unreadable:
                raise
            self.selected += error.rows
            self.unreadable_rows += error.rows
            self.unreadable_files[piece.name] = str(error.__cause__).splitlines()[0]
        self.selected += reader.bad_rows
        self.unreadable_rows += reader.bad_rows

    def _sampled(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        assert self.config.sample is not None
        bits = choice(Domain.SAMPLE, self.config.seed, _ids(batch))
        return batch.filter(pa.array(bits < fraction_threshold(self.config.sample)))

    def _judge(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        result = apply_chain(batch, self.chain, self.config.funnel)
        self.counts = result.counts if self.counts is None else self.counts + result.counts
        self._bury(batch, result)
        self.rejects.add(batch, result, _ids(batch))
        keep = pa.array(result.keep)
        columns = [
            result.deferred_lists() if f.name == "deferred" else batch.column(f.name) for f in KEPT
        ]
        return pa.RecordBatch.from_arrays([c.filter(keep) for c in columns], schema=KEPT)

    def _bury(self, batch: pa.RecordBatch, result: ChainResult) -> None:
        unsafe = np.flatnonzero(result.safety_owner >= 0)
        if not len(unsafe):
            return
        reasons = pa.array(self.chain.reasons).take(pa.array(result.safety_owner[unsafe]))
        hashes = batch.column("url_hash").take(pa.array(unsafe))
        columns = [hashes, reasons.dictionary_encode().cast(NAME)]
        rows = pa.RecordBatch.from_arrays(columns, schema=TOMBSTONE)
        self._add_tombstones(rows.filter(hashes.is_valid()))

    def _take_tombstones(self, piece: Piece) -> None:
        """Take over the tombstones of another run's part."""
        if piece.tombstones:
            with open_input(piece.tombstones) as file:
                for batch in pq.ParquetFile(file).iter_batches():
                    reasons = batch.column("reason").dictionary_encode().cast(NAME)
                    columns = [batch.column("url_hash"), reasons]
                    self._add_tombstones(pa.RecordBatch.from_arrays(columns, schema=TOMBSTONE))

    def _add_tombstones(self, rows: pa.RecordBatch) -> None:
        self.tombstones.append(rows)
        self.all_tombstones.append(rows)
        self.tombstones_total += len(rows)

    def _write_tombstones(self) -> None:
        path = self.attempt.path(f"tombstones/{self.item.name}.parquet")
        parquet.write(path, self.all_tombstones, TOMBSTONE)

    def _wait(self, kept: pa.RecordBatch, segments: BinaryIO) -> None:
        self.waiting.append(kept)
        self.waiting_rows += len(kept)
        if self.waiting_rows >= ROWS_PER_RUN:
            self._flush(segments)

    def _flush(self, segments: BinaryIO) -> None:
        if not self.waiting and not self.tombstones:
            return
        config = self.config
        offset = segments.tell()
        sizes = buckets.append_run(
            segments, self.waiting, self.tombstones, config.num_buckets, config.seed
        )
        self.runs.append({"offset": offset, "sizes": sizes})
        self.waiting, self.waiting_rows, self.tombstones = [], 0, []


def _ids(batch: pa.RecordBatch) -> UInt64:
    """Return the 128-bit ids that choices about rows use: the URL's hash, else the row number."""
    hashes = batch.column("url_hash")
    if not hashes.null_count:
        return hash_words(hashes)
    ids = hash_words(hashes.fill_null(b"\0" * 16))
    missing = np.asarray(hashes.is_null())
    ids[missing, 1] = np.asarray(batch.column("source_row"))[missing].astype(np.uint64)
    return ids
