"""The grounding job's stages, each a file: what an item reads, does and commits.

phrases (captions to phrases) -> labels (images to boxes) -> boxes (thresholds, by image) ->
choose (one row per image) -> select (the two-box rule) -> pack (new shards).
"""
