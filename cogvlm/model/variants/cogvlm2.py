"""CogVLM2 and its video captioner (arXiv 2408.16500)."""

from __future__ import annotations

from dataclasses import replace

from cogvlm.model.config import Expert, ModelConfig, Projector
from cogvlm.model.variants import published_vision, variants
from cogvlm.model.variants.bases import LLAMA3_8B


def cogvlm2_19b() -> ModelConfig:
    """CogVLM2-19B: Llama-3-8B-Instruct, 1344 px, four patches to a token (arXiv 2408.16500)."""
    return ModelConfig(
        **LLAMA3_8B,
        max_positions=8192,
        template="chat",
        vision=published_vision("eva02_e", image_size=1344),
        projector=Projector(kind="conv_glu", mlp_size=14_336, conv_width=1792),
        expert=Expert(qkv_bias=True),
    )


def cogvlm2_caption() -> ModelConfig:
    """The video captioner of CogVLM2: 224 px frames, no experts, the same key names."""
    return replace(
        cogvlm2_19b(),
        max_positions=2048,
        vision=published_vision("eva02_e", image_size=224),
        expert=Expert(layers="none"),
    )


VARIANTS = variants(cogvlm2_19b, cogvlm2_caption)
