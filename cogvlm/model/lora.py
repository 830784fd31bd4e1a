"""Low-rank differences to frozen matrices (LoRA, arXiv 2106.09685): attach, train, merge.

The names of a matrix's own weights do not change, so checkpoints load before and after `attach`.
What a difference adds is scaled by alpha / rank; it starts at zero.
"""

from __future__ import annotations

import re
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LoraLinear(nn.Linear):
    """A matrix with a low-rank difference."""

    lora_down: nn.Parameter  # (rank, in)
    lora_up: nn.Parameter  # (out, rank)
    lora_scale: float

    def forward(self, input: Tensor) -> Tensor:
        """Return matrix and difference applied to (..., in), as (..., out)."""
        difference = F.linear(F.linear(input, self.lora_down), self.lora_up)
        return super().forward(input) + difference * self.lora_scale


def attach(model: nn.Module, *, rank: int, alpha: float, targets: str) -> list[str]:
    """Give matrices a difference with undefined values; returns the names of these modules.

    Args:
        model: Its matrices are changed in place.
        rank: Of the differences.
        alpha: They are multiplied by alpha / rank.
        targets: Pattern that is searched in the full name of a matrix.

    Raises:
        ValueError: No matrix has such a name.
    """
    names = []
    for name, module in model.named_modules():
        if type(module) is nn.Linear and re.search(targets, name):
            module.__class__ = LoraLinear
            changed = cast(LoraLinear, module)
            changed.lora_scale = alpha / rank
            changed.lora_down = nn.Parameter(module.weight.new_empty(rank, module.in_features))
            changed.lora_up = nn.Parameter(module.weight.new_empty(module.out_features, rank))
            names.append(name)
    if not names:
        raise ValueError(f"--lora_targets {targets!r}: the model has no such matrix")
    return names


@torch.no_grad()
def merge(model: nn.Module) -> None:
    """Add every difference to its matrix and take it away."""
    for module in model.modules():
        if isinstance(module, LoraLinear):
            difference = module.lora_up.float() @ module.lora_down.float()
            merged = module.weight.float() + difference * module.lora_scale
            module.weight.copy_(merged)
            del module.lora_down, module.lora_up, module.lora_scale
            cast(nn.Module, module).__class__ = nn.Linear
