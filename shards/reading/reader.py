"""Reads a run's samples and sidecars by manifest: `shards.read(run)`."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from shards import manifest, selection
from shards.files import parquet
from shards.files.store import Store
from shards.manifest import ShardEntry
from shards.sample import ImageSample, decode_json

_LEVELS = ("image_text", "grounded")


class CorruptShardError(ValueError):
    """A shard does not hold what its contract says; the message names shard and key."""


@dataclass(frozen=True)
class Record:
    """One sample of a shard."""

    sample: ImageSample
    image: bytes  # encoded, as stored
    text: bytes  # content of .txt
    json: bytes  # content of .json: the sample, and what its level adds


def read(run: str | os.PathLike[str] | Store) -> Iterator[Record]:
    """Yield every sample of a finished run, in shard and key order.

    Args:
        run: A run directory (path, `gs://…`, `s3://…`), or `OUT@NAME` for a selection of it.

    Raises:
        ValueError: The run has no manifest, or of another contract version, its samples are not
            one image with a caption each, or there is no such selection.
        CorruptShardError: A tar is damaged.
    """
    root, name = (run, None) if isinstance(run, Store) else selection.split_spec(run)
    store = root if isinstance(root, Store) else Store(root)
    run_manifest = manifest.read(store)
    if run_manifest.level not in _LEVELS:
        raise ValueError(
            f"{store.root}: its samples are of level {run_manifest.level!r}, these records of "
            f"{' or '.join(_LEVELS)}; read it with shards.access.SampleReader"
        )
    if name is not None:
        selection.read(store, name)
    for shard in run_manifest.shards:
        records = read_shard(store, shard)
        yield from records if name is None else _kept(store, name, shard, records)


def _kept(
    store: Store, name: str, shard: ShardEntry, records: Iterator[Record]
) -> Iterator[Record]:
    sidecar = read_sidecar(store, shard)
    keys = sidecar.filter(pc.equal(sidecar.column("status"), "success")).column("key")
    keep = selection.kept(store, name, shard.name, keys.combine_chunks())
    kept_keys = set(keys.filter(pa.array(keep)).to_pylist())
    return (record for record in records if record.sample.key in kept_keys)


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
    return Record(decode_json(parts["json"]), parts[image], parts["txt"], parts["json"])


def read_sidecar(store: Store, shard: ShardEntry) -> pa.Table:
    """Return a shard's sidecar: one row for every planned row."""
    with store.open(shard.sidecar) as file:
        return parquet.read(file)
