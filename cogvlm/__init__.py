"""The CogVLM model family, and the trainer that reads the shards directly.

Read `config` and `presets`, then `model` with `expert` and `vision`; `layout` makes batches,
`checkpoint` reads and writes weights. It builds on `shards` only, and importing it is free.
"""
