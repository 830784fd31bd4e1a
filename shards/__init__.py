"""The data contract: what a run directory holds, and the only code that reads and writes it.

Nothing of ours is imported here, and nothing heavy: no Beam, no torch.

- `schema`, `sample`, `outcomes`: columns, JSON fields and closed lists.
- `identity`, `text`: keys, hashes and the one caption cleaning.
- `image`: the one decoder and what goes into a shard.
- `parquet`, `tar`: deterministic writers.
- `store`, `commit`: where a run lies, and how files appear in it exactly once.
- `manifest`, `card`, `reader`, `lint`: what readers start from.
- `dataset`, `selection`, `access`: what a trainer reads, and by place.
- `adapters`: runs in other people's loaders.
"""

from shards.access import RawSample, SampleError, SampleReader
from shards.dataset import Dataset, open_dataset
from shards.reader import Record, read

__all__ = [
    "Dataset",
    "RawSample",
    "Record",
    "SampleError",
    "SampleReader",
    "open_dataset",
    "read",
]
