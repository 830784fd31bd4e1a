"""The named training runs, and what a run changes of the published values.

A recipe says which of its values are published. `resolve` compares them with what a run really
uses, so that nobody takes a changed run for the paper's. Importing this module is free.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from cogvlm.training.config import TrainConfig
from cogvlm.training.recipes import Recipe, groups
from cogvlm.training.recipes.cogvlm import (
    ablation,
    grounding,
    multitask,
    sft_v1,
    sft_v2,
    stage1,
    stage2,
)
from cogvlm.training.recipes.cogvlm2 import cogvlm2_sft
from cogvlm.training.recipes.debugging import debug
from cogvlm.training.recipes.fine_tuning import finetune_grounding, lora, specialist
from cogvlm.training.recipes.vila import vila_stage0, vila_stage1, vila_stage2
from shards.suggest import suggest

RECIPES: dict[str, Callable[[], Recipe]] = {
    make.__name__: make
    for make in (
        stage1,
        stage2,
        ablation,
        grounding,
        sft_v1,
        sft_v2,
        multitask,
        cogvlm2_sft,
        finetune_grounding,
        specialist,
        lora,
        vila_stage0,
        vila_stage1,
        vila_stage2,
        debug,
    )
}


def recipe(name: str) -> Recipe:
    """Return a named recipe.

    Raises:
        ValueError: The name is unknown; lists the known ones.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown training preset {name!r}; {suggest(name, RECIPES)}")
    return RECIPES[name]()


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A row of the paper's ablation table, as changes to the `ablation` recipe."""

    override: tuple[str, ...] = ()
    """Model settings as SETTING=VALUE, the value as JSON or a bare word."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Fields of the training config."""


ABLATIONS: dict[str, Ablation] = {
    "default": Ablation(),
    "adapter_only": Ablation(
        override=("expert.layers=none",), changes={"trains": groups("adapter", "boi_eoi")}
    ),
    "llm_and_adapter": Ablation(
        override=("expert.layers=none",),
        changes={"trains": groups("adapter", "boi_eoi", "llm", "embeddings", "head")},
    ),
    "expert_every_4th_layer": Ablation(override=("expert.layers=4",)),  # which of four is ours
    "expert_ffn_only": Ablation(override=('expert.parts=["ffn"]',)),
    "expert_from_random": Ablation(override=("expert.init=random",)),
    "full_image_mask": Ablation(override=("attn.image_mask=full",)),
    "image_ssl_loss": Ablation(override=("loss.image_ssl=1.0",)),  # the weight is ours
    "eva2_l_tower": Ablation(
        override=(
            "vision.tower=eva02_l",
            "vision.width=1024",
            "vision.num_layers=24",
            "vision.num_heads=16",
            "vision.mlp_size=2730",
            "vision.feature_layer=-2",
        )
    ),
    "no_ema": Ablation(changes={"ema": 0.0}),
}
"""Rows of table 4 of paper v2; `default` is the model and the recipe as they are."""


def resolve(recipe: Recipe, config: TrainConfig) -> tuple[TrainConfig, list[str]]:
    """Return what a run really uses, and in which published values it leaves its source.

    A smaller global batch has noisier gradients, so the recipe's learning rate goes down with the
    square root of the batch. A learning rate of the user's own stays.

    Args:
        recipe: What was asked for.
        config: The recipe's config after the user's flags.
    """
    meant, scaled = recipe.config, ""
    if config.global_batch < meant.global_batch and config.lr == meant.lr:
        scaled = f"x sqrt({config.global_batch}/{meant.global_batch}) for the smaller batch"
        lr = meant.lr * math.sqrt(config.global_batch / meant.global_batch)
        config = replace(config, lr=lr)
    if not recipe.published:
        why = f"; lr is {_shown(config.lr)}, not {_shown(meant.lr)}: {scaled}" if scaled else ""
        return config, [f"ours: not from a paper{why}"]
    # --epochs takes the place of --steps, so it changes what is published about steps.
    names = recipe.published | ({"epochs"} if "steps" in recipe.published else set())
    lines = []
    for setting in fields(config):
        name = setting.name
        ours, theirs = getattr(config, name), getattr(meant, name)
        if name in names and not _same(ours, theirs):
            why = f": {scaled}" if name == "lr" and scaled else ""
            what = f"{name} is {_shown(ours)}, not {_shown(theirs)}"
            lines.append(f"deviates from the paper: {what}{why}")
    return config, lines


def _same(ours: Any, theirs: Any) -> bool:
    """Groups mean the same in every order."""
    return bool(sorted(ours) == sorted(theirs) if _are_names(ours) else ours == theirs)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(value) if _are_names(value) else str(value)


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], str)
