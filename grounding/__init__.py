"""The grounding set: phrases by spaCy, boxes by a detector, selection by the two-box rule.

- `phrases`: captions to noun chunks and referring expressions.
- `detector`: the protocol; `glip`, `detectors`: who keeps it.
- `geometry`, `align`: detections to the boxes of phrases, with a reason for each that is dropped.
- `selection`: which images are kept, so that strictly more than a share has two boxes.

It builds on `shards` only.
"""
