"""What each engine gets, and what it is refused and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cogvlm.checkpoints import official_config
from cogvlm.export import config_files
from cogvlm.model.config import Attn, Expert, Position, Projector
from cogvlm.model.presets import preset
from cogvlm.model.variants.cogvlm import cogvlm_17b_224, cogvlm_17b_490
from cogvlm.model.variants.small import debug


def config_of(name: str, engine: str) -> dict:
    return config_files(preset(name), engine, "bf16")["config.json"]


def test_cogvlm_config_has_the_published_values() -> None:
    data = config_of("cogvlm_17b_490", "hf")
    assert data == {
        "architectures": ["CogVLMForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_cogvlm.CogVLMConfig",
            "AutoModelForCausalLM": "modeling_cogvlm.CogVLMForCausalLM",
        },
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "initializer_range": 0.02,
        "intermediate_size": 11008,
        "max_position_embeddings": 2048,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "pad_token_id": 0,
        "rms_norm_eps": 1e-05,
        "template_version": "base",
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vision_config": {
            "dropout_prob": 0.0,
            "hidden_act": "gelu",
            "hidden_size": 1792,
            "image_size": 490,
            "in_channels": 3,
            "intermediate_size": 15360,
            "layer_norm_eps": 1e-06,
            "num_heads": 16,
            "num_hidden_layers": 63,
            "num_positions": 1226,
            "patch_size": 14,
        },
        "vocab_size": 32000,
    }


def test_the_captioners_config_is_the_published_one() -> None:
    data = config_of("cogvlm2_caption", "hf")
    published = {
        "architectures": ["CogVLMVideoForCausalLM"],
        "bos_token_id": 128000,
        "eos_token_id": 128001,
        "pad_token_id": 128002,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 2048,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_multi_query_heads": 8,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": 128256,
    }
    assert {name: data[name] for name in published} == published
    assert data["vision_config"]["num_positions"] == 257


def test_glm4v_config_has_the_published_values() -> None:
    data = config_of("glm4v_9b", "hf")
    published = {
        "architectures": ["ChatGLMModel"],
        "add_bias_linear": False,
        "add_qkv_bias": True,
        "boi_token_id": 151339,
        "eoi_token_id": 151340,
        "eos_token_id": [151329, 151336, 151338],
        "ffn_hidden_size": 13696,
        "kv_channels": 128,
        "layernorm_epsilon": 1.5625e-07,
        "multi_query_group_num": 2,
        "num_layers": 40,
        "original_rope": True,
        "pad_token_id": 151329,
        "padded_vocab_size": 151552,
        "rope_ratio": 1.0,
        "seq_length": 8192,
    }
    assert {name: data[name] for name in published} == published
    assert data["vision_config"]["scaling_factor"] == 8


def test_only_cogvlm2_names_its_grouped_heads() -> None:
    assert config_of("cogvlm2_19b", "hf")["num_multi_query_heads"] == 8
    assert "num_multi_query_heads" not in config_of("cogvlm_17b_490", "hf")


def test_llama_cpp_gets_the_normalisation() -> None:
    files = config_files(cogvlm_17b_490(), "llama.cpp", "bf16")
    assert files["preprocessor_config.json"] == {
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "size": {"height": 490, "width": 490},
    }


def test_generation_stops_where_the_chat_model_does() -> None:
    files = config_files(preset("cogvlm2_19b"), "hf", "bf16")
    assert files["generation_config.json"]["eos_token_id"] == [128001, 128009]


def test_vllm_gets_its_own_class_name() -> None:
    assert config_of("glm4v_9b", "vllm")["architectures"] == ["GLM4VForCausalLM"]


@pytest.mark.parametrize(
    ("name", "engine", "told"),
    [
        ("cogvlm_17b_490", "vllm", "vLLM has no CogVLM class, only GLM-4V"),
        ("cogvlm2_19b", "vllm", "vLLM has no CogVLM class, only GLM-4V"),
        ("cogvlm2_19b", "llama.cpp", "llama.cpp's converter knows CogVLM v1 only"),
        ("glm4v_9b", "llama.cpp", "llama.cpp's converter knows CogVLM v1 only"),
        ("cogvlm_17b_224", "lmdeploy", "this model has 257; only 490 px work"),
        ("cogvlm2_caption", "lmdeploy", "with experts only"),
    ],
)
def test_an_engine_that_cannot_run_a_model(name: str, engine: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"--for {engine}: .*{told}"):
        config_of(name, engine)


@pytest.mark.parametrize("name", ["cogvlm_17b_490", "cogvlm2_19b", "glm4v_9b"])
def test_lmdeploy_runs_the_others(name: str) -> None:
    assert config_of(name, "lmdeploy")["pad_token_id"] == preset(name).pad_id


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"expert": Expert(layers=4)}, "expert.layers = 4"),
        ({"expert": Expert(parts=("ffn",))}, r"expert.parts = \('ffn',\)"),
        ({"expert": Expert(kind="lora")}, "expert.kind = 'lora'"),
        ({"attn": Attn(image_mask="full")}, "attn.image_mask = 'full'"),
        ({"position": Position(image="2d")}, "position.image = '2d'"),
        ({"projector": Projector(kind="linear")}, "projector.kind = 'linear'"),
        ({"num_kv_heads": 8}, "num_kv_heads = 8"),
        ({"tie_embeddings": True, "head_size": 64}, "head_size = 64"),
    ],
)
def test_what_the_official_code_cannot_run_is_named(change: dict, field: str) -> None:
    with pytest.raises(ValueError, match=f"has no place for model setting {field}"):
        official_config.write(replace(cogvlm_17b_224(), **change))


def test_settings_of_training_do_not_stop_an_export() -> None:
    trained = replace(debug(), dropout=0.1, skip_unused=False, expert=Expert(init="random"))
    assert official_config.write(trained) == official_config.write(debug())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hidden_act": "gelu"}, "config.json hidden_act is 'gelu'; only 'silu' is supported"),
        ({"hidden_size": None}, "config.json has no field 'hidden_size'"),
    ],
)
def test_a_strange_official_config(change: dict, told: str) -> None:
    data = official_config.write(debug()) | change
    data = {name: value for name, value in data.items() if value is not None}
    with pytest.raises(ValueError, match=told):
        official_config.read(data)
