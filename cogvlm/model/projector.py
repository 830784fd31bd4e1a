"""Projectors: what stands between the tower and the language model.

`glu` is CogVLM's adapter (paper, section 2.1); with the convolution that `vision` puts before it,
CogVLM2's and GLM-4V's. The others are VILA's and LLaVA's (arXiv 2312.07533, section 3.2).

Shape letters: I images, P patches, Q tokens after the projector, E tower channels, D language
channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cogvlm.model.config import ModelConfig


def build_projector(config: ModelConfig) -> nn.Module:
    """Return the module of projector.kind; it maps (I, P, E) to (I, Q, D)."""
    makers = {
        "linear": Linear,
        "mlp2x_gelu": TwoLayerMLP,
        "transformer": Transformer,
        "glu": GLU,
        "conv_glu": GLU,
        "downsample_2x2": Downsample,
        "downsample_3x3": Downsample,
        "resampler": Resampler,
    }
    return makers[config.projector.kind](config)


class GLU(nn.Module):
    """Linear, LayerNorm, GELU, then a gated MLP; names as in the official checkpoints."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.projector.mlp_size
        width_in = config.projector.conv_width or config.vision.width
        self.linear_proj = nn.Linear(width_in, width, bias=False)
        self.norm1 = nn.LayerNorm(width)
        self.dense_h_to_4h = nn.Linear(width, inner, bias=False)
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.dense_4h_to_h = nn.Linear(inner, width, bias=False)

    def forward(self, x_IPE: Tensor) -> Tensor:
        """Return (I, P, D)."""
        x_IPD = F.gelu(self.norm1(self.linear_proj(x_IPE)))
        return self.dense_4h_to_h(F.silu(self.gate_proj(x_IPD)) * self.dense_h_to_4h(x_IPD))


class Linear(nn.Module):
    """One matrix with bias, as in VILA's paper."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear_proj = nn.Linear(config.vision.width, config.hidden_size)

    def forward(self, x_IPE: Tensor) -> Tensor:
        """Return (I, P, D)."""
        return self.linear_proj(x_IPE)


class TwoLayerMLP(nn.Module):
    """Two matrices with GELU between them, as in LLaVA-1.5."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.vision.width, config.hidden_size)
        self.fc2 = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x_IPE: Tensor) -> Tensor:
        """Return (I, P, D)."""
        return self.fc2(F.gelu(self.fc1(x_IPE)))


class Transformer(nn.Module):
    """A matrix and one pre-norm transformer block over the patches of an image (sizes ours)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear_proj = nn.Linear(config.vision.width, config.hidden_size)
        self.block = nn.TransformerEncoderLayer(
            config.hidden_size,
            config.projector.num_heads,
            dim_feedforward=config.projector.mlp_size,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )

    def forward(self, x_IPE: Tensor) -> Tensor:
        """Return (I, P, D)."""
        return self.block(self.linear_proj(x_IPE))


class Downsample(nn.Module):
    """Each square of patches becomes one token: concatenate, norm, two matrices with GELU.

    The grid is padded with zeros at the bottom and right to a multiple of the stride.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.stride, self.grid = config.projector.stride, config.vision.grid_size
        width_in = config.vision.width * self.stride**2
        self.norm = nn.LayerNorm(width_in)
        self.fc1 = nn.Linear(width_in, config.hidden_size)
        self.fc2 = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x_IPE: Tensor) -> Tensor:
        """Return (I, ceil(grid / stride) squared, D)."""
        stride, more = self.stride, -self.grid % self.stride
        x_IggE = F.pad(x_IPE.unflatten(1, (self.grid, self.grid)), (0, 0, 0, more, 0, more))
        cells = x_IggE.unflatten(2, (-1, stride)).unflatten(1, (-1, stride)).transpose(2, 3)
        x_IQE = cells.flatten(3).flatten(1, 2)
        return self.fc2(F.gelu(self.fc1(self.norm(x_IQE))))


class Resampler(nn.Module):
    """Learned queries attend to the patches once, then one matrix (one layer of a Q-Former)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.queries = nn.Parameter(torch.empty(config.projector.num_queries, width))
        self.norm = nn.LayerNorm(config.vision.width)
        self.linear_proj = nn.Linear(config.vision.width, width)
        self.attention = nn.MultiheadAttention(width, config.projector.num_heads, batch_first=True)
        self.norm_out = nn.LayerNorm(width)
        self.dense = nn.Linear(width, width)

    def forward(self, x_IPE: Tensor) -> Tensor:
        """Return (I, num_queries, D)."""
        keys_IPD = self.linear_proj(self.norm(x_IPE))
        queries_IQD = self.queries.expand(len(x_IPE), -1, -1)
        tokens_IQD, _ = self.attention(queries_IQD, keys_IPD, keys_IPD, need_weights=False)
        return self.dense(self.norm_out(tokens_IQD))
