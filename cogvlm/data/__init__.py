"""Samples of shard sets to batches of tokens and pixels, in an order that a step number fixes."""
