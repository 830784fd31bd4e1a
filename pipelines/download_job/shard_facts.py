"""What became of each row of a shard, and the spool file where its images wait.

Filled by a fetch engine from any thread; read once all rows have their fact. Images lie in
a local file, so memory is bounded by the bodies in flight, not by the shard.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.harness.leases import Running
from shards.files import parquet
from shards.files.store import Store
from shards.files.tar import first_member
from shards.image import Stored
from shards.outcomes import TRANSIENT, Outcome

OPEN = ""
"""The outcome of a row that has none yet."""


@dataclass
class Fact:
    """What became of one planned row."""

    outcome: str = OPEN
    message: str | None = None
    sha256: str | None = None  # of the fetched body
    original: tuple[int, int] | None = None  # width, height of the fetched image, oriented
    stored: tuple[int, int] | None = None  # width, height of the stored image
    spooled: tuple[int, int] | None = None  # offset, size in the spool file

    def columns(self) -> dict[str, Any]:
        """Return what the sidecar and the sample's JSON say of the image."""
        width, height = self.stored or (None, None)
        original_width, original_height = self.original or (None, None)
        return {
            "width": width,
            "height": height,
            "original_width": original_width,
            "original_height": original_height,
            "sha256": self.sha256,
        }


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


def take_over(store: Store, name: str, facts: Facts) -> None:
    """Fill in what the published generation of a shard settled: all but transient failures."""
    with store.open(f"shards/{name}.parquet") as file:
        rows = parquet.read(file).to_pylist()
    for index, row in enumerate(rows):
        if row["outcome"] == Outcome.SUCCESS:
            data = store.read_range(f"shards/{name}.tar", row["tar_offset"], row["tar_size"])
            facts.take_over(index, row, first_member(data))
        elif row["outcome"] not in TRANSIENT:
            facts.take_over(index, row, None)
