"""A toy Llama and a toy image tower as their libraries save them: what a CogVLM is built from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from cogvlm.model.config import ModelConfig, Rope, RopeScaling
from cogvlm.model.towers import Vision
from cogvlm.model.variants.small import debug

FAMILIES: dict[str, dict[str, Any]] = {
    "llama2": {},
    "llama3": {"num_key_value_heads": 2, "rope_theta": 500_000.0},
    "llama3_long": {
        "num_key_value_heads": 2,
        "rope_theta": 500_000.0,
        "tie_word_embeddings": True,
        "head_dim": 24,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "linear": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
}


def llama(family: str, folder: Path) -> Any:
    """Save a random toy Llama of transformers and return it, in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    sizes = {
        "vocab_size": 97,
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 160,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.2,
    }
    model = LlamaForCausalLM(LlamaConfig(**(sizes | FAMILIES[family]))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def config_for(family: str) -> ModelConfig:
    """Return the config of a CogVLM on that Llama."""
    told = FAMILIES[family]
    scaling = None
    if "rope_scaling" in told:
        rules = told["rope_scaling"]
        scaling = RopeScaling(
            kind=rules["rope_type"],
            factor=rules["factor"],
            original_max_positions=rules.get("original_max_position_embeddings", 8192),
        )
    return replace(
        debug(),
        vocab_size=97,
        max_positions=160,
        num_kv_heads=told.get("num_key_value_heads", 4),
        head_size=told.get("head_dim", 16),
        tie_embeddings=told.get("tie_word_embeddings", False),
        rope=Rope(base=told.get("rope_theta", 10_000.0), scaling=scaling),
    )


def eva_file(vision: Vision, file: Path, prefix: str = "visual.trunk.") -> dict[str, torch.Tensor]:
    """Write a random EVA-02-CLIP-E of toy size as open_clip names it; returns its tensors."""
    import timm

    torch.manual_seed(2)
    tower = timm.create_model(
        "eva02_enormous_patch14_clip_224",
        num_classes=8,
        img_size=vision.image_size,
        embed_dim=vision.width,
        depth=vision.num_layers + 1,
        num_heads=vision.num_heads,
        mlp_ratio=vision.mlp_size / vision.width,
    )
    tensors = {f"{prefix}{name}": torch.randn_like(t) for name, t in tower.state_dict().items()}
    tensors |= {"logit_scale": torch.zeros(()), "text.ln_final.weight": torch.ones(3)}
    safetensors.torch.save_file(tensors, file)
    return tensors
