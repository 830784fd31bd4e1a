"""Which samples of a grounded run give a question, and a selection of some of them.

Trainings compare fairly where each has as many samples, and none leaves a slot of a batch empty.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa

import shards
from cogvlm.data import tasks
from shards import RawSample, SampleError, SampleReader, selection


def keys(run: Path, *, keep_ambiguous: bool) -> list[str]:
    """Return the samples that give a question, in the order of the run, which is a hashed one.

    Raises:
        SampleError: A sample cannot be read.
    """
    options = tasks.TaskOptions(keep_ambiguous=keep_ambiguous)
    return [raw.key for raw in raw_samples(run) if tasks.recs(_example(raw, options))]


def select(run: Path, name: str, wanted: Collection[str]) -> Path:
    """Write the selection of the wanted samples; returns what a training takes, `RUN@NAME`."""
    dataset, kept = shards.open_dataset(run), frozenset(wanted)
    found: dict[str, list[str]] = {shard: [] for shard in dataset.shards}
    for raw in raw_samples(run):
        found[raw.shard].append(raw.key)
    for shard, of_shard in found.items():
        keep = [key in kept for key in of_shard]
        reason = pa.array([None if each else "not_wanted" for each in keep], pa.string())
        table = pa.table({"key": of_shard, "keep": keep, "reason": reason})
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
    """Return a sample as a task sees it, without pixels: what may be asked hangs on its text."""
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
