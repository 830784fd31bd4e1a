"""The image self-supervised loss, an ablation of the paper (Table 4): guess the next patch.

Each image position predicts the tower's feature of the next position. The head and the distance
are unpublished; ours are one matrix and the cosine distance.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from cogvlm.model.config import ModelConfig


class ImageHead(nn.Module):
    """Hidden states of image positions to tower features."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.side = math.isqrt(config.image_tokens)
        self.proj = nn.Linear(config.hidden_size, config.vision.width, bias=False)

    def forward(self, hidden_ISD: Tensor, features_IPE: Tensor) -> Tensor:
        """Return the mean distance of BOI and all patches but the last to what follows them.

        Args:
            hidden_ISD: The decoder's outputs at BOI, the image tokens and EOI.
            features_IPE: The tower's patch features; averaged where a token covers several.
        """
        grid = math.isqrt(features_IPE.shape[1])
        map_IEgg = features_IPE.detach().float().transpose(1, 2).unflatten(2, (grid, grid))
        targets = F.adaptive_avg_pool2d(map_IEgg, self.side).flatten(2).transpose(1, 2)
        guesses = self.proj(hidden_ISD[:, :-2]).float()
        distances = 1 - F.cosine_similarity(guesses, targets, dim=-1)
        return distances.sum() / max(distances.numel(), 1)
