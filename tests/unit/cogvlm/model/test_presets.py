"""Named models have the published sizes, names and config files."""

from __future__ import annotations

import json
import math

import pytest
from helpers.cogvlm.published_keys import CAPTION_TENSORS, COGVLM2_INDEX, PARAMETERS, PUBLISHED

from cogvlm.checkpoints import names, official_config
from cogvlm.model.config import ModelConfig
from cogvlm.model.init import skeleton
from cogvlm.model.presets import PRESETS, preset


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_the_published_ones(name: str) -> None:
    state = skeleton(preset(name)).state_dict()
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    if name == "glm4v_9b":
        shapes = {
            key: tuple(source.make(*(state[ours] for ours in source.names)).shape)
            for key, source in names.to_glm4v(state).items()
        }
    assert shapes == PUBLISHED[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    model = skeleton(preset(name))
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


def test_cogvlm2_has_the_size_of_its_index_file() -> None:
    state = skeleton(preset("cogvlm2_19b")).state_dict()
    size = sum(2 * tensor.numel() for tensor in state.values())
    assert (size, len(state)) == COGVLM2_INDEX


def test_the_captioner_has_as_many_tensors_as_its_files() -> None:
    assert len(skeleton(preset("cogvlm2_caption")).state_dict()) == CAPTION_TENSORS


@pytest.mark.parametrize("name", PRESETS)
def test_configs_survive_json(name: str) -> None:
    config = preset(name)
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("name", PARAMETERS)
def test_official_config_survives_reading(name: str) -> None:
    config = preset(name)
    assert official_config.read(json.loads(json.dumps(official_config.write(config)))) == config


def test_a_small_model_is_small() -> None:
    parameters = {
        name: sum(p.numel() for p in skeleton(preset(name)).parameters())
        for name in ("cogvlm_1b", "vila_7b", "debug")
    }
    assert 2.3e9 < parameters["cogvlm_1b"] < 2.5e9
    assert 7.0e9 < parameters["vila_7b"] < 7.1e9
    assert parameters["debug"] < 5e6


@pytest.mark.parametrize(
    ("name", "tokens"),
    [("cogvlm_17b_224", 258), ("cogvlm_17b_490", 1227), ("cogvlm2_19b", 2306),
     ("glm4v_9b", 1602), ("cogvlm2_caption", 66), ("vila_7b", 576)],
)  # fmt: skip
def test_tokens_of_an_image(name: str, tokens: int) -> None:
    config = preset(name)
    assert config.span_size == tokens
    assert math.isqrt(config.image_tokens) ** 2 == config.image_tokens


@pytest.mark.parametrize(
    ("name", "hint"),
    [("gpt", "known: cogvlm_17b_224, .*debug"), ("cogvlm2_19", r"did you mean cogvlm2_19b\?")],
)
def test_an_unknown_preset_names_the_nearest_or_all(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown model preset '{name}'; {hint}"):
        preset(name)
