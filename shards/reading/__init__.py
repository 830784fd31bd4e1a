"""What stands behind `shards.access`, `shards.adapters` and `shards.read`.

- `reader`: a run's samples in order, shard after shard.
- `shard_index`: where in its tar each sample of a shard lies.
- `sample_error`: why a sample cannot be used.
- `webdataset_pipeline`: the one file that imports that library.
"""
