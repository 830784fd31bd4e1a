"""The feature pyramid: three maps of the image tower to five of equal channels.

Shape letters: B images, C channels, H and W a level's sides.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class TopBlocks(nn.Module):
    """P6 from P5, P7 from P6."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1)

    def forward(self, p5_BCHW: Tensor) -> list[Tensor]:
        """Return P6 and P7."""
        p6_BCHW = self.p6(p5_BCHW)
        return [p6_BCHW, self.p7(F.relu(p6_BCHW))]


class Pyramid(nn.Module):
    """Coarse maps are added to finer ones, top down. Numbers in names are stages from one."""

    def __init__(self, widths: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.fpn_inner2, self.fpn_inner3, self.fpn_inner4 = (
            nn.Conv2d(width, channels, kernel_size=1) for width in widths
        )
        self.fpn_layer2, self.fpn_layer3, self.fpn_layer4 = (
            nn.Conv2d(channels, channels, kernel_size=3, padding=1) for _ in widths
        )
        self.top_blocks = TopBlocks(channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return P3 to P7."""
        c3_BCHW, c4_BCHW, c5_BCHW = maps
        inner5_BCHW = self.fpn_inner4(c5_BCHW)
        inner4_BCHW = _add_coarser(self.fpn_inner3(c4_BCHW), inner5_BCHW)
        inner3_BCHW = _add_coarser(self.fpn_inner2(c3_BCHW), inner4_BCHW)
        p5_BCHW = self.fpn_layer4(inner5_BCHW)
        lower = [self.fpn_layer2(inner3_BCHW), self.fpn_layer3(inner4_BCHW), p5_BCHW]
        return lower + self.top_blocks(p5_BCHW)


def _add_coarser(fine_BCHW: Tensor, coarse_BCHW: Tensor) -> Tensor:
    return fine_BCHW + F.interpolate(coarse_BCHW, size=fine_BCHW.shape[-2:], mode="nearest")
