"""Reads a run's samples and sidecars by manifest: `shards.read(run)`."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from shards import manifest
from shards.manifest import ShardEntry
from shards.sample import ImageSample, decode_json
from shards.store import Store


class CorruptShardError(ValueError):
    """A shard does not hold what its contract says; the message names shard and key."""


@dataclass(frozen=True)
class Record:
    """One sample of a shard."""

    sample: ImageSample
    image: bytes  # encoded, as stored
    text: bytes  # content of .txt


def read(run: str | os.PathLike[str] | Store) -> Iterator[Record]:
    """Yield every sample of a finished run, in shard and key order.

    Args:
        run: A run directory (path, `gs://…`, `s3://…`).

    Raises:
        ValueError: The run has no manifest, or of another contract version.
        CorruptShardError: A tar is damaged.
    """
    store = run if isinstance(run, Store) else Store(run)
    for shard in manifest.read(store).shards:
        yield from read_shard(store, shard)


def read_shard(store: Store, shard: ShardEntry) -> Iterator[Record]:
    """Yield the samples of one shard."""
    where = store.url(shard.tar)
    with store.open(shard.tar) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|") as tar:
                yield from _records(tar, where)
        except tarfile.TarError as error:
            raise CorruptShardError(f"{where}: {error}; fetch this shard again") from error


def _records(tar: tarfile.TarFile, where: str) -> Iterator[Record]:
    pending: dict[str, bytes] = {}
    stem = ""
    for member in tar:
        content = tar.extractfile(member)
        if content is None:
            raise CorruptShardError(f"{where}: {member.name} is not a file")
        name, _, extension = member.name.partition(".")
        if pending and name != stem:
            raise CorruptShardError(f"{where}: {stem} has only {sorted(pending)}")
        stem = name
        pending[extension] = content.read()
        if len(pending) == 3:
            yield _record(pending, f"{where}: {stem}")
            pending = {}
    if pending:
        raise CorruptShardError(f"{where}: {stem} has only {sorted(pending)}")


def _record(parts: dict[str, bytes], where: str) -> Record:
    if not {"txt", "json"} < parts.keys():
        raise CorruptShardError(f"{where} has {sorted(parts)}; expected an image, txt and json")
    (image,) = parts.keys() - {"txt", "json"}
    return Record(decode_json(parts["json"]), parts[image], parts["txt"])


def read_sidecar(store: Store, shard: ShardEntry) -> pa.Table:
    """Return a shard's sidecar: one row for every planned row."""
    with store.open(shard.sidecar) as file:
        return pq.ParquetFile(file).read()
