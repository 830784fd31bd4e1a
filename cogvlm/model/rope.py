"""Rotary position embedding: frequencies, tables for given positions, rotation.

Shape letters: B rows, L positions, H heads, D channels of a head, R = rotating channels / 2,
A position axes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cogvlm.model.config import ModelConfig, RopeScaling


def inverse_frequencies(config: ModelConfig, device: torch.device | str = "cpu") -> Tensor:
    """Return the angle per position of each channel pair, (R,) float32."""
    rotating = int(config.head_size * config.rope.fraction)
    exponent_R = torch.arange(0, rotating, 2, dtype=torch.float32, device=device) / rotating
    frequencies_R = 1.0 / config.rope.base**exponent_R
    scaling = config.rope.scaling
    return frequencies_R if scaling is None else _stretch(frequencies_R, scaling)


def _stretch(frequencies_R: Tensor, scaling: RopeScaling) -> Tensor:
    """Return frequencies for a longer context, by the rules of Hugging Face's Llama."""
    slow_R = frequencies_R / scaling.factor
    if scaling.kind == "linear":
        return slow_R
    turns_R = scaling.original_max_positions * frequencies_R / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    keep_R = ((turns_R - low) / (high - low)).clamp(0, 1)
    return keep_R * frequencies_R + (1 - keep_R) * slow_R


class RotaryEmbedding(nn.Module):
    """Holds the frequencies under the official name, so that checkpoints match key by key.

    Only `rope_compute: checkpoint` reads the stored values, in the precision they are stored in:
    official bf16 weights then get official bf16 angles, where positions 256 and 257 are equal.
    """

    inv_freq: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.register_buffer("inv_freq", torch.empty(inverse_frequencies(config).shape))

    def reset(self, config: ModelConfig) -> None:
        """Fill in the frequencies of the config."""
        self.inv_freq.copy_(inverse_frequencies(config))


def tables(positions_ABL: Tensor, frequencies_R: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosines and sines (B, L, 1, R) in the precision of the frequencies.

    With two axes, even pairs turn by the row and odd pairs by the column, so that both have
    slow and fast pairs.
    """
    axes = positions_ABL.shape[0]
    angles_ABLR = positions_ABL.to(frequencies_R.dtype)[..., None] * frequencies_R
    angles_BLR = angles_ABLR[0]
    if axes == 2:
        is_row_R = torch.arange(len(frequencies_R), device=frequencies_R.device) % 2 == 0
        angles_BLR = torch.where(is_row_R, angles_ABLR[0], angles_ABLR[1])
    return angles_BLR.cos()[:, :, None], angles_BLR.sin()[:, :, None]


def rotate(x_BLHD: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Turn the first 2 R channels of every head, computed in the tables' precision."""
    rotating = 2 * cos.shape[-1]
    turning, rest = x_BLHD[..., :rotating].to(cos.dtype), x_BLHD[..., rotating:]
    if interleaved:
        u, w = turning[..., 0::2], turning[..., 1::2]
    else:
        u, w = turning.chunk(2, dim=-1)
    pair = (u * cos - w * sin, w * cos + u * sin)
    turned = torch.stack(pair, dim=-1).flatten(-2) if interleaved else torch.cat(pair, dim=-1)
    turned = turned.to(x_BLHD.dtype)
    return turned if not rest.shape[-1] else torch.cat([turned, rest], dim=-1)
