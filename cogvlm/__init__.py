"""The CogVLM model and its trainer, which reads the shards directly.

Empty so far; image-text shards come first. It builds on `shards` only.
"""
