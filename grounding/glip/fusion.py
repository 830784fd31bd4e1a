"""Fusion of a head block: image and text attend to each other once, with one table of scores.

The original projects every image position to 2048 channels four times. Here those matrices are
multiplied with the few tokens instead, which the associative law allows: scores are x (W_v^T k),
the text's delta is (P x) W_v, the image's is P (v W_out). The numbers differ by rounding.

Shape letters: B images with their captions, S positions of all levels, C image channels, L tokens,
E text channels, A heads, D channels of a head, M pairs of a head and a token (A * L).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from grounding.glip.config import GlipConfig
from grounding.glip.text import LIMIT


class BiAttention(nn.Module):
    """The projections, and the attention in both directions."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        image, text, width = config.channels, config.text_width, config.fusion_width
        self.heads = config.fusion_heads
        self.v_proj = nn.Linear(image, width)
        self.l_proj = nn.Linear(text, width)
        self.values_v_proj = nn.Linear(image, width)
        self.values_l_proj = nn.Linear(text, width)
        self.out_v_proj = nn.Linear(width, image)
        self.out_l_proj = nn.Linear(width, text)

    def forward(
        self, image_BSC: Tensor, text_BLE: Tensor, mask_BL: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the deltas of image and text."""
        scores_BMS = self._scores(image_BSC, text_BLE)
        text_BLE, values_BMC = self._text_delta(scores_BMS, image_BSC), self._values(text_BLE)
        by_token_BALS = scores_BMS.unflatten(1, (self.heads, -1))
        by_token_BALS = by_token_BALS.masked_fill(~mask_BL[:, None, :, None], -torch.inf)
        weights_BMS = by_token_BALS.softmax(2).flatten(1, 2)
        image_BSC = weights_BMS.transpose(1, 2) @ values_BMC + self.out_v_proj.bias
        return image_BSC, text_BLE

    def _scores(self, image_BSC: Tensor, text_BLE: Tensor) -> Tensor:
        keys_BALD = self.l_proj(text_BLE).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        keys_BALD = keys_BALD * keys_BALD.shape[-1] ** -0.5
        queries_ADC = self.v_proj.weight.unflatten(0, (self.heads, -1))
        bias_AD1 = self.v_proj.bias.view(self.heads, -1, 1)
        keys_BMC, bias_BM1 = (keys_BALD @ queries_ADC).flatten(1, 2), (keys_BALD @ bias_AD1)
        scores_BMS = torch.baddbmm(bias_BM1.flatten(1, 2), keys_BMC, image_BSC.transpose(1, 2))
        return scores_BMS.clamp_(-LIMIT, LIMIT)

    def _text_delta(self, scores_BMS: Tensor, image_BSC: Tensor) -> Tensor:
        # The original clamps again after it has subtracted the maximum: exp(-50000) is 0 as well.
        # Padding of images takes part.
        seen_BMC = scores_BMS.softmax(-1) @ image_BSC
        values_ACD = self.values_v_proj.weight.unflatten(0, (self.heads, -1)).transpose(1, 2)
        bias_A1D = self.values_v_proj.bias.view(self.heads, 1, -1)
        seen_BALD = seen_BMC.unflatten(1, (self.heads, -1)) @ values_ACD + bias_A1D
        return self.out_l_proj(seen_BALD.transpose(1, 2).flatten(2))

    def _values(self, text_BLE: Tensor) -> Tensor:
        values_BALD = self.values_l_proj(text_BLE).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        out_ADC = self.out_v_proj.weight.T.unflatten(0, (self.heads, -1))
        return (values_BALD @ out_ADC).flatten(1, 2)


class BiAttentionBlock(nn.Module):
    """Norms and scaled residuals around the attention."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.layer_norm_v = nn.LayerNorm(config.channels)
        self.layer_norm_l = nn.LayerNorm(config.text_width)
        self.attn = BiAttention(config)
        self.gamma_v = nn.Parameter(torch.full((config.channels,), 1 / config.blocks))
        self.gamma_l = nn.Parameter(torch.full((config.text_width,), 1 / config.blocks))

    def forward(
        self, image_BSC: Tensor, text_BLE: Tensor, mask_BL: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return both, changed. A delta is added to the normed value, not to the input."""
        image_BSC, text_BLE = self.layer_norm_v(image_BSC), self.layer_norm_l(text_BLE)
        delta_BSC, delta_BLE = self.attn(image_BSC, text_BLE, mask_BL)
        return image_BSC + self.gamma_v * delta_BSC, text_BLE + self.gamma_l * delta_BLE


class Fusion(nn.Module):
    """The block on the levels of a pyramid."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.b_attn = BiAttentionBlock(config)

    def forward(
        self, levels: list[Tensor], text_BLE: Tensor, mask_BL: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Return the levels (B, C, H, W) and the text."""
        image_BSC = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        image_BSC, text_BLE = self.b_attn(image_BSC, text_BLE, mask_BL)
        sizes = [level.shape[-2] * level.shape[-1] for level in levels]
        pieces = image_BSC.transpose(1, 2).split(sizes, dim=2)
        return [
            piece.reshape(level.shape) for piece, level in zip(pieces, levels, strict=True)
        ], text_BLE
