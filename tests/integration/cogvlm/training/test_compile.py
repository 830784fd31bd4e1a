"""A layer compiles as one graph; slow to start, so once, with one layer."""

from __future__ import annotations

import pytest
import torch
from helpers.cogvlm.tiny_models import IMAGE, built, sample, tiny

from cogvlm.model.expert import split
from cogvlm.model.layout import collate


@pytest.mark.slow
def test_a_layer_is_one_graph_with_the_same_numbers() -> None:
    config = tiny(num_layers=1)
    model = built(config)
    batch = collate(
        [[sample(config, [1, IMAGE, 5])], [sample(config, [3, IMAGE, 2], seed=1)]],
        config,
        length=32,
    )
    layer, context = model.model.layers[0], model.model.context(batch)
    compiled = torch.compile(layer, fullgraph=True)
    results = []
    for run in (layer, compiled):
        embedded = model.model.embed(batch)[0].detach().requires_grad_()
        text, vision = run(*split(embedded, batch.route), context)
        (text.square().sum() + vision.square().sum()).backward()
        gradients = [parameter.grad.clone() for parameter in layer.parameters()]
        results.append([text, vision, embedded.grad, *gradients])
        layer.zero_grad()
    for eager, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, eager, rtol=1e-4, atol=1e-4)
