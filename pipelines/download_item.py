"""One download item: the planned rows of a shard become samples and a sidecar.

Goes in: a row group of a plan file. Comes out: `shards/N.tar` with the samples in key
order and `shards/N.parquet` with an outcome for every planned row. Images wait in a
local spool file, so memory is bounded by the bodies in flight, not by the shard.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from filters import Chain
from pipelines.fetch import FetchConfig, Request, Response, shared_fetcher
from pipelines.leases import Running
from pipelines.workplan.items import DownloadItem
from shards import parquet
from shards.commit import Attempt, Result, commit, run_facts
from shards.identity import canonical_urls
from shards.image import ImageError, Stored, StoreSpec, probe, store
from shards.outcomes import TRANSIENT, Outcome, img2dataset_status
from shards.sample import JSON_FIELDS, ImageSample, members
from shards.schema import PLAN, SIDECAR
from shards.store import Store
from shards.tar import TarWriter, first_member

STAGE = "download"
CAREFUL_AFTER = 2
"""Dead attempts of an item after which each of its images is decoded in a child process."""

OPEN = ""
"""The outcome of a row that has none yet."""

_ROWS_PER_S = 2.0  # an item that fetches fewer rows a second than this has met its deadline


@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """What a download item needs to know; `process` is what a worker calls."""

    fetch: FetchConfig
    spec: StoreSpec
    engine: str  # groundwork | img2dataset
    item_deadline_s: float
    spool_dir: str | None
    rules: Chain  # re-run on decoded facts: those that decide on width and height
    stage: str = STAGE

    def process(self, store: Store, record: Mapping[str, Any], running: Running) -> Result:
        """Fetch one shard and commit it."""
        return _Shard(self, store, DownloadItem(**record), running).process()


class Engine(Protocol):
    """Fetches a shard's rows; calls `handle` once per row, from any thread."""

    def __call__(
        self,
        config: DownloadConfig,
        rows: Sequence[Mapping[str, Any]],
        facts: Facts,
        deadline_s: float,
    ) -> Mapping[str, Any]:
        """Return clock facts of the fetching for the marker's `run` part."""
        ...


@dataclass
class Fact:
    """What became of one planned row."""

    outcome: str = OPEN
    message: str | None = None
    sha256: str | None = None  # of the fetched body
    original: tuple[int, int] | None = None  # width, height of the fetched image, oriented
    stored: tuple[int, int] | None = None  # width, height of the stored image
    spooled: tuple[int, int] | None = None  # offset, size in the spool file


class Facts:
    """The facts of a shard's rows and the spool of their images; safe to fill from any thread."""

    def __init__(self, count: int, spool_path: str, running: Running) -> None:
        self.rows = [Fact() for _ in range(count)]
        self._running = running
        self._spool = open(spool_path, "w+b")  # noqa: SIM115
        self._lock = threading.Lock()

    def fail(self, index: int, outcome: str, message: str | None, body: bytes = b"") -> None:
        """Record why a row has no sample."""
        fact = self.rows[index]
        fact.outcome, fact.message = outcome, message
        fact.sha256 = hashlib.sha256(body).hexdigest() if body else None
        self._count()

    def succeed(self, index: int, body_sha256: str, stored: Stored) -> None:
        """Record a row's image."""
        offset = self._append(stored.data)
        fact = self.rows[index]
        fact.outcome, fact.message, fact.sha256 = Outcome.SUCCESS, None, body_sha256
        fact.original = (stored.original_width, stored.original_height)
        fact.stored = (stored.width, stored.height)
        fact.spooled = (offset, len(stored.data))
        self._count()

    def take_over(self, index: int, row: Mapping[str, Any], image: bytes | None) -> None:
        """Take a row's fact from the sidecar of the generation before."""
        fact = self.rows[index]
        fact.outcome, fact.message, fact.sha256 = (
            row["outcome"],
            row["error_message"],
            row["sha256"],
        )
        if image is not None:
            fact.original = (row["original_width"], row["original_height"])
            fact.stored = (row["width"], row["height"])
            fact.spooled = (self._append(image), len(image))
        self._count()

    def open_rows(self) -> list[int]:
        """Return the rows that still have no fact, in order."""
        return [index for index, fact in enumerate(self.rows) if fact.outcome == OPEN]

    def close_open_rows(self) -> None:
        """Give what the engine left the outcome `deadline`."""
        for index in self.open_rows():
            self.fail(index, Outcome.DEADLINE, None)

    def image(self, index: int) -> bytes:
        """Return the stored image of a successful row."""
        offset, size = self.rows[index].spooled or (0, 0)
        self._spool.seek(offset)
        return self._spool.read(size)

    def close(self) -> None:
        """Close the spool."""
        self._spool.close()

    def _append(self, image: bytes) -> int:
        with self._lock:
            offset = self._spool.seek(0, os.SEEK_END)
            self._spool.write(image)
        return offset

    def _count(self) -> None:
        with self._lock:
            self._running.rows_done += 1


