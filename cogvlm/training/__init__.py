"""A training run: its settings, its preparation, its loop, and how it is watched."""
