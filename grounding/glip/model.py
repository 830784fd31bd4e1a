"""GLIP: images and their captions to boxes and scores per token.

Module names make the state dict's keys those of the published checkpoints.

Shape letters: B images, H and W sides in pixels, L tokens, E text channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from grounding.glip.anchors import AnchorGenerator
from grounding.glip.config import GlipConfig
from grounding.glip.dyhead import DynamicConv, HeadOutput, VLDyHead
from grounding.glip.pyramid import Pyramid
from grounding.glip.swin import SwinTower
from grounding.glip.text import Bert


class Backbone(nn.Module):
    """Image tower and pyramid."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        width = config.swin_width
        self.body = SwinTower(config)
        self.fpn = Pyramid((2 * width, 4 * width, 8 * width), config.channels)

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        """Return P3 to P7."""
        return self.fpn(self.body(images_B3HW))


class TextBody(nn.Module):
    """A level of names."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.model = Bert(config)


class TextTower(nn.Module):
    """A level of names, and the call."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.body = TextBody(config)

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Return (B, L, E)."""
        return self.body.model(ids_BL, mask_BL)


class RegionProposals(nn.Module):
    """The head and its anchors."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.head = VLDyHead(config)
        self.anchor_generator = AnchorGenerator(config)


class Glip(nn.Module):
    """The whole detector up to, and without, post-processing."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.language_backbone = TextTower(config)
        self.rpn = RegionProposals(config)

    def forward(self, images_B3HW: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> HeadOutput:
        """Return the head's outputs in float32.

        Args:
            images_B3HW: Normalised; sides are multiples of 32.
            ids_BL: Word pieces with [CLS] and [SEP].
            mask_BL: True on real tokens.
        """
        images_B3HW = images_B3HW.to(self.backbone.body.patch_embed.proj.weight.dtype)
        text_BLE = self.language_backbone(ids_BL, mask_BL)
        return self.rpn.head(self.backbone(images_B3HW), text_BLE, mask_BL)

    def to_bfloat16(self) -> Glip:
        """Convert all but dynamic convolutions, outputs and anchors, in place."""
        self.backbone.bfloat16()
        self.language_backbone.bfloat16()
        for member in self.rpn.head.dyhead_tower:
            if not isinstance(member, DynamicConv):
                member.bfloat16()
        return self


def build(config: GlipConfig, *, seed: int) -> Glip:
    """Return a model with random weights, for tests and benches.

    Matrices and kernels are normal with deviation 0.02 but for the offsets' (0.002, so that taps
    stay near); all else keeps the value it is made with: norms and gammas as published, biases
    as torch draws them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Glip(config)
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.002 if ".offset." in name else 0.02)
    return model.eval()
