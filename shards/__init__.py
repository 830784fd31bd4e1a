"""The data contract: what a run directory holds, and the only code that reads and writes it.

Nothing of ours is imported here, and nothing heavy: no Beam, no torch.

- `schema`, `sample`, `outcomes`: columns, JSON fields and closed lists.
- `identity`, `text`: keys, hashes and the one caption cleaning.
- `grounded`: the record of phrases and boxes.
- `image`: the one decoder and what goes into a shard.
- `files`: where a run lies, deterministic writers, and how files appear exactly once.
- `shard_writer`: a shard with its sidecar, as every job writes it.
- `manifest`, `card`, `lint`: what readers start from.
- `dataset`, `selection`, `access`: what a trainer reads, and by place; `reading` is
  what they stand on.
- `adapters`: runs in other people's loaders.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shards.access import RawSample, SampleError, SampleReader
    from shards.dataset import Dataset, open_dataset
    from shards.reading.reader import Record, read

__all__ = [
    "Dataset",
    "RawSample",
    "Record",
    "SampleError",
    "SampleReader",
    "open_dataset",
    "read",
]

_MODULES = {
    "Dataset": "dataset",
    "RawSample": "access",
    "Record": "reading.reader",
    "SampleError": "access",
    "SampleReader": "access",
    "open_dataset": "dataset",
    "read": "reading.reader",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: light modules (`shards.suggest`) must not load pyarrow."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"shards.{_MODULES[name]}"), name)
