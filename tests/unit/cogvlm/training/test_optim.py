"""Learning rates, decay, averages and low-rank differences, each against its formula."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from helpers.cogvlm.tiny_models import IMAGE, built, sample, tiny
from helpers.floats import CLOSE, in_float64

from cogvlm.model import lora
from cogvlm.model.config import Loss
from cogvlm.model.groups import group_of
from cogvlm.model.init import init_differences
from cogvlm.model.layout import collate
from cogvlm.training import optim
from cogvlm.training.config import TrainConfig

STAGE1 = TrainConfig(steps=120_000, warmup_steps=12_000, lr=1e-4)


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 1 / 12_000),
        (5_999, 0.5),
        (11_999, 1.0),
        (12_000, 1.0),
        (72_000, 0.1 + 0.9 * (1 + math.cos(math.pi * 0.5)) / 2),
        (119_999, 0.1 + 0.9 * (1 + math.cos(math.pi * 107_999 / 120_000)) / 2),
    ],
)
def test_cosine_is_the_official_one(step: int, factor: float) -> None:
    assert optim.lr_factor(step, STAGE1) == pytest.approx(factor, rel=1e-12)


def test_linear_ends_at_its_floor_and_constant_stays() -> None:
    linear = TrainConfig(steps=100, warmup_steps=20, schedule="linear", lr_floor=0.0)
    assert [optim.lr_factor(step, linear) for step in (19, 20, 60, 100)] == [1, 1, 0.5, 0]
    assert optim.lr_factor(99, replace(linear, schedule="constant")) == 1


def test_groups_get_their_own_rate_and_norms_and_biases_no_decay() -> None:
    model = built(tiny())
    run = TrainConfig(lr=0.01, lr_scale={"llm": 0.1, "vit": 0.5}, weight_decay=0.05)
    optimizer = optim.adamw(model, run)
    names = {id(each): name for name, each in model.named_parameters()}
    assert optim.set_lr(optimizer, replace(run, steps=100, warmup_steps=10), 4) == 0.005
    seen = set()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            scale = {"llm": 0.1, "vit": 0.5}.get(group_of(name), 1.0)
            assert group["lr"] == pytest.approx(0.005 * scale)
            is_plain = parameter.dim() == 1 or name.startswith(
                ("model.layers.1.mlp.vision_mlp", "model.layers.1.self_attn.vision_expert_dense")
            )
            assert group["weight_decay"] == (0.0 if is_plain else 0.05), name
            seen.add(name)
    assert seen == {name for name, _ in model.named_parameters()}
    assert {"model.vision.boi", "model.embed_tokens.weight"} <= seen


def test_with_the_image_loss_every_matrix_decays() -> None:
    config = tiny(loss=Loss(image_ssl=1.0))
    name = "model.layers.1.mlp.vision_mlp.up_proj.weight"
    assert optim.decays(name, torch.zeros(2, 2), config)
    assert not optim.decays(name, torch.zeros(2, 2), tiny())


def test_the_average_warms_up_and_can_stand_in() -> None:
    model = built(tiny()).double()
    average = optim.Average(model, decay=0.9)
    start = {name: each.detach().clone() for name, each in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    average.update(model, updates=1)  # decay (1 + 1) / (10 + 1)
    for name, before in start.items():
        torch.testing.assert_close(average.weights[name], before + 9 / 11, **CLOSE)
    with average.in_place_of(model):
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.detach(), start[name] + 9 / 11, **CLOSE)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), start[name] + 1, **CLOSE)


def test_a_long_average_reaches_its_decay() -> None:
    model = built(tiny()).double()
    average = optim.Average(model, decay=0.5)
    before = average.weights["lm_head.weight"].clone()
    with torch.no_grad():
        model.lm_head.weight.zero_()  # type: ignore[union-attr]
    average.update(model, updates=10_000)
    torch.testing.assert_close(average.weights["lm_head.weight"], before / 2, **CLOSE)


def test_no_decay_means_no_average() -> None:
    assert optim.Average(built(tiny()), decay=0.0).weights == {}


@in_float64()
def test_low_rank_differences_begin_at_zero_and_merge_to_the_same_model() -> None:
    config = tiny()
    batch = collate([[sample(config, [3, IMAGE, 5])]], config)
    model = built(config).double()
    plain = model(batch)
    names = lora.attach(model, rank=4, alpha=8, targets="language_expert_|vision_mlp")
    init_differences(model, seed=0)
    assert torch.equal(model(batch), plain)
    added = {name for name, _ in model.named_parameters() if group_of(name) == "lora"}
    assert added == {f"{name}.{part}" for name in names for part in ("lora_down", "lora_up")}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lora_up"):
                parameter += 0.1 * torch.randn_like(parameter)
    changed = model(batch)
    assert (changed - plain).abs().max() > 1e-3
    lora.merge(model)
    torch.testing.assert_close(model(batch), changed, **CLOSE)
    assert {name for name, _ in model.named_parameters()} == {
        name for name, _ in built(config).named_parameters()
    }


def test_low_rank_differences_need_a_matrix() -> None:
    with pytest.raises(ValueError, match="no such matrix"):
        lora.attach(built(tiny()), rank=2, alpha=2, targets="attention_of_nobody")
