"""EVA-02-CLIP-E, the tower of all CogVLM models: our own text of it is in `cogvlm.model.eva`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cogvlm.model.tensor_source import TensorSource
from cogvlm.model.towers import Tower

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cogvlm.model.towers import Vision


def _build(vision: Vision) -> nn.Module:
    from torch import nn

    from cogvlm.model.eva import PatchEmbedding, VisionTransformer

    return nn.ModuleDict(
        {"patch_embedding": PatchEmbedding(vision), "transformer": VisionTransformer(vision)}
    )


def _features(tower: Any, images_ICHW: Tensor) -> Tensor:
    return tower.transformer(tower.patch_embedding(images_ICHW))[:, 1:]


def _blocks(tower: Any) -> Sequence[nn.Module]:
    return [*tower.transformer.layers]


# From the official names to those of open_clip and timm.
_NAMES = (
    (r"^patch_embedding\.proj", "patch_embed.proj"),
    (r"^patch_embedding\.cls_embedding", "cls_token"),
    (r"^patch_embedding\.position_embedding\.weight", "pos_embed"),
    (r"^transformer\.layers\.", "blocks."),
    (r"\.attention\.query_key_value", ".attn.qkv"),
    (r"\.attention\.dense", ".attn.proj"),
    (r"\.input_layernorm", ".norm1"),
    (r"\.post_attention_layernorm", ".norm2"),
)


def _tensor(name: str, vision: Vision) -> TensorSource | None:
    match = re.fullmatch(r"model\.vision\.((patch_embedding|transformer)\..*)", name)
    if not match:
        return None
    source = match[1]
    for pattern, replacement in _NAMES:
        source = re.sub(pattern, replacement, source)
    if source == "cls_token":
        return TensorSource((source,), lambda table_1PE: table_1PE[0])
    if source == "pos_embed":
        return TensorSource((source,), lambda table_1PE: _fitted(table_1PE, vision))
    if source.endswith("attn.qkv.bias"):
        block = source.removesuffix("qkv.bias")
        return TensorSource((f"{block}q_bias", f"{block}v_bias"), _bias)
    return TensorSource((source,))


def _fitted(table_1PE: Tensor, vision: Vision) -> Tensor:
    from cogvlm.model.eva import fitted_positions

    return fitted_positions(table_1PE[0], vision.grid_size)


def _bias(q_bias: Tensor, v_bias: Tensor) -> Tensor:
    """EVA's keys have no bias."""
    import torch

    return torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])


TOWERS = (
    Tower(
        name="eva02_e",
        help="EVA-02-CLIP-E/14 without the last of its 64 blocks (paper, section 2.1).",
        build=_build,
        features=_features,
        blocks=_blocks,
        sizes={"width": 1792, "num_layers": 63, "num_heads": 16, "mlp_size": 15_360},
        has_cls=True,
        resizable=True,
        patch_and_pos=r"patch_embedding\.",
        tensor=_tensor,
        inline=True,
    ),
)
