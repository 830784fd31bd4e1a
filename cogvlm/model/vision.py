"""From pixels to vectors of the language model: tower, projector, boundaries.

Towers are declared in `towers`, projectors are in `projector`.

Shape letters: I images, P patches, E tower channels, D language channels, S positions of an image
with boundaries.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cogvlm.model.config import ModelConfig
from cogvlm.model.eva import as_grid
from cogvlm.model.projector import build_projector
from cogvlm.model.registry import TOWERS


class ImageEncoder(nn.Module):
    """Tower, projector and the learned vectors around an image."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        vision, width = config.vision, config.hidden_size
        self.grid_size, self.scale = vision.grid_size, config.projector.scale
        self._declared = TOWERS[vision.tower]
        tower = self._declared.build(vision)
        parts = tower.named_children() if self._declared.inline else [("tower", tower)]
        for name, part in parts:
            self.add_module(name, part)
        self.conv = None
        if config.projector.kind == "conv_glu":
            self.conv = nn.Conv2d(
                vision.width, config.projector.conv_width, kernel_size=2, stride=2
            )
        self.linear_proj = build_projector(config)
        self.boi = self.eoi = None
        if config.boundaries:
            self.boi = nn.Parameter(torch.empty(1, 1, width))
            self.eoi = nn.Parameter(torch.empty(1, 1, width))

    @property
    def tower_module(self) -> nn.Module:
        """The module that the functions of the tower's declaration take."""
        return self if self._declared.inline else self.get_submodule("tower")

    def tower_blocks(self) -> list[nn.Module]:
        """Return the repeated blocks of the tower."""
        return [*self._declared.blocks(self.tower_module)]

    def features(self, images_ICHW: Tensor) -> Tensor:
        """Return the tower's patch features without CLS, (I, P, E), in row-major order.

        Libraries cannot run zero images, so a blank one goes through where there is none: every
        rank of a sharded model then runs the same modules, and the weights get zero gradients.
        """
        if not len(images_ICHW) and not self._declared.inline:
            return self.features(images_ICHW.new_zeros(1, *images_ICHW.shape[1:]))[:0]
        first = next(next(self.children()).parameters())  # the tower's parts come first
        return self._declared.features(self.tower_module, images_ICHW.to(first.dtype))

    def project(self, features_IPE: Tensor) -> Tensor:
        """Return an image's vectors with BOI and EOI around them, (I, S, D)."""
        if self.conv is not None:
            grid_IEgg = as_grid(features_IPE)
            features_IPE = self.conv(grid_IEgg).flatten(2).transpose(1, 2)
        tokens_ISD = self.linear_proj(features_IPE)
        if self.boi is not None and self.eoi is not None:
            around = (len(tokens_ISD), 1, -1)
            pieces = [self.boi.expand(around), tokens_ISD, self.eoi.expand(around)]
            tokens_ISD = torch.cat(pieces, dim=1)
        return tokens_ISD * self.scale

    def forward(self, images_ICHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images' vectors (I, S, D) and the tower's features (I, P, E)."""
        features_IPE = self.features(images_ICHW)
        return self.project(features_IPE), features_IPE
