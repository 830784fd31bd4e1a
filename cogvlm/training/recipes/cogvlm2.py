"""CogVLM2 (arXiv 2408.16500)."""

from __future__ import annotations

from cogvlm.training.config import TrainConfig
from cogvlm.training.recipes import COMMON_NOTE, EVERY_GROUP, VIT_TENTH, Recipe, field_names


def cogvlm2_sft() -> Recipe:
    """First alignment of CogVLM2: everything, the tower at a tenth, 1344 px as the model has."""
    return Recipe(
        config=TrainConfig(
            task="dialogue",
            template="chat",
            steps=3000,
            global_batch=2340,
            trains=EVERY_GROUP,
            lr=1e-5,
            lr_scale=VIT_TENTH,
            warmup_steps=50,
            checkpoint_activations="both",
        ),
        published=field_names("steps global_batch trains lr lr_scale"),
        source="CogVLM2 paper, arXiv 2408.16500",
        notes=(
            "Warm-up, weight decay, betas and eps are those of CogVLM.",
            COMMON_NOTE,
        ),
    )
