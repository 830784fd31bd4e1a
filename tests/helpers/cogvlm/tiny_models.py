"""Small models and samples for tests of the model text; random, in no time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from cogvlm.model import init
from cogvlm.model.config import ModelConfig
from cogvlm.model.decoder import CogVLM
from cogvlm.model.layout import IGNORE, Sample
from cogvlm.model.variants.small import debug

IMAGE = object()

# Toy matrices gain nothing from threads, which wait for each other on a busy machine.
torch.set_num_threads(1)


def tiny(**changes: object) -> ModelConfig:
    """Return the debug preset with a vocabulary of 97 words, and changes."""
    return replace(debug(), vocab_size=97, max_positions=160, **changes)


def built(config: ModelConfig, seed: int = 0) -> CogVLM:
    """Return a model whose every parameter is random: nothing is hidden by zeros or copies."""
    model = init.build(config)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=random)
            is_norm = "norm" in name and name.endswith("weight")
            scale = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.1
            parameter.copy_(1 + 0.1 * noise if is_norm else noise * scale)
    return model


def sample(config: ModelConfig, pieces: Sequence[object], seed: int = 0) -> Sample:
    """Return a sample of pieces: IMAGE, or a number of text tokens; all text is a target."""
    random = torch.Generator().manual_seed(seed)
    size = config.vision.image_size
    ids: list[int] = []
    labels: list[int] = []
    spans: list[tuple[int, int]] = []
    images: list[Tensor] = []
    for piece in pieces:
        if piece is IMAGE:
            spans.append((len(ids), len(ids) + config.span_size))
            ids += [config.pad_id] * config.span_size
            labels += [IGNORE] * config.span_size
            images.append(torch.randn(3, size, size, generator=random))
        else:
            words = torch.randint(3, config.vocab_size, (int(piece),), generator=random).tolist()
            ids += words
            labels += words
    return Sample(ids, labels, spans, images)
