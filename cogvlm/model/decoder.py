"""CogVLM: a decoder whose image tokens have weights of their own (arXiv 2311.03079).

Reads from top to bottom: norm, attention, layer, decoder, model. Parameter names are those of the
official Hugging Face checkpoints. There is no parallelism, I/O or training loop here; `layout`
makes the batches, `vision` the image features, `expert` the two sets of weights.

Shape letters: B rows, L positions, N = B * L, T language tokens, V vision tokens, T + V = N,
I images, S positions of an image, D channels, H query heads, K key-value heads, C channels of a
head, A position axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cogvlm.model.cache import Cache
from cogvlm.model.config import ModelConfig
from cogvlm.model.expert import ExpertMLP, expert_matrix, for_vision, join, split
from cogvlm.model.image_loss import ImageHead
from cogvlm.model.layout import IGNORE, Batch, Route
from cogvlm.model.masks import attention_mask
from cogvlm.model.rope import RotaryEmbedding, inverse_frequencies, rotate, tables
from cogvlm.model.vision import ImageEncoder

Streams = tuple[Tensor, Tensor]  # text_TD and vision_VD


class RMSNorm(nn.Module):
    """Root-mean-square norm, weighted in float32 before it is cast back.

    Plain Llama code casts first; in bf16 that gives other logits than the official CogVLM.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.hidden_size))
        self.eps = config.norm_eps

    def forward(self, x_TD: Tensor) -> Tensor:
        """Return the normed rows, (T, D)."""
        normed_TD = F.rms_norm(x_TD.float(), self.weight.shape, self.weight.float(), self.eps)
        return normed_TD.to(x_TD.dtype)


@dataclass(frozen=True)
class Context:
    """What all layers share in one call: the routing, the rotation and the mask.

    The tables are float32 whatever the weights are: a wrapper that casts float inputs of layers
    (FSDP's `cast_forward_inputs`) must leave them alone.
    """

    route: Route
    cos: Tensor  # (B, L, 1, rotating / 2)
    sin: Tensor
    mask: Tensor | None  # (B, 1, L, keys) bool, True = sees; None: plain causal, or all keys


