"""CogVLM-17B as released (arXiv 2311.03079)."""

from __future__ import annotations

from dataclasses import replace

from cogvlm.model.config import ModelConfig, Projector
from cogvlm.model.variants import published_vision, variants
from cogvlm.model.variants.bases import LLAMA2_7B


def cogvlm_17b_224() -> ModelConfig:
    """CogVLM-17B at 224 px: Vicuna-7B-v1.5, EVA-02-CLIP-E, experts in every layer."""
    return ModelConfig(
        **LLAMA2_7B,
        max_positions=2048,
        vision=published_vision("eva02_e", image_size=224),
        projector=Projector(kind="glu", mlp_size=11_008),
    )


def cogvlm_17b_490() -> ModelConfig:
    """CogVLM-17B at 490 px, the resolution of all released chat and grounding weights."""
    return replace(cogvlm_17b_224(), vision=published_vision("eva02_e", image_size=490))


VARIANTS = variants(cogvlm_17b_224, cogvlm_17b_490)
