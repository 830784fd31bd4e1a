"""The three stages of VILA (arXiv 2312.07533)."""

from __future__ import annotations

import math
from typing import Any

from cogvlm.model.groups import stage
from cogvlm.training.config import TrainConfig
from cogvlm.training.recipes import EVERY_GROUP, Recipe, field_names, groups

_VILA_PAIRS = 595_000  # LLaVA-CC3M
_VILA_WEB = 25_000_000 + 25_000_000 // 4  # COYO pairs; MMC4 documents of four images each
_VILA_SFT = 665_000 + 1_000_000  # LLaVA-1.5's instructions; texts of FLAN
_VILA_PUBLISHED = field_names("trains lr global_batch schedule weight_decay")
_VILA_NOTES = (
    "Steps are one pass over the published number of samples, the warm-up 0.03 of them.",
    "Betas, eps, clip and the cosine to 0 are defaults of the scripts' trainer.",
)


def vila_stage0() -> Recipe:
    """VILA's projector alone, on caption pairs."""
    return Recipe(
        config=_vila(
            task="caption",
            trains=groups(*stage("projector")),
            lr=1e-3,
            global_batch=2048,
            samples=_VILA_PAIRS,
            checkpoint_activations="decoder",
        ),
        published=_VILA_PUBLISHED,
        source="NVlabs/VILA, scripts/v1_5/release",
        notes=_VILA_NOTES,
    )


def vila_stage1() -> Recipe:
    """VILA's pretraining: projector and language model, on interleaved documents and pairs."""
    return Recipe(
        config=_vila(
            task="document",
            trains=groups(*stage("vila_pretrain")),
            lr=5e-5,
            global_batch=1024,
            samples=_VILA_WEB,
            checkpoint_activations="decoder",
        ),
        published=_VILA_PUBLISHED,
        source="NVlabs/VILA, scripts/v1_5/release",
        notes=(
            "1:1 by images, so 1:4 by samples: --data document=MMC4:1,caption=COYO:4.",
            *_VILA_NOTES,
        ),
    )


def vila_stage2() -> Recipe:
    """VILA's instruction tuning: everything, with texts mixed in."""
    return Recipe(
        config=_vila(
            task="dialogue",
            trains=EVERY_GROUP,
            lr=1e-4,
            global_batch=1024,
            samples=_VILA_SFT,
            template="chat",
            checkpoint_activations="both",
        ),
        published=_VILA_PUBLISHED - {"global_batch"},
        source="NVlabs/VILA, scripts/v1_5/release",
        notes=(
            "The scripts have 256 samples a node and no number of nodes; ours is stage 1's batch.",
            "The learning rate is that for 3B to 13B; the paper's own script has 2e-5.",
            "Template chat is ours, as is the size of the data: 665,000 dialogues, 1 M texts.",
            *_VILA_NOTES,
        ),
    )


def _vila(*, samples: int, global_batch: int, **settings: Any) -> TrainConfig:
    steps = math.ceil(samples / global_batch)
    return TrainConfig(
        steps=steps,
        global_batch=global_batch,
        warmup_steps=round(0.03 * steps),
        schedule="cosine",
        lr_floor=0.0,
        weight_decay=0.0,
        betas=(0.9, 0.999),
        **settings,
    )
