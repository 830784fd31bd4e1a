"""Where the samples of one shard lie: keys and byte ranges, in key order.

A run's sidecar holds them. An img2dataset folder has no such column, so that its tar's headers
are walked once. A selection then leaves out what it does not keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shards import selection
from shards.dataset import Dataset
from shards.files import parquet
from shards.files.store import Store
from shards.files.tar_members import BLOCK, Fetch, TarDamageError, mapped, members, split_name
from shards.reading.sample_error import SampleError

_BLOCK_BYTES = 8 << 20  # of a walk over a tar in an object store


@dataclass(frozen=True)
class ShardIndex:
    """The kept samples of a shard, one row each."""

    keys: pa.StringArray
    starts: npt.NDArray[np.int64]  # bytes, of the first member's header
    ends: npt.NDArray[np.int64]  # bytes, of the last member with its padding


def load_index(dataset: Dataset, shard: int) -> ShardIndex:
    """Read the index of a shard.

    Raises:
        SampleError: The files of the shard are missing or damaged; its key is None.
        ValueError: The selection has no decision about a sample, or changed since `finish`.
    """
    try:
        index = _sidecar(dataset, shard) if dataset.kind == "run" else _walk(dataset, shard)
        if dataset.selection is not None:
            index = _selected(dataset, shard, index)
    except (OSError, pa.ArrowInvalid, TarDamageError) as error:
        raise _damaged(dataset, shard, f"{type(error).__name__}: {error}") from error
    if len(index.keys) != dataset.counts[shard]:
        if dataset.selection is not None:
            raise ValueError(
                f"{dataset.spec}, shard {dataset.shards[shard]}: {len(index.keys)} samples are "
                f"kept, {dataset.counts[shard]} were when the selection was finished; finish it "
                "again"
            )
        detail = f"{len(index.keys)} samples where {dataset.counts[shard]} were written"
        raise _damaged(dataset, shard, detail)
    return index


def _sidecar(dataset: Dataset, shard: int) -> ShardIndex:
    with dataset.store.open(dataset.sidecar(shard)) as file:
        columns = ["key", "status", "tar_offset", "tar_size"]
        table = parquet.read(file, columns)
    if missing := set(columns) - set(table.column_names):
        raise TarDamageError(f"{dataset.sidecar(shard)} has no columns {sorted(missing)}")
    table = table.filter(pc.equal(table.column("status"), "success"))
    if any(table.column(name).null_count for name in columns):
        raise TarDamageError(f"{dataset.sidecar(shard)} has a sample without key or place")
    starts = table.column("tar_offset").to_numpy().astype(np.int64)
    sizes = table.column("tar_size").to_numpy().astype(np.int64)
    return ShardIndex(table.column("key").combine_chunks(), starts, starts + sizes)


def _walk(dataset: Dataset, shard: int) -> ShardIndex:
    fetch, size = _whole(dataset.store, dataset.tar(shard))
    places = sorted(_samples(fetch, size))
    keys, starts, ends = zip(*places, strict=True) if places else ((), (), ())
    return ShardIndex(
        pa.array(keys, pa.string()), np.array(starts, np.int64), np.array(ends, np.int64)
    )


def _samples(fetch: Fetch, size: int) -> Iterator[tuple[str, int, int]]:
    """Yield key, start and end of each run of members with one key."""
    current, start, end = "", 0, 0
    for name, first, _, content_end in members(fetch, 0, size):
        key, extension = split_name(name)
        if not extension:
            continue
        if key != current:
            if current:
                yield current, start, end
            current, start = key, first
        end = content_end + -content_end % BLOCK
    if current:
        yield current, start, end


def _whole(store: Store, name: str) -> tuple[Fetch, int]:
    """Return a way to fetch ranges of a file that will be asked for front to back, and its size."""
    entry = store.stat(name)
    if entry is None:
        raise FileNotFoundError(store.url(name))
    path = store.local_path(name)
    return (_Blocks(store, name, entry.size).fetch if path is None else mapped(path)), entry.size


class _Blocks:
    """Ranges of a remote file out of large blocks, of which one is held."""

    def __init__(self, store: Store, name: str, size: int) -> None:
        self._store, self._name, self._size = store, name, size
        self._start, self._data = 0, b""

    def fetch(self, start: int, end: int) -> bytes:
        end = min(end, self._size)
        if not self._start <= start <= end <= self._start + len(self._data):
            length = max(end - start, min(_BLOCK_BYTES, self._size - start))
            self._data = self._store.read_range(self._name, start, length)
            self._start = start
        return self._data[start - self._start : end - self._start]


def _selected(dataset: Dataset, shard: int, index: ShardIndex) -> ShardIndex:
    assert dataset.selection is not None
    keep = selection.kept(dataset.store, dataset.selection, dataset.shards[shard], index.keys)
    return ShardIndex(index.keys.filter(pa.array(keep)), index.starts[keep], index.ends[keep])


def _damaged(dataset: Dataset, shard: int, detail: str) -> SampleError:
    return SampleError("tar_damaged", dataset.spec, dataset.shards[shard], None, detail)
