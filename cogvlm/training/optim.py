"""Optimiser, learning rates and averaged weights.

Everything here is per parameter, so it does not matter how the parameters are sharded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from cogvlm.model.config import ModelConfig
from cogvlm.model.decoder import CogVLM
from cogvlm.model.groups import GROUPS, group_of
from cogvlm.training.config import TrainConfig

MOMENTS = ("exp_avg", "exp_avg_sq")  # Adam's, by their names in its state


def adamw(model: CogVLM, run: TrainConfig) -> torch.optim.AdamW:
    """Return the optimiser of the trained parameters, grouped by learning rate and decay."""
    by_rate: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trained(model):
        scale = run.lr_scale.get(group_of(name), 1.0)
        decay = run.weight_decay if decays(name, parameter, model.config) else 0.0
        by_rate.setdefault((scale, decay), []).append(parameter)
    groups = [
        {"params": members, "weight_decay": decay, "lr": run.lr * scale, "lr_scale": scale}
        for (scale, decay), members in by_rate.items()
    ]
    fused = next(model.parameters()).device.type == "cuda"
    return torch.optim.AdamW(groups, betas=run.betas, eps=run.eps, fused=fused, foreach=not fused)


def trained(model: CogVLM) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters that are trained, by name."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            yield name, parameter


def decays(name: str, parameter: Tensor, config: ModelConfig) -> bool:
    """Whether weight decay acts on a parameter: not on norms and biases, as in the official code.

    Nor on the last layer's vision outputs, which no loss sees: their gradient is zero, and decay
    would shrink them to nothing.
    """
    last = f"model.layers.{config.num_layers - 1}"
    unseen = (f"{last}.self_attn.vision_expert_dense.", f"{last}.mlp.vision_mlp.")
    if config.skip_unused and not config.loss.image_ssl and name.startswith(unseen):
        return False
    return parameter.dim() > 1 and not name.endswith("bias")


def lr_factor(step: int, run: TrainConfig) -> float:
    """Return what the peak learning rate is multiplied by at a step (from 0).

    Cosine falls as in the official code: over all steps, of which the warm-up is a part, so that
    it ends a little above the floor.
    """
    if step < run.warmup_steps:
        return (step + 1) / run.warmup_steps
    if run.schedule == "constant":
        return 1.0
    done = step - run.warmup_steps
    if run.schedule == "cosine":
        height = (1 + math.cos(math.pi * min(1.0, done / run.steps))) / 2
    else:
        height = 1 - min(1.0, done / max(1, run.steps - run.warmup_steps))
    return run.lr_floor + (1 - run.lr_floor) * height


def set_lr(optimizer: torch.optim.Optimizer, run: TrainConfig, step: int) -> float:
    """Set every group's learning rate for a step; returns the one without a group's factor."""
    rate = run.lr * lr_factor(step, run)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    return rate


class Average:
    """Exponential moving average of the trained weights, in fp32."""

    def __init__(self, model: CogVLM, decay: float) -> None:
        """Start from the weights as they are; a decay of 0 keeps no average."""
        self.decay = decay
        self.weights: dict[str, Tensor] = {}
        if decay:
            self.weights = {name: each.detach().clone() for name, each in trained(model)}

    @torch.no_grad()
    def update(self, model: CogVLM, updates: int) -> None:
        """Move towards the weights after so many updates: min(decay, (1 + n) / (10 + n))."""
        if not self.weights:
            return
        decay = min(self.decay, (1 + updates) / (10 + updates))
        now = dict(trained(model))
        torch._foreach_lerp_(
            local(self.weights.values()), local(now[name] for name in self.weights), 1 - decay
        )

    @contextmanager
    def in_place_of(self, model: CogVLM) -> Iterator[None]:
        """Run a block with the averaged weights in the model."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: CogVLM) -> None:
        for name, parameter in trained(model):
            if name in self.weights:
                mine, theirs = local([self.weights[name], parameter])
                kept = theirs.clone()
                theirs.copy_(mine)
                mine.copy_(kept)


def moments(model: CogVLM, optimizer: torch.optim.AdamW) -> dict[str, dict[str, Tensor]]:
    """Return Adam's two moments by parameter name, made of zeros where there are none yet."""
    by_name: dict[str, dict[str, Tensor]] = {moment: {} for moment in MOMENTS}
    for name, parameter in trained(model):
        state = optimizer.state[parameter]
        if not state:
            on = parameter.device if optimizer.param_groups[0]["fused"] else "cpu"
            state["step"] = torch.zeros((), dtype=torch.float32, device=on)
            for moment in by_name:
                state[moment] = torch.zeros_like(parameter)
        for moment, members in by_name.items():
            members[name] = state[moment]
    return by_name


def set_updates(model: CogVLM, optimizer: torch.optim.AdamW, updates: int) -> None:
    """Tell Adam how many updates its moments have seen."""
    for _, parameter in trained(model):
        optimizer.state[parameter]["step"].fill_(updates)


def local(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return this rank's parts of tensors, sharded or not."""
    return [each.to_local() if isinstance(each, DTensor) else each for each in tensors]


def table(model: CogVLM, run: TrainConfig) -> list[str]:
    """Return lines that say which groups train, how large they are, and at which rate."""
    sizes: dict[str, int] = dict.fromkeys(GROUPS, 0)
    for name, parameter in model.named_parameters():
        sizes[group_of(name)] += parameter.numel()
    return rates(sizes, run)


def rates(sizes: Mapping[str, int], run: TrainConfig) -> list[str]:
    """Return a line per parameter group that the model has."""
    lines = [f"  {'group':<16}{'parameters':>18}  peak learning rate"]
    for group, size in sizes.items():
        rate = f"{run.lr * run.lr_scale.get(group, 1.0):g}" if group in run.trains else "frozen"
        if size:
            lines.append(f"  {group:<16}{size:>18,}  {rate}")
    return lines
