"""What there is to read: a run, a run with a selection, or an img2dataset folder, opened once.

Goes in: a path or URL, `OUT@NAME` for a selection. Comes out: a `Dataset`, small enough to go
to every worker: names and counts of the shards, and a fingerprint of all that decides them.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from shards import layout, selection
from shards.files.store import Store
from shards.layout import Kind


@dataclass(frozen=True)
class Dataset:
    """Shards and how many samples each has."""

    spec: str  # as typed
    store: Store
    kind: Kind  # whose layout the folder has
    level: str  # one of `schema.LEVELS`
    selection: str | None  # its name
    shards: tuple[str, ...]  # names, in manifest order
    counts: tuple[int, ...]  # samples per shard, after the selection
    fingerprint: str  # hex; another one exactly when the manifest or the selection is another

    @property
    def samples(self) -> int:
        """Samples over all shards, after the selection."""
        return sum(self.counts)

    def tar(self, shard: int) -> str:
        """Name of a shard's tar in the store."""
        return layout.tar_name(self.kind, self.shards[shard])

    def sidecar(self, shard: int) -> str:
        """Name of a shard's parquet in the store."""
        return layout.sidecar_name(self.kind, self.shards[shard])


def open_dataset(spec: str | os.PathLike[str]) -> Dataset:
    """Open a run, `OUT@NAME`, or the output folder of img2dataset (`output_format=webdataset`).

    Raises:
        ValueError: There is nothing to read; the message says why and what to do.
    """
    root, name = selection.split_spec(spec)
    store = Store(root)
    stored = layout.find(store)
    counts, digest = stored.samples, hashlib.sha256(f"{stored.kind}\0{stored.sha256}".encode())
    if name is not None:
        chosen, sha256 = selection.read_for(store, name, stored.sha256)
        counts = tuple(shard.kept for shard in chosen.shards)
        digest.update(f"\0{sha256}".encode())
    if not sum(counts):
        raise ValueError(_empty(store, stored.names, sum(stored.samples), name))
    return Dataset(
        spec=os.fspath(spec),
        store=store,
        kind=stored.kind,
        level=stored.level,
        selection=name,
        shards=stored.names,
        counts=counts,
        fingerprint=digest.hexdigest(),
    )


def _empty(store: Store, shards: tuple[str, ...], samples: int, name: str | None) -> str:
    if not shards:
        return f"{store.root}: the run has no shards: no row passed its rules; loosen them"
    if not samples:
        return (
            f"{store.root}: {len(shards)} shards without a single sample: every download failed; "
            "the outcomes in the shards' parquet files say why"
        )
    return (
        f"{store.root}: selection {name!r} keeps none of {samples} samples; "
        "loosen it, or read the run without it"
    )
