"""The text tower, which is BERT, and the text layer of the head, which is one of its layers.

Both are in one text because the checkpoints name their weights alike; the head's layer clamps what
passes through it. transformers' BertModel gives the tower's numbers too, but its buffers are not in
checkpoints, so a model could not be made without memory first and filled afterwards.

Shape letters: B captions, L tokens, E channels, A attention heads, D channels of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grounding.glip.config import GlipConfig

LIMIT = 50000.0
"""What the original clamps to, so that float16 would not overflow."""
_EPS = 1e-12


class SelfAttention(nn.Module):
    """Attention of all tokens to those that are no padding."""

    def __init__(self, config: GlipConfig, clamped: bool) -> None:
        super().__init__()
        self.heads, self.clamped = config.text_heads, clamped
        self.query = nn.Linear(config.text_width, config.text_width)
        self.key = nn.Linear(config.text_width, config.text_width)
        self.value = nn.Linear(config.text_width, config.text_width)

    def forward(self, x_BLE: Tensor, mask_BL: Tensor) -> Tensor:
        """Return (B, L, E)."""
        q_BALD, k_BALD, v_BALD = (
            layer(x_BLE).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores_BALL = q_BALD @ k_BALD.transpose(-1, -2) / q_BALD.shape[-1] ** 0.5
        if self.clamped:
            scores_BALL = scores_BALL.clamp(-LIMIT, LIMIT)
        lowest = torch.finfo(scores_BALL.dtype).min
        scores_BALL = scores_BALL.masked_fill(~mask_BL[:, None, None], lowest)
        return (scores_BALL.softmax(-1) @ v_BALD).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Attention with its output and residual."""

    def __init__(self, config: GlipConfig, clamped: bool) -> None:
        super().__init__()
        self.self = SelfAttention(config, clamped)
        self.output = Output(config.text_width, config.text_width, clamped=False)

    def forward(self, x_BLE: Tensor, mask_BL: Tensor) -> Tensor:
        """Return (B, L, E)."""
        return self.output(self.self(x_BLE, mask_BL), x_BLE)


class Intermediate(nn.Module):
    """The wide half of an MLP."""

    def __init__(self, config: GlipConfig, clamped: bool) -> None:
        super().__init__()
        self.clamped = clamped
        self.dense = nn.Linear(config.text_width, config.text_mlp)

    def forward(self, x_BLE: Tensor) -> Tensor:
        """Return (B, L, the MLP's width)."""
        wide = self.dense(x_BLE)
        if not self.clamped:
            return F.gelu(wide)
        return F.gelu(wide.clamp(-LIMIT, LIMIT)).clamp(-LIMIT, LIMIT)


class Output(nn.Module):
    """A matrix, the residual, and the norm over their sum."""

    def __init__(self, width_in: int, width: int, clamped: bool) -> None:
        super().__init__()
        self.clamped = clamped
        self.dense = nn.Linear(width_in, width)
        self.LayerNorm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor, residual_BLE: Tensor) -> Tensor:
        """Return (B, L, E)."""
        y_BLE = self.dense(x)
        if not self.clamped:
            return self.LayerNorm(y_BLE + residual_BLE)
        return self.LayerNorm(y_BLE.clamp(-LIMIT, LIMIT) + residual_BLE).clamp(-LIMIT, LIMIT)


class TextLayer(nn.Module):
    """A post-norm layer. Clamped in the head, plain in the tower."""

    def __init__(self, config: GlipConfig, clamped: bool) -> None:
        super().__init__()
        self.attention = Attention(config, clamped)
        self.intermediate = Intermediate(config, clamped)
        self.output = Output(config.text_mlp, config.text_width, clamped)

    def forward(self, x_BLE: Tensor, mask_BL: Tensor) -> Tensor:
        """Return (B, L, E)."""
        x_BLE = self.attention(x_BLE, mask_BL)
        return self.output(self.intermediate(x_BLE), x_BLE)


class Embeddings(nn.Module):
    """Word, position and sentence vectors, added and normed."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.text_vocab, config.text_width)
        self.position_embeddings = nn.Embedding(config.text_positions, config.text_width)
        self.token_type_embeddings = nn.Embedding(2, config.text_width)
        self.LayerNorm = nn.LayerNorm(config.text_width, eps=_EPS)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Return (B, L, E)."""
        # The order of the additions is that of the original: words, sentence, position.
        words_BLE = self.word_embeddings(ids_BL) + self.token_type_embeddings.weight[0]
        return self.LayerNorm(words_BLE + self.position_embeddings.weight[: ids_BL.shape[1]])


class Encoder(nn.Module):
    """The layers of the tower."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            TextLayer(config, clamped=False) for _ in range(config.text_layers)
        )

    def forward(self, x_BLE: Tensor, mask_BL: Tensor) -> Tensor:
        """Return (B, L, E)."""
        for layer in self.layer:
            x_BLE = layer(x_BLE, mask_BL)
        return x_BLE


class Bert(nn.Module):
    """BERT without its pooler."""

    def __init__(self, config: GlipConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Return the last layer's output (B, L, E); `mask_BL` is true on real tokens."""
        return self.encoder(self.embeddings(ids_BL), mask_BL)
