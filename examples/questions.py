"""Which samples of a grounded run give a question, and selections of them.

A comparison of trainings is fair if each has the same number of samples and no batch has empty
slots.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa

import shards
from cogvlm.data import tasks
from shards import RawSample, SampleError, SampleReader, selection


def keys(run: Path, *, keep_ambiguous: bool) -> list[str]:
    """Return the keys of the samples that give a question, in the run's order, which is hashed.

    Raises:
        SampleError: A sample cannot be read.
    """
    options = tasks.TaskOptions(keep_ambiguous=keep_ambiguous)
    return [raw.key for raw in raw_samples(run) if tasks.recs(_example(raw, options))]


def select(run: Path, name: str, wanted: Collection[str]) -> Path:
    """Write a selection of the wanted samples; returns `RUN@NAME`, as a training takes it."""
    dataset, kept = shards.open_dataset(run), frozenset(wanted)
    keys_of: dict[str, list[str]] = {shard: [] for shard in dataset.shards}
    for raw in raw_samples(run):
        keys_of[raw.shard].append(raw.key)
    for shard, shard_keys in keys_of.items():
        keep = [key in kept for key in shard_keys]
        reason = pa.array([None if is_kept else "not_wanted" for is_kept in keep], pa.string())
        table = pa.table({"key": shard_keys, "keep": keep, "reason": reason})
        selection.write(dataset.store, name, shard, table)
    selection.finish(dataset.store, name)
    return run.with_name(f"{run.name}@{name}")


def raw_samples(run: Path) -> Iterator[RawSample]:
    """Yield every sample of a run.

    Raises:
        SampleError: One cannot be read.
    """
    reader = SampleReader(shards.open_dataset(run))
    for shard in range(len(reader.dataset.shards)):
        for raw in reader.iterate(shard):
            if isinstance(raw, SampleError):
                raise raw
            yield raw


def _example(raw: RawSample, options: tasks.TaskOptions) -> tasks.Example:
    """Return a sample as a task sees it, without pixels: the text alone decides what is asked."""
    return tasks.Example(
        key=raw.key,
        caption=raw.text.decode(),
        images=(),
        fields=raw.fields(),
        template="base",
        seed=0,
        epoch=0,
        options=options,
    )
