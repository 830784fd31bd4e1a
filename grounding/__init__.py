"""The grounding set: phrases by spaCy, boxes by a detector, selection by the two-box rule.

Empty so far; image-text shards come first. It builds on `shards` only.
"""
