"""Image encoders that libraries ship: EVA-02-CLIP-L (timm), CLIP-L and SigLIP (transformers).

Built from the sizes in the config, without downloads. Blocks behind the feature layer, final
norms and heads are cut off, so that every weight that is held is also used and trained.

Shape letters: I images, P patches, E tower channels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from cogvlm.model.config import Vision


def build(vision: Vision) -> Any:
    """Return the tower that `features` runs."""
    if vision.tower == "eva02_l":
        return _eva02_l(vision)
    return _transformers_tower(vision)


def features(tower: Any, images_ICHW: Tensor) -> Tensor:
    """Return patch features without CLS, (I, P, E).

    The libraries cannot run zero images, so a blank one goes through where there is none: every
    rank of a sharded model then runs the same modules, and the weights get zero gradients.
    """
    if not len(images_ICHW):
        return features(tower, images_ICHW.new_zeros(1, *images_ICHW.shape[1:]))[:0]
    images_ICHW = images_ICHW.to(next(tower.parameters()).dtype)
    if hasattr(tower, "forward_features"):  # timm
        return tower.forward_features(images_ICHW)[:, 1:]
    tokens_IPE = tower(pixel_values=images_ICHW).last_hidden_state
    has_cls = hasattr(tower.embeddings, "class_embedding")
    return tokens_IPE[:, 1:] if has_cls else tokens_IPE


def restore_buffers(tower: nn.Module, vision: Vision) -> None:
    """Fill in the tables that no checkpoint holds, after a build on the meta device.

    They do not depend on the depth, so a tower with one block has them all.
    """
    shallow = replace(vision, num_layers=1, feature_layer=-1)
    with torch.device("cpu"):
        twin = build(shallow)
    fresh = dict(twin.named_buffers())
    for name, buffer in tower.named_buffers():
        if name in fresh:
            buffer.copy_(fresh[name])
        elif name.endswith("attn.k_bias"):  # timm's EVA: keys have no bias, but a zero buffer
            buffer.zero_()
        else:
            raise AssertionError(f"no value for the buffer {name} of {vision.tower}")


def _eva02_l(vision: Vision) -> Any:
    import timm

    tower: Any = timm.create_model(
        "eva02_large_patch14_clip_224",
        pretrained=False,
        num_classes=0,
        img_size=vision.image_size,
        patch_size=vision.patch_size,
        embed_dim=vision.width,
        depth=vision.num_layers,
        num_heads=vision.num_heads,
        mlp_ratio=(vision.mlp_size + 0.5) / vision.width,  # timm rounds down
    )
    last = vision.num_layers + vision.feature_layer
    tower.prune_intermediate_layers([last], prune_norm=True, prune_head=True)
    return tower


def _transformers_tower(vision: Vision) -> Any:
    from transformers import (
        CLIPVisionConfig,
        CLIPVisionModel,
        SiglipVisionConfig,
        SiglipVisionModel,
    )

    sizes: dict[str, Any] = {
        "hidden_size": vision.width,
        "intermediate_size": vision.mlp_size,
        "num_hidden_layers": vision.num_layers + 1 + vision.feature_layer,
        "num_attention_heads": vision.num_heads,
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "layer_norm_eps": vision.norm_eps,
        "attn_implementation": "sdpa",
    }
    tower: Any
    if vision.tower == "clip_l_336":
        tower = CLIPVisionModel(CLIPVisionConfig(**sizes))
    else:
        tower = SiglipVisionModel(SiglipVisionConfig(vision_use_head=False, **sizes))
    tower.post_layernorm = nn.Identity()
    return tower
