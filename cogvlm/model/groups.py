"""Parameter groups by name, and which of them each training stage trains.

What is frozen, learning rates and the memory plan all speak of these groups, so every parameter
belongs to exactly one. Importing this module is free; `counts` alone needs torch.
"""

from __future__ import annotations

import math
import re
from functools import cache

from cogvlm.model.config import ModelConfig
from cogvlm.model.registry import TOWERS
from shards.suggest import suggest

_PATCH_AND_POS = "|".join(tower.patch_and_pos for tower in TOWERS.values())

# The first pattern that matches decides; the order is what keeps them short.
_PATTERNS = {
    "lora": r".*\.lora_(down|up)$",  # differences to frozen matrices, see `lora`
    "patch_and_pos": rf"model\.vision\.({_PATCH_AND_POS})",
    "vit": r"model\.vision\.(transformer|tower)\.",
    "adapter": r"model\.vision\.(conv|linear_proj)\.",
    "boi_eoi": r"model\.vision\.(boi|eoi)$",
    "expert": r"model\.layers\.\d+\.(self_attn\.vision_expert_|mlp\.vision_mlp\.)",
    "llm": r"model\.layers\.\d+\.(self_attn\.language_expert_|mlp\.language_mlp\.|\w+_layernorm\.)"
    r"|model\.norm\.",
    "embeddings": r"model\.embed_tokens\.",
    "head": r"lm_head\.",
    "image_head": r"image_head\.",
}

GROUPS = tuple(_PATTERNS)

# The head of the image loss is the loss's own: it trains wherever that ablation is switched on.
_PRETRAIN = frozenset({"expert", "adapter", "boi_eoi", "image_head"})

STAGES: dict[str, frozenset[str]] = {
    "stage1": _PRETRAIN,  # paper, appendix A.1: image-text pairs
    "stage2": _PRETRAIN,  # the same with grounding data
    "sft": frozenset(GROUPS),  # paper v2: the ViT too, at a tenth of the learning rate
    "projector": frozenset({"adapter", "boi_eoi"}),  # VILA (arXiv 2312.07533), stage 0
    "vila_pretrain": frozenset({"adapter", "boi_eoi", "llm", "embeddings", "head"}),  # its stage 1
}


def group_of(name: str) -> str:
    """Return the group of a parameter by its full name in the model.

    Raises:
        ValueError: No group has such a name.
    """
    for group, pattern in _PATTERNS.items():
        if re.match(pattern, name):
            return group
    raise ValueError(
        f"no parameter group has {name!r}; names start with model., lm_head. or image_head. "
        "(strip what a wrapper puts before them)"
    )


def stage(name: str) -> frozenset[str]:
    """Return the groups that a stage trains.

    Raises:
        ValueError: The stage is unknown; says the nearest or all.
    """
    if name not in STAGES:
        raise ValueError(f"unknown stage {name!r}; {suggest(name, STAGES)}")
    return STAGES[name]


def counts(config: ModelConfig) -> dict[str, int]:
    """Return the parameters of every group, 0 for groups that the model lacks."""
    totals = dict.fromkeys(GROUPS, 0)
    for name, shape in shapes(config).items():
        totals[group_of(name)] += math.prod(shape)
    return totals


@cache
def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by its name, for all callers the same dict."""
    from cogvlm.model.init import skeleton

    return {name: tuple(each.shape) for name, each in skeleton(config).named_parameters()}
