"""GLM-4V (arXiv 2408.16500)."""

from __future__ import annotations

from cogvlm.model.config import Attn, Expert, ModelConfig, Projector, Rope
from cogvlm.model.variants import published_vision, variants


def glm4v_9b() -> ModelConfig:
    """GLM-4V-9B: GLM-4-9B, 1120 px, no experts (arXiv 2408.16500)."""
    return ModelConfig(
        vocab_size=151_552,
        hidden_size=4096,
        num_layers=40,
        num_heads=32,
        num_kv_heads=2,
        head_size=128,
        mlp_size=13_696,
        norm_eps=1.5625e-07,
        max_positions=8192,
        bos_id=None,
        eos_id=151_329,
        stop_ids=(151_336, 151_338),
        pad_id=151_329,
        boundary_ids=(151_339, 151_340),
        template="glm4",
        rope=Rope(fraction=0.5, interleaved=True),
        attn=Attn(qkv_bias=True),
        vision=published_vision("eva02_e", image_size=1120),
        projector=Projector(kind="conv_glu", mlp_size=13_696, conv_width=4096, scale=1 / 8),
        expert=Expert(layers="none"),
    )


VARIANTS = variants(glm4v_9b)
