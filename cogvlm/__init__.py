"""The CogVLM model family, and the trainer that reads the shards directly.

- `model`: config, presets and the network; start with `cogvlm.model.config`.
- `checkpoints`: weights in and out, ours and those of others.
- `data`: shards to batches, by tasks.
- `costs`: FLOPs and memory.
- `training`, `evaluation`: what `cogvlm.train` and `cogvlm.evaluate` are made of.

It builds on `shards` only, and importing it is free.
"""
