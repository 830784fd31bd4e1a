"""Shards as every job writes them, and finished runs of samples that were made, not fetched.

Goes in: samples in key order, with what the sidecar says of each. Comes out: `shards/N.tar` and
`shards/N.parquet` in an attempt's folder, or a run with its manifest.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import pyarrow as pa

from shards import manifest
from shards.files import parquet
from shards.files.commit import Attempt, ItemId, commit, encode, run_facts
from shards.files.store import Store
from shards.files.tar import TarWriter
from shards.manifest import Manifest, ShardEntry
from shards.outcomes import Outcome, img2dataset_status
from shards.schema import SIDECAR

_STAGE = "download"  # readers take samples from runs whose download is done


class ShardWriter:
    """Writes one shard into an attempt; a context manager, which writes the sidecar at its end.

    Add the rows in key order: that is the order of both files.
    """

    def __init__(self, attempt: Attempt, name: str) -> None:
        self._sidecar_path = attempt.path(f"shards/{name}.parquet")
        self._tar_file = open(attempt.path(f"shards/{name}.tar"), "wb")  # noqa: SIM115
        self._tar = TarWriter(self._tar_file)
        # Column by column: Arrow takes ten times as long over a list of dicts.
        self._columns: dict[str, list[Any]] = {name: [] for name in SIDECAR.names}

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._tar_file:
            if kind is None:
                self._tar.close()
                self._write_sidecar()

    def add(self, values: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
        """Append a sample.

        Args:
            values: What is known of the sidecar's columns, by name, the key at least; other names
                are ignored.
            members: Extension (without dot) to content, in the order to be written.
        """
        place = self._tar.add(values["key"], members)
        self._append(values, Outcome.SUCCESS, None, place)

    def fail(self, values: Mapping[str, Any], outcome: str, message: str | None) -> None:
        """Record a planned row that has no sample, and why."""
        self._append(values, outcome, message, (None, None))

    def counts(self) -> dict[str, Any]:
        """Return `planned`, `samples` and, by outcome, `outcomes` of the rows without a sample."""
        outcomes = Counter(self._columns["outcome"])
        samples = outcomes.pop(str(Outcome.SUCCESS), 0)
        planned = len(self._columns["key"])
        return {
            "planned": planned,
            "samples": samples,
            "outcomes": dict(sorted(outcomes.items())),
        }

    def _append(
        self,
        values: Mapping[str, Any],
        outcome: str,
        message: str | None,
        place: tuple[int, int] | tuple[None, None],
    ) -> None:
        settled = {
            "status": img2dataset_status(outcome),
            "outcome": str(outcome),
            "error_message": message,
            "exif": None,
            "tar_offset": place[0],
            "tar_size": place[1],
        }
        for name, column in self._columns.items():
            column.append(settled[name] if name in settled else values.get(name))

    def _write_sidecar(self) -> None:
        schema = parquet.storage_schema(SIDECAR)
        arrays = [pa.array(self._columns[column.name], column.type) for column in schema]
        parquet.write(self._sidecar_path, [pa.table(arrays, schema=schema)], SIDECAR)


@dataclass(frozen=True)
class MadeSample:
    """A sample of a run that is made here, or one whose image cannot be used."""

    values: Mapping[str, Any]  # of the sidecar's columns
    members: Mapping[str, bytes] = field(default_factory=dict)  # in the order of the tar
    outcome: Outcome = Outcome.SUCCESS
    message: str | None = None  # one line, where the outcome is another


class RunWriter:
    """Collects samples and writes a shard whenever one is full.

    Args:
        out: A run directory that does not exist yet, or is empty.
        level: What the samples hold, one of `schema.LEVELS`.
        extension: Of the images.
        shard_size: Planned samples per shard.

    Raises:
        ValueError: There is something in `out`, or shard_size is below 1.
    """

    def __init__(
        self, out: str | os.PathLike[str], level: str, extension: str, shard_size: int
    ) -> None:
        if shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, not {shard_size}")
        self.store = Store(out)
        if self.store.list("") or self.store.folders(""):
            raise ValueError(f"{self.store.root}: the folder is not empty; name another folder")
        self._level = level
        self._extension = extension
        self._shard_size = shard_size
        self._waiting: list[MadeSample] = []
        self._entries: list[ShardEntry] = []
        self._outcomes: Counter[str] = Counter()  # of what has no sample

    def add(self, sample: MadeSample) -> None:
        """Take a sample; keys must differ."""
        self._waiting.append(sample)
        if len(self._waiting) == self._shard_size:
            self._flush()

    def finish(self) -> Mapping[str, Any]:
        """Write the last shard and the manifest; returns `ShardWriter.counts` of all shards.

        Raises:
            ValueError: Nothing was added.
        """
        if self._waiting:
            self._flush()
        if not self._entries:
            raise ValueError(f"{self.store.root}: not written, because no record can be used")
        planned = sum(entry.planned for entry in self._entries)
        samples = sum(entry.samples for entry in self._entries)
        outcomes = dict(sorted(self._outcomes.items()))
        sums = [(entry.tar_sha256, entry.sidecar_sha256) for entry in self._entries]
        written = Manifest(
            stage=_STAGE,
            extension=self._extension,
            counts={_STAGE: {"in": planned, "out": samples, "left_out": outcomes}},
            fingerprints={_STAGE: hashlib.sha256(encode(sums)).hexdigest()},
            shards=tuple(self._entries),
            level=self._level,
        )
        manifest.write(self.store, written)
        return {"planned": planned, "samples": samples, "outcomes": outcomes}

    def _flush(self) -> None:
        name, started_s = f"{len(self._entries):06d}", time.time()
        with Attempt(self.store, ItemId(_STAGE, name)) as attempt:
            with ShardWriter(attempt, name) as shard:
                for sample in sorted(self._waiting, key=lambda sample: sample.values["key"]):
                    if sample.outcome == Outcome.SUCCESS:
                        shard.add(sample.values, sample.members)
                    else:
                        shard.fail(sample.values, sample.outcome, sample.message)
            counts = shard.counts()
            self._outcomes.update(counts.pop("outcomes"))
            result = commit(attempt, counts, claimed=False, run=run_facts(started_s))
        self._entries.append(ShardEntry.of_result(name, 0, result))
        self._waiting = []
