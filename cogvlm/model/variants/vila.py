"""VILA (arXiv 2312.07533)."""

from __future__ import annotations

from cogvlm.model.config import Expert, ModelConfig, Position, Projector
from cogvlm.model.variants import published_vision, variants
from cogvlm.model.variants.bases import LLAMA2_7B


def vila_7b() -> ModelConfig:
    """VILA-7B of the paper: Llama-2-7B, CLIP-L at 336 px, a linear projector, no experts."""
    return ModelConfig(
        **LLAMA2_7B,
        max_positions=4096,
        boundaries=False,
        vision=published_vision("clip_l_336"),
        projector=Projector(kind="linear"),
        expert=Expert(layers="none"),
        position=Position(image="sequential"),
    )


VARIANTS = variants(vila_7b)
