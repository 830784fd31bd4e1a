"""A layer compiles as one graph; slow to start, so once, with one layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers.cogvlm.tiny_models import IMAGE, built, sample, tiny
from helpers.floats import Named, assert_as_exact, in_float64
from torch import Tensor

from cogvlm.model.decoder import CogVLM
from cogvlm.model.expert import split
from cogvlm.model.layout import collate

CONFIG = tiny(num_layers=1)
BATCH = collate(
    [[sample(CONFIG, [1, IMAGE, 5])], [sample(CONFIG, [3, IMAGE, 2], seed=1)]], CONFIG, length=32
)


def outputs_and_gradients(model: CogVLM, layer: Callable[..., tuple[Tensor, Tensor]]) -> Named:
    """Return what the first layer, plain or compiled, makes of a batch, and the gradients."""
    model.zero_grad()
    embedded = model.model.embed(BATCH)[0].detach().requires_grad_()
    text, vision = layer(*split(embedded, BATCH.route), model.model.context(BATCH))
    (text.square().sum() + vision.square().sum()).backward()
    parameters = model.model.layers[0].named_parameters()
    gradients = {name: parameter.grad.clone() for name, parameter in parameters}
    outputs = {"text": text.detach(), "vision": vision.detach(), "embedded": embedded.grad}
    return outputs | gradients


@pytest.mark.slow
def test_a_layer_is_one_graph_with_the_same_numbers() -> None:
    model = built(CONFIG)
    layer = model.model.layers[0]
    eager = outputs_and_gradients(model, layer)
    compiled = outputs_and_gradients(model, torch.compile(layer, fullgraph=True))
    with in_float64():
        exact = outputs_and_gradients(model.double(), layer)
    assert_as_exact(compiled, eager, exact, most=1e-3)
