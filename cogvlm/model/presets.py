"""The named models, each a function that returns its config; no other file holds their sizes.

Sizes are the published ones (checkpoint configs and shapes); what is ours says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cogvlm.model.config import Attn, Expert, ModelConfig, Position, Projector, Rope, Vision

_LLAMA2_7B: dict[str, Any] = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "num_layers": 32,
    "num_heads": 32,
    "num_kv_heads": 32,
    "head_size": 128,
    "mlp_size": 11_008,
    "bos_id": 1,
    "eos_id": 2,
    "pad_id": 0,
}
_LLAMA3_8B: dict[str, Any] = {
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "num_layers": 32,
    "num_heads": 32,
    "num_kv_heads": 8,
    "head_size": 128,
    "mlp_size": 14_336,
    "bos_id": 128_000,
    "eos_id": 128_001,
    "stop_ids": (128_009,),
    "pad_id": 128_002,
    "rope": Rope(base=500_000.0),
}


def _eva02_e(image_size: int) -> Vision:
    """EVA-02-CLIP-E without the last of its 64 blocks (paper, section 2.1)."""
    return Vision(
        image_size=image_size, width=1792, num_layers=63, num_heads=16, mlp_size=15_360
    )  # fmt: skip


def _eva02_l(image_size: int) -> Vision:
    """EVA-02-CLIP-L/14, 300 M parameters; the last block is left out as in CogVLM's E (ours)."""
    return Vision(
        tower="eva02_l",
        image_size=image_size,
        width=1024,
        num_layers=24,
        num_heads=16,
        mlp_size=2730,
        feature_layer=-2,
    )


def clip_l_336() -> Vision:
    """OpenAI CLIP-L/14 at 336 px, features before the last block as in LLaVA and VILA."""
    return Vision(
        tower="clip_l_336",
        image_size=336,
        width=1024,
        num_layers=24,
        num_heads=16,
        mlp_size=4096,
        norm_eps=1e-5,
        feature_layer=-2,
    )


def siglip_so400m() -> Vision:
    """SigLIP so400m/14 at 384 px (27 x 27 patches), features before the last block as in VILA."""
    return Vision(
        tower="siglip_so400m",
        image_size=384,
        width=1152,
        num_layers=27,
        num_heads=16,
        mlp_size=4304,
        feature_layer=-2,
    )


def cogvlm_17b_224() -> ModelConfig:
    """CogVLM-17B at 224 px: Vicuna-7B-v1.5, EVA-02-CLIP-E, experts in every layer."""
    return ModelConfig(
        **_LLAMA2_7B,
        max_positions=2048,
        vision=_eva02_e(224),
        projector=Projector(kind="glu", mlp_size=11_008),
    )


def cogvlm_17b_490() -> ModelConfig:
    """CogVLM-17B at 490 px, the resolution of all released chat and grounding weights."""
    return replace(cogvlm_17b_224(), vision=_eva02_e(490))


def cogvlm2_19b() -> ModelConfig:
    """CogVLM2-19B: Llama-3-8B-Instruct, 1344 px, four patches to a token (arXiv 2408.16500)."""
    return ModelConfig(
        **_LLAMA3_8B,
        max_positions=8192,
        template="chat",
        vision=_eva02_e(1344),
        projector=Projector(kind="conv_glu", mlp_size=14_336, conv_width=1792),
        expert=Expert(qkv_bias=True),
    )


def cogvlm2_caption() -> ModelConfig:
    """The video captioner of CogVLM2: 224 px frames, no experts, the same key names."""
    return replace(
        cogvlm2_19b(), max_positions=2048, vision=_eva02_e(224), expert=Expert(layers="none")
    )


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
        vision=_eva02_e(1120),
        projector=Projector(kind="conv_glu", mlp_size=13_696, conv_width=4096, scale=1 / 8),
        expert=Expert(layers="none"),
    )


def vila_7b() -> ModelConfig:
    """VILA-7B of the paper: Llama-2-7B, CLIP-L at 336 px, a linear projector, no experts."""
    return ModelConfig(
        **_LLAMA2_7B,
        max_positions=4096,
        boundaries=False,
        vision=clip_l_336(),
        projector=Projector(kind="linear"),
        expert=Expert(layers="none"),
        position=Position(image="sequential"),
    )


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
        vision=_eva02_l(224),
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


PRESETS: dict[str, Callable[[], ModelConfig]] = {
    make.__name__: make
    for make in (
        cogvlm_17b_224,
        cogvlm_17b_490,
        cogvlm2_19b,
        cogvlm2_caption,
        glm4v_9b,
        vila_7b,
        cogvlm_1b,
        debug,
    )
}


def preset(name: str) -> ModelConfig:
    """Return a named config.

    Raises:
        ValueError: The name is unknown; lists the known ones.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown model preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name]()


def overridden(model: ModelConfig, settings: Sequence[str]) -> ModelConfig:
    """Return a config with settings such as `expert.layers=4` or `attn.image_mask=full`.

    Raises:
        ValueError: A setting is unknown or has a value that it cannot have.
    """
    data = model.to_json()
    for setting in settings:
        path, equals, text = setting.partition("=")
        *outer, name = path.split(".")
        inner: Any = data
        for part in outer:
            inner = inner.get(part) if isinstance(inner, dict) else None
        if not equals or not isinstance(inner, dict) or name not in inner:
            raise ValueError(
                f"--override {setting}: write NAME=VALUE with a name of docs/model_settings.md"
            )
        try:
            inner[name] = json.loads(text)
        except ValueError:
            inner[name] = text
    return ModelConfig.from_json(data)
