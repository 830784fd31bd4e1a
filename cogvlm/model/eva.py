"""EVA-02-CLIP-E/14 without its last block, final norm and head (paper, section 2.1).

Shape letters: I images, P patches (CLS is token 0), E tower channels, H heads, C channels of a
head.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cogvlm.model.towers import Vision


class PatchEmbedding(nn.Module):
    """Pixels to patch vectors, the CLS vector in front, and the position table added."""

    def __init__(self, vision: Vision) -> None:
        super().__init__()
        patch, width = vision.patch_size, vision.width
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.cls_embedding = nn.Parameter(torch.empty(1, width))
        self.position_embedding = nn.Embedding(vision.grid_size**2 + 1, width)

    def forward(self, images_ICHW: Tensor) -> Tensor:
        """Return CLS and patches, (I, 1 + P, E)."""
        patches_IPE = self.proj(images_ICHW).flatten(2).transpose(1, 2)
        cls_I1E = self.cls_embedding.expand(len(patches_IPE), 1, -1)
        return torch.cat([cls_I1E, patches_IPE], dim=1) + self.position_embedding.weight


class VisionAttention(nn.Module):
    """Attention of all tokens of an image to all."""

    def __init__(self, vision: Vision) -> None:
        super().__init__()
        self.num_heads = vision.num_heads
        self.query_key_value = nn.Linear(vision.width, 3 * vision.width)
        self.dense = nn.Linear(vision.width, vision.width)

    def forward(self, x_IPE: Tensor) -> Tensor:
        """Return (I, P, E)."""
        qkv = self.query_key_value(x_IPE).unflatten(-1, (3, self.num_heads, -1))
        q_IHPC, k_IHPC, v_IHPC = qkv.permute(2, 0, 3, 1, 4)
        out_IHPC = F.scaled_dot_product_attention(q_IHPC, k_IHPC, v_IHPC)
        return self.dense(out_IHPC.transpose(1, 2).flatten(2))


class VisionMLP(nn.Module):
    """Two matrices with exact GELU between them."""

    def __init__(self, vision: Vision) -> None:
        super().__init__()
        self.fc1 = nn.Linear(vision.width, vision.mlp_size)
        self.fc2 = nn.Linear(vision.mlp_size, vision.width)

    def forward(self, x_IPE: Tensor) -> Tensor:
        """Return (I, P, E)."""
        return self.fc2(F.gelu(self.fc1(x_IPE)))


class VisionBlock(nn.Module):
    """A residual post-norm block: what is normed is a branch's output, whatever the names say."""

    def __init__(self, vision: Vision) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(vision.width, eps=vision.norm_eps)
        self.attention = VisionAttention(vision)
        self.mlp = VisionMLP(vision)
        self.post_attention_layernorm = nn.LayerNorm(vision.width, eps=vision.norm_eps)

    def forward(self, x_IPE: Tensor) -> Tensor:
        """Return (I, P, E)."""
        x_IPE = x_IPE + self.input_layernorm(self.attention(x_IPE))
        return x_IPE + self.post_attention_layernorm(self.mlp(x_IPE))


class VisionTransformer(nn.Module):
    """The blocks up to the one whose output is taken; no norm follows the last."""

    def __init__(self, vision: Vision) -> None:
        super().__init__()
        count = vision.num_layers + 1 + vision.feature_layer
        self.layers = nn.ModuleList(VisionBlock(vision) for _ in range(count))

    def forward(self, x_IPE: Tensor) -> Tensor:
        """Return (I, P, E)."""
        for block in self.layers:
            x_IPE = block(x_IPE)
        return x_IPE


def resize_positions(
    table_PE: Tensor, grid_size: int, mode: Literal["bicubic", "bilinear"] = "bicubic"
) -> Tensor:
    """Return a position table (CLS first) for another square grid of patches.

    Bicubic in float32 without antialiasing, as the official resize to 490 px; timm's antialiased
    resize gives other numbers even where it enlarges.

    Args:
        table_PE: (1 + old grid squared, E).
        grid_size: Patches along a side of the new grid.
        mode: Bilinear never overshoots: for Adam's moments, whose squares must not go negative.
    """
    cls_1E, patches_PE = table_PE[:1], table_PE[1:]
    old_1Egg = as_grid(patches_PE.float()[None])
    new_1Egg = F.interpolate(old_1Egg, size=(grid_size,) * 2, mode=mode, align_corners=False)
    return torch.cat([cls_1E, new_1Egg[0].flatten(1).T.to(table_PE.dtype)])


def fitted_positions(table_PE: Tensor, grid_size: int) -> Tensor:
    """Return a position table as it is where it fits the grid, else resized."""
    fits = len(table_PE) == grid_size**2 + 1
    return table_PE if fits else resize_positions(table_PE, grid_size)


def as_grid(features_IPE: Tensor) -> Tensor:
    """Return patches as square maps, (I, E, side, side)."""
    side = math.isqrt(features_IPE.shape[1])
    return features_IPE.transpose(1, 2).unflatten(2, (side, side))
