"""Samples that were made here, not fetched, as a finished run of level `grounded`.

Goes in: samples with their image and JSON, or with the outcome of an image that cannot be used.
Comes out: tars and sidecars, published shard by shard, and the manifest at the end.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from shards import manifest
from shards.files import parquet
from shards.files.commit import Attempt, ItemId, commit, encode, run_facts
from shards.files.store import Store
from shards.files.tar import TarWriter
from shards.manifest import Manifest, ShardEntry
from shards.outcomes import Outcome, img2dataset_status
from shards.sample import ImageSample
from shards.schema import SIDECAR

_STAGE = "download"  # readers take samples from runs whose download is done


@dataclass(frozen=True)
class Planned:
    """A sample, or what is known of one whose image cannot be used."""

    common: ImageSample
    image: bytes = b""  # encoded as it is stored
    json: bytes = b""
    outcome: Outcome = Outcome.SUCCESS
    detail: str | None = None  # one line, where the outcome is another


@dataclass(frozen=True)
class Finished:
    """What a run holds."""

    samples: int
    failed: Mapping[str, int]  # samples without a usable image, by outcome


class ShardWriter:
    """Collects samples and writes a shard whenever one is full.

    Args:
        out: A run directory that does not exist yet, or is empty.
        extension: Of the images.
        shard_size: Planned samples per shard.

    Raises:
        ValueError: There is something in `out`.
    """

    def __init__(self, out: str | os.PathLike[str], extension: str, shard_size: int) -> None:
        if shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, not {shard_size}")
        self.store = Store(out)
        if self.store.list("") or self.store.folders(""):
            raise ValueError(f"{self.store.root}: there is something in it; name another folder")
        self._extension = extension
        self._shard_size = shard_size
        self._waiting: list[Planned] = []
        self._entries: list[ShardEntry] = []
        self._failed: Counter[str] = Counter()

    def add(self, planned: Planned) -> None:
        """Take a sample; keys must differ."""
        self._waiting.append(planned)
        if planned.outcome != Outcome.SUCCESS:
            self._failed[str(planned.outcome)] += 1
        if len(self._waiting) == self._shard_size:
            self._flush()

    def finish(self) -> Finished:
        """Write the last shard and the manifest.

        Raises:
            ValueError: Nothing was added.
        """
        if self._waiting:
            self._flush()
        if not self._entries:
            raise ValueError(f"{self.store.root}: not written, because no record can be used")
        samples = sum(entry.samples for entry in self._entries)
        planned = sum(entry.planned for entry in self._entries)
        line = {"in": planned, "out": samples, "left_out": dict(sorted(self._failed.items()))}
        sums = [(entry.tar_sha256, entry.sidecar_sha256) for entry in self._entries]
        written = Manifest(
            stage=_STAGE,
            extension=self._extension,
            counts={_STAGE: line},
            fingerprints={_STAGE: hashlib.sha256(encode(sums)).hexdigest()},
            shards=tuple(self._entries),
            level="grounded",
        )
        manifest.write(self.store, written)
        return Finished(samples, dict(self._failed))

    def _flush(self) -> None:
        name = f"{len(self._entries):06d}"
        planned = sorted(self._waiting, key=lambda each: each.common.key)
        samples = sum(each.outcome == Outcome.SUCCESS for each in planned)
        tar, sidecar = f"shards/{name}.tar", f"shards/{name}.parquet"
        started_s = time.time()
        with Attempt(self.store, ItemId(_STAGE, name)) as attempt:
            rows = list(self._tar(attempt.path(tar), planned))
            table = pa.Table.from_pylist(rows, parquet.storage_schema(SIDECAR))
            parquet.write(attempt.path(sidecar), [table], SIDECAR)
            counts = {"planned": len(planned), "samples": samples}
            result = commit(attempt, counts, claimed=False, run=run_facts(started_s))
        files = {each["name"]: (each["size"], each["sha256"]) for each in result["files"]}
        self._entries.append(
            ShardEntry(name, 0, len(planned), samples, *files[tar], *files[sidecar])
        )
        self._waiting = []

    def _tar(self, path: str, planned: list[Planned]) -> Iterator[dict[str, Any]]:
        """Write the samples and yield the sidecar's rows."""
        with open(path, "wb") as file:
            tar = TarWriter(file)
            for each in planned:
                row = _row(each)
                if each.outcome == Outcome.SUCCESS:
                    text = each.common.caption.encode()
                    parts = {self._extension: each.image, "txt": text, "json": each.json}
                    row["tar_offset"], row["tar_size"] = tar.add(each.common.key, parts)
                yield row
            tar.close()


def _row(planned: Planned) -> dict[str, Any]:
    row = {name: getattr(planned.common, name, None) for name in SIDECAR.names}
    if planned.outcome != Outcome.SUCCESS:
        row |= dict.fromkeys(("width", "height", "original_width", "original_height"))
    return row | {
        "status": img2dataset_status(planned.outcome),
        "outcome": str(planned.outcome),
        "error_message": planned.detail,
    }
