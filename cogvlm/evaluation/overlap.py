"""How many evaluated samples were trained on: the same key, or the same image.

Keys come from the indexes of the shard sets, images from the `sha256` of their sidecars: the bytes
as they were fetched. The same photo in another file is not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.dataset import Dataset
from shards.files import parquet
from shards.reading.sample_error import SampleError
from shards.reading.shard_index import load_index

KEY, IMAGE = "key", "sha256"


@dataclass(frozen=True)
class Overlap:
    """Distinct keys and images of an evaluation set, and how many of them training data has."""

    keys: int
    images: int  # 0 where the sidecars have no sha256
    keys_trained_on: int
    images_trained_on: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


def overlap(evaluated: Dataset, trained_on: Sequence[Dataset]) -> Overlap:
    """Return what an evaluation set shares with training data; memory is the evaluation set's.

    Raises:
        ValueError: A shard of either cannot be read; names it.
    """
    keys: set[str] = set()
    images: set[str] = set()
    for table in _tables(evaluated):
        keys.update(_values(table, KEY))
        images.update(_values(table, IMAGE))
    seen_keys: set[str] = set()
    seen_images: set[str] = set()
    for dataset in trained_on:
        for table in _tables(dataset):
            seen_keys.update(keys.intersection(_values(table, KEY)))
            seen_images.update(images.intersection(_values(table, IMAGE)))
    return Overlap(len(keys), len(images), len(seen_keys), len(seen_images))


def _tables(dataset: Dataset) -> Iterator[pa.Table]:
    """Yield key and sha256 of the kept samples of each shard; sha256 where there is such."""
    for shard, name in enumerate(dataset.shards):
        try:
            kept = load_index(dataset, shard).keys
            with dataset.store.open(dataset.sidecar(shard)) as file:
                there = pq.read_schema(file).names
                table = parquet.read(file, [each for each in (KEY, IMAGE) if each in there])
        except (SampleError, OSError, pa.ArrowInvalid) as error:
            raise ValueError(f"{dataset.spec}, shard {name}: {error}") from error
        yield table.filter(pc.is_in(table.column(KEY), value_set=kept))


def _values(table: pa.Table, name: str) -> list[str]:
    if name not in table.column_names:
        return []
    return [value for value in table.column(name).to_pylist() if value]
