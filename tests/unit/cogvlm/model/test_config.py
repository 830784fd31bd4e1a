"""Rules of the config: what breaks one is named with its dotted field, its value and the rule."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from cogvlm.model.config import (
    Attn,
    Expert,
    Loss,
    ModelConfig,
    Position,
    Projector,
    Rope,
    RopeScaling,
    Vision,
)
from cogvlm.model.variants.small import debug
from cogvlm.model.variants.vila import vila_7b


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_heads": 0}, "num_heads is 0; it must be positive"),
        ({"num_kv_heads": 3}, "num_heads is 4; it must be a multiple of num_kv_heads 3"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"pad_id": 32_000}, "pad_id is 32000; it must be below vocab_size 32000"),
        ({"template": "poem"}, "template is 'poem'; it must be one of base, chat"),
        (
            {"template": "chta"},
            "template is 'chta'; it must be one of base, chat, vqa, glm4; did",
        ),
        ({"rope_compute": "fp8"}, "rope_compute is 'fp8'"),
        ({"head_size": 15}, "rope.fraction is 1.0"),
        ({"expert": Expert(layers=(0, 2))}, "expert.layers is (0, 2)"),
        ({"boundaries": False, "boundary_ids": (1, 2)}, "boundary_ids is (1, 2)"),
        ({"boundaries": False, "loss": Loss(image_ssl=1.0)}, "loss.image_ssl is 1.0"),
    ],
)
def test_a_broken_rule_names_its_field(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"model setting {told}")):
        replace(debug(), **change)


def with_vision(**changes: Any) -> ModelConfig:
    return replace(debug(), vision=replace(debug().vision, **changes))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Expert(layers="some"), "expert.layers is 'some'; it must be one of all, none"),
        (lambda: Expert(layers=0), "expert.layers is 0"),
        (lambda: Expert(parts=("qkv", "mlp")), "expert.parts is ('qkv', 'mlp')"),
        (lambda: Expert(kind="lora", rank=0), "expert.rank is 0"),
        (lambda: Expert(kind="lora", qkv_bias=True), "expert.qkv_bias is True"),
        (lambda: Attn(image_mask="half"), "attn.image_mask is 'half'"),
        (lambda: Position(image="3d"), "position.image is '3d'"),
        (lambda: Projector(kind="glu"), "projector.mlp_size is 0; it must be positive"),
        (lambda: Projector(kind="resampler", num_heads=2), "projector.num_queries is 0"),
        (lambda: Rope(fraction=0.0), "rope.fraction is 0.0"),
        (lambda: RopeScaling(kind="yarn", factor=2.0), "rope.scaling.kind is 'yarn'"),
        (lambda: with_vision(image_size=60), "vision.image_size is 60"),
        (lambda: replace(debug().vision, num_heads=5), "vision.width is 48"),
        (lambda: replace(debug().vision, feature_layer=-3), "vision.feature_layer is -3"),
        (lambda: with_vision(tower="resnet"), "vision.tower is 'resnet'"),
    ],
)
def test_parts_keep_their_rules(make: Any, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"model setting {told}")):
        make()


def test_a_convolution_needs_an_even_grid() -> None:
    odd = Vision(image_size=70, width=48, num_layers=2, num_heads=4, mlp_size=112)
    projector = Projector(kind="conv_glu", mlp_size=8, conv_width=8)
    with pytest.raises(ValueError, match="even number of 14 px patches"):
        replace(debug(), vision=odd, projector=projector)


@pytest.mark.parametrize(
    ("layers", "with_expert"),
    [("all", [0, 1, 2, 3, 4]), ("none", []), (2, [0, 2, 4]), (4, [0, 4]), ((1, 3), [1, 3])],
)
def test_layers_with_an_expert(layers: Any, with_expert: list[int]) -> None:
    expert = Expert(layers=layers)
    assert [layer for layer in range(5) if expert.parts_of(layer)] == with_expert


def test_json_refuses_unknown_and_missing_fields() -> None:
    data = debug().to_json()
    data["expert"]["depth"] = 3
    with pytest.raises(ValueError, match=r"unknown model setting expert.depth; known: layers, "):
        ModelConfig.from_json(data)
    data = debug().to_json()
    del data["vision"]["width"]
    with pytest.raises(ValueError, match=r"model setting vision.width is missing"):
        ModelConfig.from_json(data)


def test_json_keeps_optional_and_listed_values() -> None:
    scaling = RopeScaling(kind="llama3", factor=8.0)
    config = replace(
        vila_7b(), rope=Rope(scaling=scaling), expert=Expert(layers=(1, 3)), stop_ids=(5, 6)
    )
    assert ModelConfig.from_json(config.to_json()) == config
