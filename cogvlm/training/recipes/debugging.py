"""A run for tests and a first look."""

from __future__ import annotations

from cogvlm.training.config import TrainConfig
from cogvlm.training.recipes import EVERY_GROUP, Recipe


def debug() -> Recipe:
    """A run of the `debug` model on a CPU in no time, every group trained."""
    return Recipe(
        config=TrainConfig(
            model="debug",
            steps=30,
            global_batch=16,
            workers=1,
            trains=EVERY_GROUP,
            lr=1e-3,
            warmup_steps=5,
            ema=0.99,
            precision="fp32",
            device="cpu",
            snapshot_every=10,
        ),
        source="ours; for tests and a first look",
    )