class Attention(nn.Module):
    """Joint attention over all tokens, with projections per stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.heads = config.num_heads, config.num_kv_heads, config.head_size
        self.interleaved = config.rope.interleaved
        self.dropout = config.dropout
        width = config.num_heads * config.head_size
        sizes_in = config.hidden_size, width + 2 * config.num_kv_heads * config.head_size
        sizes_out = width, config.hidden_size
        self.rotary_emb = RotaryEmbedding(config)
        self.language_expert_query_key_value = nn.Linear(*sizes_in, bias=config.attn.qkv_bias)
        self.language_expert_dense = nn.Linear(*sizes_out, bias=False)
        self.vision_expert_query_key_value = expert_matrix(config, layer, "qkv", *sizes_in)
        self.vision_expert_dense = expert_matrix(config, layer, "dense", *sizes_out)

    def forward(
        self,
        text_TD: Tensor,
        vision_VD: Tensor,
        context: Context,
        cache: Cache | None,
        keep_vision: bool,
    ) -> Streams:
        """Return what attention adds to each stream; no rows for vision if not kept."""
        language = self.language_expert_query_key_value
        vision = for_vision(self.vision_expert_query_key_value, language, vision_VD)
        qkv_NE = join(language(text_TD), vision, context.route)
        heads_NE = self._attend(qkv_NE.view(*context.route.shape, -1), context, cache)
        text_TE, vision_VE = split(heads_NE, context.route)
        if not keep_vision:
            vision_VE = vision_VE[:0]
        language = self.language_expert_dense
        return language(text_TE), for_vision(self.vision_expert_dense, language, vision_VE)

    def _attend(self, qkv_BLE: Tensor, context: Context, cache: Cache | None) -> Tensor:
        queries, keys, channels = self.heads
        qkv_BLHC = qkv_BLE.unflatten(-1, (queries + 2 * keys, channels))
        qk_BLHC, v_BLKC = qkv_BLHC.split([queries + keys, keys], dim=2)
        qk_BLHC = rotate(qk_BLHC, context.cos, context.sin, self.interleaved)
        q_BLHC, k_BLKC = qk_BLHC.split([queries, keys], dim=2)
        q_BHLC, k_BKLC, v_BKLC = (x.transpose(1, 2) for x in (q_BLHC, k_BLKC, v_BLKC))
        is_first = cache is None or not cache.length
        if cache is not None:
            k_BKLC, v_BKLC = cache.extend(self, k_BKLC, v_BKLC)
        out_BHLC = F.scaled_dot_product_attention(
            q_BHLC,
            k_BKLC,
            v_BKLC,
            attn_mask=context.mask,
            is_causal=context.mask is None and is_first,
            dropout_p=self.dropout if self.training else 0.0,
            enable_gqa=queries != keys,
        )
        return out_BHLC.transpose(1, 2).flatten(2).flatten(0, 1)


class Layer(nn.Module):
    """Attention and MLP, each normed before and added to the stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config)
        self.mlp = ExpertMLP(config, layer)
        self.dropout = config.dropout

    def forward(
        self,
        text_TD: Tensor,
        vision_VD: Tensor,
        context: Context,
        cache: Cache | None = None,
        keep_vision: bool = True,
    ) -> Streams:
        """Return both streams after this layer; the vision stream is empty if not kept."""
        norm = self.input_layernorm
        added = self.self_attn(norm(text_TD), norm(vision_VD), context, cache, keep_vision)
        text_TD = text_TD + self._drop(added[0])
        vision_VD = (vision_VD if keep_vision else vision_VD[:0]) + self._drop(added[1])
        norm = self.post_attention_layernorm
        added = self.mlp(norm(text_TD), norm(vision_VD))
        return text_TD + self._drop(added[0]), vision_VD + self._drop(added[1])

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Decoder(nn.Module):
    """Token embedding, image encoder, layers and the final norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(
            config.vocab_size, config.hidden_size, padding_idx=config.pad_id
        )
        self.vision = ImageEncoder(config)
        self.layers = nn.ModuleList(Layer(config, number) for number in range(config.num_layers))
        self.norm = RMSNorm(config)

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the input vectors (N, D), images spliced in, and the tower's features.

        A batch without images sends an empty one through the tower: its weights then get zero
        gradients, not none, and every rank of a sharded model runs the same modules.
        """
        embedded_ND = self.embed_tokens(batch.ids_BL).flatten(0, 1)
        if batch.images_ICHW is None:
            return embedded_ND, None
        images_ISD, features_IPE = self.vision(batch.images_ICHW)
        image_rows = images_ISD.flatten(0, 1).to(embedded_ND.dtype)
        return embedded_ND.index_copy(0, batch.slots_IS.flatten(), image_rows), features_IPE

    def forward(
        self, batch: Batch, cache: Cache | None = None, keep_vision: bool = True
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return both streams after the final norm, and the tower's features.

        Args:
            batch: Tokens, images and their layout.
            cache: Keys and values of earlier calls; extended in place.
            keep_vision: False leaves the last layer's vision outputs out: the vision stream
                comes back empty.
        """
        embedded_ND, features_IPE = self.embed(batch)
        text_TD, vision_VD = split(embedded_ND, batch.route)
        context = self.context(batch, cache)
        for number, layer in enumerate(self.layers, start=1):
            keep = keep_vision or number < len(self.layers)
            text_TD, vision_VD = layer(text_TD, vision_VD, context, cache, keep)
        if cache is not None:
            cache.advance(batch)
        return self.norm(text_TD), self.norm(vision_VD), features_IPE

    def context(self, batch: Batch, cache: Cache | None = None) -> Context:
        """Return what the layers share for a batch."""
        frequencies_R = cast(Layer, self.layers[0]).self_attn.rotary_emb.inv_freq
        if self.config.rope_compute == "fp32":
            frequencies_R = inverse_frequencies(self.config, batch.ids_BL.device)
        cos, sin = tables(batch.positions_ABL, frequencies_R)
        return Context(batch.route, cos, sin, attention_mask(batch, cache))


class CogVLM(nn.Module):
    """The decoder and its head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = None
        if not config.tie_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.image_head = ImageHead(config) if config.loss.image_ssl else None

    def head(self, hidden_TD: Tensor) -> Tensor:
        """Return logits (T, vocab) in float32."""
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        return F.linear(hidden_TD, head.weight).float()

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits of every position, (B, L, vocab) float32."""
        text_TD, vision_VD, _ = self.model(batch)
        logits_NW = self.head(join(text_TD, vision_VD, batch.route))
        return logits_NW.view(*batch.route.shape, -1)

    def next_logits(self, batch: Batch, cache: Cache | None = None) -> Tensor:
        """Return the logits after the last position of every row, (B, vocab) float32."""
        text_TD, _, _ = self.model(batch, cache, keep_vision=not self.config.skip_unused)
        rows, length = batch.route.shape
        ends_B = torch.arange(1, rows + 1, device=text_TD.device) * length - 1
        return self.head(text_TD[torch.searchsorted(batch.route.language_T, ends_B)])

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the summed loss in nats and the number of target tokens.

        Position i predicts token i + 1. Targets follow no image slot but the last, which counts
        as language: the head sees language tokens only, and without experts no image slots.
        """
        assert batch.labels_BL is not None, "a batch to train on has labels"
        needed = bool(self.config.loss.image_ssl) or not self.config.skip_unused
        text_TD, vision_VD, features_IPE = self.model(batch, keep_vision=needed)
        targets_BL = F.pad(batch.labels_BL[:, 1:], (0, 1), value=IGNORE)
        targets_T, spoken_TD = targets_BL.flatten()[batch.route.language_T], text_TD
        if batch.heads_T is not None:
            targets_T, spoken_TD = targets_T[batch.heads_T], text_TD[batch.heads_T]
        logits_TW = self.head(spoken_TD)
        total = F.cross_entropy(logits_TW, targets_T, ignore_index=IGNORE, reduction="sum")
        total = total + vision_VD[:0].sum()  # zero gradients, not none, for what was left out
        count = (targets_T != IGNORE).sum()
        if self.image_head is not None:
            hidden_ND = join(text_TD, vision_VD, batch.route)
            distance = self.image_head(hidden_ND[batch.slots_IS], features_IPE)
            total = total + self.config.loss.image_ssl * count * distance
        return total, count
