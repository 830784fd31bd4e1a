"""The head: blocks of fusion, text and dynamic convolution, then boxes and a score per token.

Shape letters: B images, C channels, H and W a level's sides, S positions, L tokens, E text
channels, K taps of a kernel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grounding.glip.config import GlipConfig
from grounding.glip.deform import TAPS, ModulatedDeformConv
from grounding.glip.fusion import Fusion
from grounding.glip.text import LIMIT, TextLayer

_REDUCTION = 4


@dataclass(frozen=True)
class HeadOutput:
    """What the head says of every level, P3 first."""

    token_logits: list[Tensor]  # (B, H * W, L), row by row
    box_deltas: list[Tensor]  # (B, 4, H, W)
    centerness: list[Tensor]  # (B, 1, H, W), before the sigmoid


class NormedDeformConv(ModulatedDeformConv):
    """Deformable convolution and group norm."""

    def __init__(self, config: GlipConfig, stride: int) -> None:
        super().__init__(config.channels, stride)
        self.bn = nn.GroupNorm(config.norm_groups, config.channels)

    def forward(self, x_BCHW: Tensor, offsets_BKhw: Tensor, weights_BKhw: Tensor) -> Tensor:
        """Return (B, C, h, w)."""
        return self.bn(super().forward(x_BCHW, offsets_BKhw, weights_BKhw))


class DynamicReLU(nn.Module):
    """The larger of two lines per channel, whose slopes and offsets depend on the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // _REDUCTION),
            nn.ReLU(),
            nn.Linear(channels // _REDUCTION, 4 * channels),
            nn.Hardsigmoid(),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        lines = self.fc(x_BCHW.mean((2, 3)))[..., None, None]
        slope1, offset1, slope2, offset2 = (lines - 0.5).chunk(4, dim=1)
        return torch.maximum(
            torch.addcmul(offset1, x_BCHW, slope1 * 2 + 1),
            torch.addcmul(offset2, x_BCHW, slope2 * 2),
        )


class DynamicConv(nn.Module):
    """Every level from itself and its neighbours, weighed by what the image needs.

    In float32 whatever is around it: positions between pixels have no room in bfloat16.
    """

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.DyConv = nn.ModuleList(  # from the coarser level, the level itself, the finer one
            NormedDeformConv(config, stride) for stride in (1, 1, 2)
        )
        self.AttnConv = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(config.channels, 1, kernel_size=1), nn.ReLU()
        )
        self.relu = DynamicReLU(config.channels)
        self.offset = nn.Conv2d(config.channels, 3 * TAPS, kernel_size=3, padding=1)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Return the levels (B, C, H, W)."""
        dtype = levels[0].dtype
        levels = [level.float() for level in levels]
        return [self.relu(self._mixed(levels, at)).to(dtype) for at in range(len(levels))]

    def _mixed(self, levels: list[Tensor], at: int) -> Tensor:
        level_BCHW = levels[at]
        moved_BKHW = self.offset(level_BCHW)
        offsets_BKHW, weights_BKHW = moved_BKHW[:, : 2 * TAPS], moved_BKHW[:, 2 * TAPS :].sigmoid()
        from_coarser, from_own, from_finer = self.DyConv
        members = [from_own(level_BCHW, offsets_BKHW, weights_BKHW)]
        if at > 0:
            members.append(from_finer(levels[at - 1], offsets_BKHW, weights_BKHW))
        if at + 1 < len(levels):
            coarse_BChw = from_coarser(levels[at + 1], offsets_BKHW, weights_BKHW)
            sides = level_BCHW.shape[-2:]
            members.append(F.interpolate(coarse_BChw, sides, mode="bilinear", align_corners=True))
        return sum(F.hardsigmoid(self.AttnConv(level)) * level for level in members) / len(members)


class Scale(nn.Module):
    """A learned factor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the product."""
        return x * self.scale


class VLDyHead(nn.Module):
    """Pyramid and text to boxes and token scores."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        members: list[nn.Module] = []
        for _ in range(config.blocks):
            if config.fused:
                members += [Fusion(config), TextLayer(config, clamped=True)]
            members.append(DynamicConv(config))
        self.dyhead_tower = nn.ModuleList(members)
        self.fused = config.fused
        self.cls_logits = nn.Conv2d(config.channels, config.class_columns, kernel_size=1)  # unused
        self.bbox_pred = nn.Conv2d(config.channels, 4, kernel_size=1)
        self.centerness = nn.Conv2d(config.channels, 1, kernel_size=1)
        self.dot_product_projection_text = nn.Linear(config.text_width, config.channels)
        self.log_scale = nn.Parameter(torch.zeros(1))
        self.bias_lang = nn.Parameter(torch.zeros(config.text_width))
        self.bias0 = nn.Parameter(torch.full((1,), -math.log(99)))
        self.scales = nn.ModuleList(Scale() for _ in config.anchor_strides)

    def forward(self, levels: list[Tensor], text_BLE: Tensor, mask_BL: Tensor) -> HeadOutput:
        """Return what is said of every level, in float32."""
        original_BLE = text_BLE * mask_BL[..., None]
        for member in self.dyhead_tower:
            levels, text_BLE = run_member(member, levels, text_BLE, mask_BL)
        levels = [level.float() for level in levels]
        tokens_BLC, bias_BL = self.text_side((text_BLE if self.fused else original_BLE).float())
        return HeadOutput(
            [_token_logits(level.flatten(2), tokens_BLC, bias_BL) for level in levels],
            [scale(self.bbox_pred(x)) for scale, x in zip(self.scales, levels, strict=True)],
            [self.centerness(level) for level in levels],
        )

    def text_side(self, text_BLE: Tensor) -> tuple[Tensor, Tensor]:
        """Return what image positions are multiplied with, (B, L, C), and what is added."""
        unit_BLE = F.normalize(text_BLE, dim=-1)
        tokens_BLC = self.dot_product_projection_text(unit_BLE / 2) / self.log_scale.exp()
        return tokens_BLC, unit_BLE @ self.bias_lang + self.bias0


def run_member(
    member: nn.Module, levels: list[Tensor], text_BLE: Tensor, mask_BL: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Run one member of the tower on what it works on."""
    if isinstance(member, DynamicConv):
        return member(levels), text_BLE
    if isinstance(member, TextLayer):
        return levels, member(text_BLE, mask_BL)
    return member(levels, text_BLE, mask_BL)


def _token_logits(x_BCS: Tensor, tokens_BLC: Tensor, bias_BL: Tensor) -> Tensor:
    logits_BLS = torch.baddbmm(bias_BL[..., None], tokens_BLC, x_BCS)
    return logits_BLS.clamp(-LIMIT, LIMIT).transpose(1, 2)
