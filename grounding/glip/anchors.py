"""Square anchors, one per position, and boxes from their deltas.

Boxes are pixels of the resized image with the old inclusive convention: a width is x2 - x1 + 1.

Shape letters: S positions of a level, row by row.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from grounding.glip.config import GlipConfig

_CENTRE_WEIGHT, _SIDE_WEIGHT = 10.0, 5.0
_MOST_LOG_RATIO = math.log(1000 / 16)


class AnchorGenerator(nn.Module):
    """Anchors of all levels; it keeps its cells because checkpoints have them."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.strides, self.sizes = config.anchor_strides, config.anchor_sizes
        self.cell_anchors = nn.Module()
        for level, size in enumerate(zip(self.strides, self.sizes, strict=True)):
            self.cell_anchors.register_buffer(str(level), cell(*size))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Return (S, 4) per level, float32 on the levels' device."""
        return [
            grid(level.shape[-2], level.shape[-1], stride, size, level.device)
            for level, stride, size in zip(levels, self.strides, self.sizes, strict=True)
        ]


def cell(stride: int, size: int) -> Tensor:
    """Return the anchor of the first position, (1, 4)."""
    low, high = (stride - size) / 2, (stride + size) / 2 - 1
    return torch.tensor([[low, low, high, high]])


def grid(height: int, width: int, stride: int, size: int, device: torch.device) -> Tensor:
    """Return the anchors of a level, (S, 4)."""
    down_S = torch.arange(height, device=device).repeat_interleave(width) * stride
    right_S = torch.arange(width, device=device).repeat(height) * stride
    low, high = (stride - size) / 2, (stride + size) / 2 - 1
    sides = [right_S + low, down_S + low, right_S + high, down_S + high]
    return torch.stack(sides, dim=1).float()


def decode(anchors_S4: Tensor, deltas_S4: Tensor) -> Tensor:
    """Return boxes xyxy; leading dimensions of the deltas are kept."""
    sides_S2 = anchors_S4[..., 2:] - anchors_S4[..., :2] + 1
    centres_S2 = (anchors_S4[..., 2:] + anchors_S4[..., :2]) / 2
    centres_S2 = deltas_S4[..., :2] / _CENTRE_WEIGHT * sides_S2 + centres_S2
    logs_S2 = (deltas_S4[..., 2:] / _SIDE_WEIGHT).clamp(max=_MOST_LOG_RATIO)
    sides_S2 = logs_S2.exp() * sides_S2
    half_S2 = (sides_S2 - 1) / 2
    return torch.cat([centres_S2 - half_S2, centres_S2 + half_S2], dim=-1)