@dataclass
class _Shard:
    config: DownloadConfig
    store: Store
    item: DownloadItem
    running: Running
    started_s: float = field(default_factory=time.time)

    def process(self) -> Result:
        plan = self._plan()
        rows = plan.to_pylist()
        dead = len(self.store.folders(self.running.item.attempts))
        with Attempt(self.store, self.running.item) as attempt:
            facts = Facts(len(rows), self._spool_path(attempt), self.running)
            try:
                if self.running.item.generation:
                    take_over(self.store, self.item.name, facts)
                clock = self._fetch(rows, facts, careful=dead >= CAREFUL_AFTER)
                facts.close_open_rows()
                places = self._write_tar(attempt, rows, facts)
            finally:
                facts.close()
            sidecar = _sidecar(rows, facts.rows, places)
            parquet.write(attempt.path(f"shards/{self.item.name}.parquet"), [sidecar], SIDECAR)
            result = _result(rows, facts.rows)
            run = {**run_facts(self.started_s), **clock}
            return commit(attempt, result, claimed=True, run=run)

    def _plan(self) -> pa.Table:
        with self.store.open(self.item.plan) as file:
            table = pq.ParquetFile(file).read_row_group(self.item.row_group)
        assert table.num_rows == self.item.rows, (self.item, table.num_rows)
        return table.select(PLAN.names)

    def _spool_path(self, attempt: Attempt) -> str:
        if self.config.spool_dir is None:
            return attempt.scratch("spool")
        os.makedirs(self.config.spool_dir, exist_ok=True)
        name = f"groundwork-{attempt.folder.replace('/', '-')}.spool"
        return os.path.join(self.config.spool_dir, name)

    def _fetch(
        self, rows: Sequence[Mapping[str, Any]], facts: Facts, careful: bool
    ) -> Mapping[str, Any]:
        deadline_s = min(self.config.item_deadline_s, 60.0 + len(rows) / _ROWS_PER_S)
        if self.config.engine == "img2dataset":
            from pipelines.fetch_img2dataset import fetch

            return fetch(self.config, rows, facts, deadline_s)
        return _fetch(self.config, rows, facts, deadline_s, careful)

    def _write_tar(
        self, attempt: Attempt, rows: Sequence[Mapping[str, Any]], facts: Facts
    ) -> list[tuple[int, int] | None]:
        with open(attempt.path(f"shards/{self.item.name}.tar"), "wb") as file:
            tar = TarWriter(file)
            places = [
                tar.add(
                    row["key"],
                    members(_sample(row, fact), facts.image(index), self.config.spec.encode_format),
                )
                if fact.outcome == Outcome.SUCCESS
                else None
                for index, (row, fact) in enumerate(zip(rows, facts.rows, strict=True))
            ]
            tar.close()
        return places


def _fetch(
    config: DownloadConfig,
    rows: Sequence[Mapping[str, Any]],
    facts: Facts,
    deadline_s: float,
    careful: bool,
) -> Mapping[str, Any]:
    """Fetch with our own guarded fetcher."""
    rules = DecodedRules(config.rules)
    urls = canonical_urls(pa.array([row["url"] for row in rows], pa.string())).to_pylist()
    requests = []
    for index in facts.open_rows():
        if urls[index] is None:
            facts.fail(index, Outcome.BAD_URL, None)
        else:
            requests.append(Request(index, urls[index]))
    into_store = _careful_store if careful else store

    def handle(request: Request, response: Response) -> None:
        if response.outcome != Outcome.SUCCESS:
            facts.fail(request.index, response.outcome, response.message or None)
        else:
            _keep(request.index, response.body, facts, config.spec, rules, into_store)

    def inspect(_: Request, head: bytes) -> str | None:
        return _judge_head(head, config.spec.max_pixels, rules)

    stats = shared_fetcher(config.fetch).run(
        requests, handle=handle, inspect=inspect, deadline_s=deadline_s
    )
    return {"fetch": asdict(stats)}


