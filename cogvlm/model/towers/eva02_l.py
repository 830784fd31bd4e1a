"""EVA-02-CLIP-L as timm has it, cut off behind the feature layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cogvlm.model.towers import Tower

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cogvlm.model.towers import Vision


def _build(vision: Vision) -> nn.Module:
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


def _features(tower: Any, images_ICHW: Tensor) -> Tensor:
    return tower.forward_features(images_ICHW)[:, 1:]


def _blocks(tower: Any) -> Sequence[nn.Module]:
    return [*tower.blocks]


TOWERS = (
    Tower(
        name="eva02_l",
        help="EVA-02-CLIP-L/14, 300 M parameters, without its last block as in CogVLM's E (ours).",
        build=_build,
        features=_features,
        blocks=_blocks,
        sizes={
            "width": 1024,
            "num_layers": 24,
            "num_heads": 16,
            "mlp_size": 2730,
            "feature_layer": -2,
        },
        has_cls=True,
        patch_and_pos=r"tower\.(patch_embed\.|cls_token$|pos_embed$)",
    ),
)
