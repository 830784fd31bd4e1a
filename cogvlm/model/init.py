"""Building a model, and all its initial values in one place.

| parameter | initial value | source |
|---|---|---|
| matrices, embeddings, convolutions | normal, std 0.02 | Llama; adapter: GLM-4V's code |
| biases; norms | 0; weight 1 and bias 0 | Llama |
| BOI, EOI | Xavier uniform | GLM-4V's code |
| CLS vector, queries of a resampler | normal, std 0.02 | ours |
| visual expert, init `llm` | copy of the language matrix, bias 0 | paper, section 2.1 |
| visual expert, init `random` | normal, std 0.02 | paper, Table 4 |
| low-rank expert, LoRA | A (down) Kaiming uniform, B (up) 0 | LoRA (arXiv 2106.09685) |

What CogVLM v1 started its adapter, BOI and EOI from is unpublished.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from cogvlm.model.config import ModelConfig
from cogvlm.model.decoder import CogVLM, Layer, RMSNorm
from cogvlm.model.expert import LowRank
from cogvlm.model.registry import TOWERS
from cogvlm.model.rope import RotaryEmbedding
from cogvlm.model.towers import Vision

_STD = 0.02


def skeleton(config: ModelConfig) -> CogVLM:
    """Return the model on the meta device: names and shapes, no memory."""
    with torch.device("meta"):
        return CogVLM(config)


def build(
    config: ModelConfig,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> CogVLM:
    """Return a freshly initialised model; the same seed gives the same weights."""
    model = allocate(skeleton(config), device, dtype)
    init_weights(model, seed)
    return model


def allocate(model: CogVLM, device: torch.device | str, dtype: torch.dtype) -> CogVLM:
    """Give a model from the meta device memory, with undefined weights and defined tables."""
    model = model.to(dtype).to_empty(device=device)
    restore_tables(model)
    return model


@torch.no_grad()
def restore_tables(model: CogVLM) -> None:
    """Fill in what is computed and no parameter, after a build on the meta device."""
    for module in model.modules():
        if isinstance(module, RotaryEmbedding):
            module.reset(model.config)
    _restore_buffers(model.model.vision.tower_module, model.config.vision)


def _restore_buffers(tower: nn.Module, vision: Vision) -> None:
    """Fill in a library's tables, which no checkpoint holds.

    They do not depend on the depth, so a tower with one block has them all.
    """
    buffers = dict(tower.named_buffers())
    if not buffers:
        return
    with torch.device("cpu"):
        twin = TOWERS[vision.tower].build(replace(vision, num_layers=1, feature_layer=-1))
    fresh = dict(twin.named_buffers())
    for name, buffer in buffers.items():
        if name in fresh:
            buffer.copy_(fresh[name])
        elif name.endswith("attn.k_bias"):  # timm's EVA: keys have no bias, but a zero buffer
            buffer.zero_()
        else:
            raise AssertionError(f"no value for the buffer {name} of {vision.tower}")


@torch.no_grad()
def init_weights(model: CogVLM, seed: int, skip: Collection[str] = ()) -> None:
    """Fill in the parameters by the table above, except those that are named in `skip`.

    A parameter's values depend on the seed and its name only, so that what else is loaded or
    left out changes nothing.
    """
    norms = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm | RMSNorm)
    }
    for name, parameter in model.named_parameters():
        if name in skip:
            continue
        random = torch.Generator(device=parameter.device).manual_seed(_seed_of(seed, name))
        if name in norms:
            nn.init.ones_(parameter)
        elif name.endswith((".boi", ".eoi")):
            nn.init.xavier_uniform_(parameter, generator=random)
        elif ".lora_A." in name:
            nn.init.kaiming_uniform_(parameter, a=math.sqrt(5), generator=random)
        elif name.endswith("bias") or ".lora_B." in name:
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, std=_STD, generator=random)
    embedding = model.model.embed_tokens
    if "model.embed_tokens.weight" not in skip:
        embedding.weight[embedding.padding_idx].zero_()
    if model.config.expert.init == "llm":
        for layer in model.model.layers:
            for expert, language in expert_pairs(cast(Layer, layer)):
                if not isinstance(expert, LowRank):
                    expert.weight.copy_(language.weight)


@torch.no_grad()
def init_differences(model: CogVLM, seed: int) -> None:
    """Fill in the low-rank differences that `lora.attach` made, and nothing else."""
    for name, parameter in model.named_parameters():
        if name.endswith(".lora_down"):
            random = torch.Generator(device=parameter.device).manual_seed(_seed_of(seed, name))
            nn.init.kaiming_uniform_(parameter, a=math.sqrt(5), generator=random)
        elif name.endswith(".lora_up"):
            nn.init.zeros_(parameter)


def _seed_of(seed: int, name: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1  # a generator takes 63 bits


def expert_pairs(layer: Layer) -> list[tuple[Any, nn.Linear]]:
    """Return a layer's expert matrices, each with the language matrix it starts from."""
    attention, mlp = layer.self_attn, layer.mlp
    pairs = [
        (attention.vision_expert_query_key_value, attention.language_expert_query_key_value),
        (attention.vision_expert_dense, attention.language_expert_dense),
    ]
    if mlp.vision_mlp is not None:
        pairs += [
            (getattr(mlp.vision_mlp, name), getattr(mlp.language_mlp, name))
            for name in ("gate_proj", "up_proj", "down_proj")
        ]
    return [(expert, language) for expert, language in pairs if expert is not None]