def _careful_store(body: bytes, spec: StoreSpec) -> Stored:
    from shards.careful import store_in_child

    return store_in_child(body, spec)


def _keep(
    index: int,
    body: bytes,
    facts: Facts,
    spec: StoreSpec,
    rules: DecodedRules,
    into_store: Callable[[bytes, StoreSpec], Stored],
) -> None:
    try:
        stored = into_store(body, spec)
    except ImageError as error:
        facts.fail(index, error.outcome, error.detail, body)
        return
    reason = rules.reason(stored.original_width, stored.original_height)
    if reason is not None:
        facts.fail(index, reason, f"{stored.original_width} x {stored.original_height}", body)
    else:
        facts.succeed(index, hashlib.sha256(body).hexdigest(), stored)


def _judge_head(head: bytes, max_pixels: int, rules: DecodedRules) -> str | None:
    """Reject by the header alone: a bad shape costs no decoding, often no transfer either."""
    try:
        seen = probe(head)
    except ImageError as error:
        return error.outcome
    if seen is None:
        return None
    if seen.width * seen.height > max_pixels:
        return Outcome.TOO_MANY_PIXELS
    return rules.reason(seen.width, seen.height)


def take_over(store: Store, name: str, facts: Facts) -> None:
    """Fill in what the published generation of a shard settled: all but transient failures."""
    with store.open(f"shards/{name}.parquet") as file:
        rows = pq.ParquetFile(file).read().to_pylist()
    for index, row in enumerate(rows):
        if row["outcome"] == Outcome.SUCCESS:
            data = store.read_range(f"shards/{name}.tar", row["tar_offset"], row["tar_size"])
            facts.take_over(index, row, first_member(data))
        elif row["outcome"] not in TRANSIENT:
            facts.take_over(index, row, None)


class DecodedRules:
    """The rules that decide on an image's size, asked one image at a time."""

    def __init__(self, rules: Chain) -> None:
        self._filters = rules.filters
        self.reason = functools.lru_cache(maxsize=4096)(self._reason)

    def _reason(self, width: int, height: int) -> str | None:
        facts = pa.record_batch(
            [pa.array([width], pa.int32()), pa.array([height], pa.int32())], ["width", "height"]
        )
        for each in self._filters:
            verdict = int(each.verdicts(facts)[0])
            if verdict > 0:
                return each.reasons[verdict - 1]
        return None


def _sample(row: Mapping[str, Any], fact: Fact) -> ImageSample:
    assert fact.stored is not None
    assert fact.original is not None
    from_row = {name: row[name] for name in JSON_FIELDS if name in row}
    return ImageSample(
        **{
            **from_row,
            "caption": row["caption"] or "",  # a preset may keep rows without a caption
            "width": fact.stored[0],
            "height": fact.stored[1],
            "original_width": fact.original[0],
            "original_height": fact.original[1],
            "sha256": fact.sha256,
        }
    )


def _sidecar(
    rows: Sequence[Mapping[str, Any]],
    facts: Sequence[Fact],
    places: Sequence[tuple[int, int] | None],
) -> pa.Table:
    records: Iterator[dict[str, Any]] = (
        {
            **{name: row[name] for name in SIDECAR.names if name in row},
            "status": img2dataset_status(fact.outcome),
            "error_message": fact.message,
            "width": fact.stored[0] if fact.stored else None,
            "height": fact.stored[1] if fact.stored else None,
            "original_width": fact.original[0] if fact.original else None,
            "original_height": fact.original[1] if fact.original else None,
            "exif": None,
            "sha256": fact.sha256,
            "outcome": str(fact.outcome),
            "tar_offset": place[0] if place else None,
            "tar_size": place[1] if place else None,
        }
        for row, fact, place in zip(rows, facts, places, strict=True)
    )
    return pa.Table.from_pylist(list(records), parquet.storage_schema(SIDECAR))


def _result(rows: Sequence[Mapping[str, Any]], facts: Sequence[Fact]) -> dict[str, Any]:
    outcomes = Counter(str(fact.outcome) for fact in facts)
    samples = outcomes.pop(Outcome.SUCCESS, 0)
    return {
        "planned": len(rows),
        "samples": samples,
        "outcomes": dict(sorted(outcomes.items())),
        "image_bytes": sum(fact.spooled[1] for fact in facts if fact.spooled),
    }
