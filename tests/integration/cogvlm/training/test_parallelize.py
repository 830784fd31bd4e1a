"""Compilation, checkpointing and sharding from outside change no number."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.cogvlm.tiny_models import IMAGE, sample, tiny
from helpers.floats import Named, assert_as_exact, in_float64

from cogvlm.model import init
from cogvlm.model.decoder import CogVLM
from cogvlm.model.groups import group_of
from cogvlm.model.layout import collate
from cogvlm.training import distributed, sharded
from cogvlm.training.config import TrainConfig

CONFIG = replace(tiny(), num_layers=3)
BATCHES = [collate([[sample(CONFIG, [2, IMAGE, words])]], CONFIG) for words in (5, 9)]
TRAINS = ("expert", "adapter", "llm", "vit")


def losses_and_gradients(model: CogVLM) -> tuple[Named, Named]:
    losses = {}
    for number, batch in enumerate(BATCHES):
        loss, count = model.loss(batch)
        loss.backward()
        losses[f"loss {number}"] = loss.detach() / count
    gradients = {
        name: parameter.grad.full_tensor()
        if hasattr(parameter.grad, "full_tensor")
        else parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return losses, gradients


def whole() -> CogVLM:
    model = init.build(CONFIG)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(group_of(name) in TRAINS)
    return model


@pytest.fixture(scope="module")
def plain() -> tuple[Named, Named]:
    return losses_and_gradients(whole())


@pytest.fixture(scope="module")
def exact() -> tuple[Named, Named]:
    model = whole().double()
    with in_float64():
        return losses_and_gradients(model)


@pytest.mark.parametrize(
    ("compile", "checkpointed"), [(False, "none"), (False, "both"), (True, "both")]
)
def test_a_spread_out_model_computes_what_the_plain_one_does(
    compile: bool,
    checkpointed: str,
    plain: tuple[Named, Named],
    exact: tuple[Named, Named],
) -> None:
    run = TrainConfig(
        precision="fp32", compile=compile, checkpoint_activations=checkpointed, trains=TRAINS
    )  # type: ignore[arg-type]
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with distributed.world("cpu") as world:
        model = sharded.empty(CONFIG, run, world)
        sharded.hand_out(model, dict(init.build(CONFIG).named_parameters()), world)
        losses, gradients = losses_and_gradients(model)
    assert gradients.keys() == plain[1].keys()
    assert_as_exact(losses, plain[0], exact[0])
    assert_as_exact(gradients, plain[1], exact[1], most=1e-3)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert (graphs > 0) == compile


@pytest.mark.parametrize("tower", ["eva02_e", "eva02_l", "clip_l_336", "siglip_so400m"])
def test_every_tower_has_its_blocks(tower: str) -> None:
    from cogvlm.model.variants import published_vision
    from cogvlm.model.variants.small import cogvlm_1b, debug

    whose = {
        "eva02_e": debug().vision,
        "eva02_l": cogvlm_1b().vision,
        "clip_l_336": published_vision("clip_l_336"),
        "siglip_so400m": published_vision("siglip_so400m"),
    }
    vision = whose[tower]
    model = init.skeleton(replace(debug(), max_positions=4096, vision=vision))
    blocks = model.model.vision.tower_blocks()
    assert len(blocks) == vision.num_layers + 1 + vision.feature_layer
