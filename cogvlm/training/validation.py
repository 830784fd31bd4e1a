"""The loss on held-out samples, of raw and of averaged weights."""

from __future__ import annotations

from dataclasses import replace

import torch

from cogvlm.data.loader import blank, loader
from cogvlm.data.parts import DataPlan
from cogvlm.training.run import Run


@torch.no_grad()
def validate(run: Run, plan: DataPlan) -> float:
    """Return the loss per target on held-out samples, of the averaged weights where there are."""
    run.model.eval()
    raw = held_out_loss(run, plan)
    averaged = None
    if run.average.weights:
        with run.average.in_place_of(run.model):
            averaged = held_out_loss(run, plan)
    run.model.train()
    run.watch.event("validation", step=run.step, raw=raw, ema=averaged)
    return raw if averaged is None else averaged


def held_out_loss(run: Run, plan: DataPlan) -> float:
    """Return the mean loss over the first epoch of a plan, or as far as it is asked for."""
    config, world = run.config, run.world
    steps = -(-config.val_samples // plan.global_batch)
    steps = min(steps, plan.schedule.steps_per_epoch or steps)
    plan = replace(plan, model=run.model.config, resolution=_as_it_is)
    total, targets = 0.0, 0
    for work in loader(
        plan,
        steps=range(steps),
        micro_batch=run.micro_batch,
        rank=world.rank,
        ranks=world.ranks,
    ):
        (micro_steps,) = world.largest([len(work.batches)])
        missing = [blank(plan.model)] * (micro_steps - len(work.batches))
        for batch in (*work.batches, *missing):
            total += float(run.model.loss(run.on_device(batch))[0])
        targets += work.targets
    loss_sum, count = world.sums([total, targets], torch.float64)
    return loss_sum / max(1.0, count)


def _as_it_is(step: int) -> int:
    return 0
