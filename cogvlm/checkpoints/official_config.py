"""Official `config.json` files in and out: CogVLM, CogVLM2, its captioner, GLM-4V.

The official code keeps some facts in its text and not in the file: RoPE base, the 2 x 2
convolution and the bias of CogVLM2 follow from `num_multi_query_heads`, which v1 must not have at
all (LMDeploy takes its mere presence for CogVLM2).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cogvlm.model.config import Attn, Expert, ModelConfig, Projector, Rope
from cogvlm.model.towers import Vision

_CAPTIONER = "CogVLMVideoForCausalLM"
_COGVLM2_PAD = 128_002
_LLAMA3_STOP = {128_256: (128_009,)}  # by vocabulary: <|eot_id|>
_AUTO_MAP = {
    "AutoConfig": "configuration_cogvlm.CogVLMConfig",
    "AutoModelForCausalLM": "modeling_cogvlm.{}",
}


def read(data: dict[str, Any]) -> ModelConfig:
    """Return the config of an official checkpoint.

    Raises:
        ValueError: A field is missing or has a value that this model text does not cover.
    """
    try:
        return _read_glm4v(data) if "padded_vocab_size" in data else _read_cogvlm(data)
    except KeyError as error:
        raise ValueError(f"config.json has no field {error.args[0]!r}") from error


def write(config: ModelConfig) -> dict[str, Any]:
    """Return the official `config.json` of a model.

    Raises:
        ValueError: The official code has no place for one of the settings; names it.
    """
    data = _write_glm4v(config) if config.attn.qkv_bias else _write_cogvlm(config)
    told, wanted = _flat(read(data).to_json()), _flat(_as_released(config).to_json())
    for name, value in wanted.items():
        if told.get(name) != value:
            raise ValueError(
                f"the official {data['architectures'][0]} has no place for model setting {name} = "
                f"{value!r} (it has {told.get(name)!r}); keep our own folder for such a model"
            )
    return data


def _as_released(config: ModelConfig) -> ModelConfig:
    """Leave out what concerns training and speed only."""
    return replace(
        config,
        dropout=0.0,
        skip_unused=True,
        rope_compute="fp32",
        stop_ids=_LLAMA3_STOP.get(config.vocab_size, config.stop_ids),
        expert=replace(config.expert, init="llm") if config.has_experts else Expert(layers="none"),
        loss=replace(config.loss, image_ssl=0.0),
    )


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _expect(data: dict[str, Any], **values: Any) -> None:
    for name, value in values.items():
        if data.get(name, value) != value:
            raise ValueError(f"config.json {name} is {data[name]!r}; only {value!r} is supported")


def _read_vision(data: dict[str, Any]) -> Vision:
    _expect(data, hidden_act="gelu", in_channels=3, dropout_prob=0.0)
    vision = Vision(
        image_size=data["image_size"],
        patch_size=data["patch_size"],
        width=data["hidden_size"],
        num_layers=data["num_hidden_layers"],
        num_heads=data["num_heads"],
        mlp_size=data["intermediate_size"],
        norm_eps=data["layer_norm_eps"],
    )
    _expect(data, num_positions=vision.grid_size**2 + 1)
    return vision


def _write_vision(vision: Vision) -> dict[str, Any]:
    return {
        "dropout_prob": 0.0,
        "hidden_act": "gelu",
        "hidden_size": vision.width,
        "image_size": vision.image_size,
        "in_channels": 3,
        "intermediate_size": vision.mlp_size,
        "layer_norm_eps": vision.norm_eps,
        "num_heads": vision.num_heads,
        "num_hidden_layers": vision.num_layers,
        "num_positions": vision.grid_size**2 + 1,
        "patch_size": vision.patch_size,
    }


def _read_cogvlm(data: dict[str, Any]) -> ModelConfig:
    _expect(data, hidden_act="silu")
    is_v2 = "num_multi_query_heads" in data
    vision = _read_vision(data["vision_config"])
    plain = data.get("architectures") == [_CAPTIONER]
    return ModelConfig(
        vocab_size=data["vocab_size"],
        hidden_size=data["hidden_size"],
        num_layers=data["num_hidden_layers"],
        num_heads=data["num_attention_heads"],
        num_kv_heads=data.get("num_multi_query_heads", data["num_attention_heads"]),
        head_size=data["hidden_size"] // data["num_attention_heads"],
        mlp_size=data["intermediate_size"],
        norm_eps=data["rms_norm_eps"],
        max_positions=data["max_position_embeddings"],
        tie_embeddings=data.get("tie_word_embeddings", False),
        bos_id=data["bos_token_id"],
        eos_id=data["eos_token_id"],
        stop_ids=_LLAMA3_STOP.get(data["vocab_size"], ()),
        pad_id=data.get("pad_token_id", _COGVLM2_PAD if is_v2 else 0),
        template=data.get("template_version", "chat"),
        rope=Rope(base=float(data.get("rope_base", 500_000 if is_v2 else 10_000))),
        vision=vision,
        projector=Projector(
            kind="conv_glu" if is_v2 else "glu",
            mlp_size=data["intermediate_size"],
            conv_width=vision.width if is_v2 else 0,
        ),
        expert=Expert(layers="none") if plain else Expert(qkv_bias=is_v2),
    )


def _write_cogvlm(config: ModelConfig) -> dict[str, Any]:
    is_v2 = config.projector.kind == "conv_glu"
    name = "CogVLMForCausalLM" if config.has_experts else _CAPTIONER
    data = {
        "architectures": [name],
        "auto_map": {key: value.format(name) for key, value in _AUTO_MAP.items()},
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": config.mlp_size,
        "max_position_embeddings": config.max_positions,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "pad_token_id": config.pad_id,
        "rms_norm_eps": config.norm_eps,
        "template_version": config.template,
        "tie_word_embeddings": config.tie_embeddings,
        "use_cache": True,
        "vision_config": _write_vision(config.vision),
        "vocab_size": config.vocab_size,
    }
    if is_v2:
        data["num_multi_query_heads"] = config.num_kv_heads
    return data


def _read_glm4v(data: dict[str, Any]) -> ModelConfig:
    _expect(
        data,
        add_bias_linear=False,
        apply_residual_connection_post_layernorm=False,
        original_rope=True,
        post_layer_norm=True,
        rmsnorm=True,
    )
    vision = _read_vision(data["vision_config"])
    eos = data["eos_token_id"]
    eos_id, *stop_ids = eos if isinstance(eos, list) else [eos]
    grouped = data["multi_query_attention"]
    return ModelConfig(
        vocab_size=data["padded_vocab_size"],
        hidden_size=data["hidden_size"],
        num_layers=data["num_layers"],
        num_heads=data["num_attention_heads"],
        num_kv_heads=data["multi_query_group_num"] if grouped else data["num_attention_heads"],
        head_size=data["kv_channels"],
        mlp_size=data["ffn_hidden_size"],
        norm_eps=data["layernorm_epsilon"],
        max_positions=data["seq_length"],
        tie_embeddings=data.get("tie_word_embeddings", False),
        bos_id=None,
        eos_id=eos_id,
        stop_ids=tuple(stop_ids),
        pad_id=data["pad_token_id"],
        boundary_ids=(data["boi_token_id"], data["eoi_token_id"]),
        template="glm4",
        rope=Rope(base=10_000.0 * data.get("rope_ratio", 1), fraction=0.5, interleaved=True),
        attn=Attn(qkv_bias=data["add_qkv_bias"]),
        vision=vision,
        projector=Projector(
            kind="conv_glu",
            mlp_size=data["ffn_hidden_size"],
            conv_width=data["hidden_size"],
            scale=1 / data["vision_config"]["scaling_factor"],
        ),
        expert=Expert(layers="none"),
    )


def _write_glm4v(config: ModelConfig) -> dict[str, Any]:
    stops = [config.eos_id, *config.stop_ids]
    boi_id, eoi_id = config.boundary_ids or (None, None)
    return {
        "add_bias_linear": False,
        "add_qkv_bias": config.attn.qkv_bias,
        "apply_query_key_layer_scaling": True,
        "apply_residual_connection_post_layernorm": False,
        "architectures": ["ChatGLMModel"],
        "attention_dropout": 0.0,
        "attention_softmax_in_fp32": True,
        "auto_map": {
            "AutoConfig": "configuration_chatglm.ChatGLMConfig",
            "AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration",
            "AutoModelForCausalLM": "modeling_chatglm.ChatGLMForConditionalGeneration",
        },
        "bias_dropout_fusion": True,
        "boi_token_id": boi_id,
        "eoi_token_id": eoi_id,
        "eos_token_id": stops if len(stops) > 1 else stops[0],
        "ffn_hidden_size": config.mlp_size,
        "fp32_residual_connection": False,
        "hidden_dropout": 0.0,
        "hidden_size": config.hidden_size,
        "kv_channels": config.head_size,
        "layernorm_epsilon": config.norm_eps,
        "model_type": "chatglm",
        "multi_query_attention": True,
        "multi_query_group_num": config.num_kv_heads,
        "num_attention_heads": config.num_heads,
        "num_layers": config.num_layers,
        "original_rope": True,
        "pad_token_id": config.pad_id,
        "padded_vocab_size": config.vocab_size,
        "post_layer_norm": True,
        "rmsnorm": True,
        "rope_ratio": config.rope.base / 10_000,
        "seq_length": config.max_positions,
        "tie_word_embeddings": config.tie_embeddings,
        "use_cache": True,
        "vision_config": {
            **_write_vision(config.vision),
            "scaling_factor": round(1 / config.projector.scale),
        },
        "vocab_size": config.vocab_size,
    }
