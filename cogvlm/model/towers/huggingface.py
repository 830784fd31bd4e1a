"""CLIP-L and SigLIP as transformers has them, cut off behind the feature layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cogvlm.model.towers import Tower

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cogvlm.model.towers import Vision


def _clip(vision: Vision) -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    return _cut(CLIPVisionModel(CLIPVisionConfig(**_sizes(vision))))


def _siglip(vision: Vision) -> nn.Module:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    return _cut(SiglipVisionModel(SiglipVisionConfig(vision_use_head=False, **_sizes(vision))))


def _sizes(vision: Vision) -> dict[str, Any]:
    return {
        "hidden_size": vision.width,
        "intermediate_size": vision.mlp_size,
        "num_hidden_layers": vision.num_layers + 1 + vision.feature_layer,
        "num_attention_heads": vision.num_heads,
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "layer_norm_eps": vision.norm_eps,
        "attn_implementation": "sdpa",
    }


def _cut(tower: Any) -> nn.Module:
    """Drop the norm behind the last block: every weight that is held is also used and trained."""
    from torch import nn

    tower.post_layernorm = nn.Identity()
    return tower


def _patches(tower: Any, images_ICHW: Tensor) -> Tensor:
    return tower(pixel_values=images_ICHW).last_hidden_state


def _patches_after_cls(tower: Any, images_ICHW: Tensor) -> Tensor:
    return _patches(tower, images_ICHW)[:, 1:]


def _blocks(tower: Any) -> Sequence[nn.Module]:
    return [*tower.encoder.layers]


_EMBEDDINGS = r"tower\.(\w+\.)?embeddings\."

TOWERS = (
    Tower(
        name="clip_l_336",
        help="OpenAI CLIP-L/14 at 336 px, features before the last block as in LLaVA and VILA.",
        build=_clip,
        features=_patches_after_cls,
        blocks=_blocks,
        sizes={
            "image_size": 336,
            "width": 1024,
            "num_layers": 24,
            "num_heads": 16,
            "mlp_size": 4096,
            "norm_eps": 1e-5,
            "feature_layer": -2,
        },
        has_cls=True,
        patch_and_pos=_EMBEDDINGS,
    ),
    Tower(
        name="siglip_so400m",
        help="SigLIP so400m/14 at 384 px (27 x 27 patches), features before the last block.",
        build=_siglip,
        features=_patches,
        blocks=_blocks,
        sizes={
            "image_size": 384,
            "width": 1152,
            "num_layers": 27,
            "num_heads": 16,
            "mlp_size": 4304,
            "feature_layer": -2,
        },
        whole_patches=False,  # 384 px leave 6 px at the right and bottom that no patch covers
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        patch_and_pos=_EMBEDDINGS,
    ),
)
