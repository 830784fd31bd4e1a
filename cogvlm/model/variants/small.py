"""Small models of ours: one to train on little hardware, one for tests."""

from __future__ import annotations

from cogvlm.model.config import ModelConfig, Projector
from cogvlm.model.towers import Vision
from cogvlm.model.variants import published_vision, variants


def cogvlm_1b() -> ModelConfig:
    """A small CogVLM (ours): TinyLlama-1.1B, EVA-02-CLIP-L, experts in every layer."""
    return ModelConfig(
        vocab_size=32_000,
        hidden_size=2048,
        num_layers=22,
        num_heads=32,
        num_kv_heads=4,
        head_size=64,
        mlp_size=5632,
        max_positions=2048,
        bos_id=1,
        eos_id=2,
        pad_id=0,
        vision=published_vision("eva02_l", image_size=224),
        projector=Projector(kind="glu", mlp_size=5632),
    )


def debug() -> ModelConfig:
    """A model that runs anywhere in no time (ours): every part of CogVLM, 4 M parameters."""
    return ModelConfig(
        vocab_size=32_000,
        hidden_size=64,
        num_layers=2,
        num_heads=4,
        num_kv_heads=4,
        head_size=16,
        mlp_size=160,
        max_positions=512,
        bos_id=1,
        eos_id=2,
        pad_id=0,
        vision=Vision(image_size=56, width=48, num_layers=2, num_heads=4, mlp_size=112),
        projector=Projector(kind="glu", mlp_size=160),
    )


VARIANTS = variants(cogvlm_1b, debug)
