"""A training run in progress: everything that a step reads or changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from cogvlm.checkpoints.snapshots import State, Writer
from cogvlm.data.parts import DataPlan
from cogvlm.data.pixels import normalise
from cogvlm.model.config import ModelConfig
from cogvlm.model.decoder import CogVLM
from cogvlm.model.layout import Batch
from cogvlm.training import optim
from cogvlm.training.config import TrainConfig
from cogvlm.training.distributed import World
from cogvlm.training.optim import Average
from cogvlm.training.watch import NoWatch, Watch


@dataclass
class Run:
    """A run in progress."""

    config: TrainConfig
    world: World
    plan: DataPlan
    validation: DataPlan | None
    micro_batch: int
    model: CogVLM
    optimizer: torch.optim.AdamW
    average: Average
    writer: Writer
    watch: Watch | NoWatch
    facts: dict[str, Any]  # what a snapshot says of the run besides its progress
    step: int = 0  # steps done
    updates: int = 0  # of them, those in which the optimiser stepped

    def state(self) -> State:
        """Return everything a snapshot holds, by kind and parameter name."""
        return {
            "model": dict(self.model.named_parameters()),
            **optim.moments(self.model, self.optimizer),
            "ema": self.average.weights,
        }

    def model_at(self, step: int) -> ModelConfig:
        """Return the model's config at a step (from 0)."""
        return self.plan.model_at(step)

    def on_device(self, batch: Batch) -> Batch:
        """Return a batch on the rank's device, its images as the model takes them."""
        batch = batch.to(self.world.device)
        assert batch.images_ICHW is not None  # `collate` makes one always
        return replace(batch, images_ICHW=normalise(batch.images_ICHW, self.model.config.vision))
