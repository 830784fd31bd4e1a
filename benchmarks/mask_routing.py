"""Baseline of the model benchmarks: a layer with boolean-mask routing, like public CogVLM code.

Before each pair of matrices, the rows of one kind are gathered by a mask over the whole batch, and
the results are scattered back by it. A mask must be converted to indices every time it is used: on
a GPU the host waits for that, and a compiled graph breaks there. Weights, norms, rotation and
attention are the layer's own, so that only the routing differs. The masks are made once per batch,
which is faster than the public code.

Shape letters as in `cogvlm.model.decoder`; M = rows that a mask selects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cogvlm.model.decoder import Attention, CogVLM, Context, Layer
from cogvlm.model.layout import IGNORE, Batch, Route


@dataclass(frozen=True)
class Masks:
    """The positions that use each kind of weights."""

    language_BL: Tensor  # bool
    vision_BL: Tensor  # bool


def masks(route: Route) -> Masks:
    """Return a batch's routing as masks."""
    vision_N = torch.zeros(route.shape[0] * route.shape[1], dtype=torch.bool)
    vision_N = vision_N.to(route.vision_V.device).index_fill(0, route.vision_V, True)
    vision_BL = vision_N.view(route.shape)
    return Masks(language_BL=~vision_BL, vision_BL=vision_BL)


def layer_forward(layer: Layer, hidden_BLD: Tensor, where: Masks, context: Context) -> Tensor:
    """Return the output of `layer` for a batch in sequence order, (B, L, D)."""
    normed_BLD = layer.input_layernorm(hidden_BLD)
    hidden_BLD = hidden_BLD + _attention(layer.self_attn, normed_BLD, where, context)
    normed_BLD = layer.post_attention_layernorm(hidden_BLD)
    mlp = layer.mlp
    return hidden_BLD + _routed(mlp.language_mlp, mlp.vision_mlp, normed_BLD, where)


def loss(
    model: CogVLM,
    batch: Batch,
    where: Masks,
    forward: Callable[[Layer, Tensor, Masks, Context], Tensor] = layer_forward,
) -> Tensor:
    """Return the summed loss of a batch, as `CogVLM.loss` does."""
    decoder = model.model
    hidden_ND, _ = decoder.embed(batch)
    hidden_BLD, context = hidden_ND.view(*batch.route.shape, -1), decoder.context(batch)
    for layer in decoder.layers:
        hidden_BLD = forward(layer, hidden_BLD, where, context)
    targets_BL = F.pad(batch.labels_BL[:, 1:], (0, 1), value=IGNORE)
    logits_ME = model.head(decoder.norm(hidden_BLD[where.language_BL]))
    targets_M = targets_BL[where.language_BL]
    return F.cross_entropy(logits_ME, targets_M, ignore_index=IGNORE, reduction="sum")


def _routed(
    language: Callable[[Tensor], Tensor],
    vision: Callable[[Tensor], Tensor],
    x_BLD: Tensor,
    where: Masks,
) -> Tensor:
    vision_ME = vision(x_BLD[where.vision_BL])
    out_BLE = vision_ME.new_empty(*x_BLD.shape[:2], vision_ME.shape[1])
    out_BLE[where.vision_BL] = vision_ME
    out_BLE[where.language_BL] = language(x_BLD[where.language_BL])
    return out_BLE


def _attention(attention: Attention, x_BLD: Tensor, where: Masks, context: Context) -> Tensor:
    heads, kv_heads, channels = attention.heads
    qkv_BLE = _routed(
        attention.language_expert_query_key_value,
        attention.vision_expert_query_key_value,
        x_BLD,
        where,
    )
    qkv_BLHC = qkv_BLE.unflatten(-1, (-1, channels))
    q_BLHC, k_BLKC, v_BLKC = qkv_BLHC.split([heads, kv_heads, kv_heads], dim=2)
    out_BHLC = F.scaled_dot_product_attention(
        _rotate(q_BLHC, context).transpose(1, 2),
        _rotate(k_BLKC, context).transpose(1, 2),
        v_BLKC.transpose(1, 2),
        is_causal=True,
        enable_gqa=heads != kv_heads,
    )
    return _routed(
        attention.language_expert_dense,
        attention.vision_expert_dense,
        out_BHLC.transpose(1, 2).flatten(2),
        where,
    )


def _rotate(x_BLHC: Tensor, context: Context) -> Tensor:
    u, w = x_BLHC.chunk(2, dim=-1)
    cos, sin = context.cos, context.sin
    return torch.cat([u * cos - w * sin, w * cos + u * sin], dim=-1).to(x_BLHC.dtype)
