"""The headline claim: without images a CogVLM is its language model, and stays it in training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.cogvlm.llama_parts import FAMILIES, config_for, eva_file, llama
from helpers.cogvlm.tiny_models import IMAGE, sample
from helpers.floats import CLOSE, in_float64
from torch import Tensor

from cogvlm.checkpoints import checkpoint, language_base
from cogvlm.model.decoder import CogVLM
from cogvlm.model.generation import Sampling, generate
from cogvlm.model.layout import Sample, collate

TEXT = torch.arange(3, 83).view(2, 40)


@pytest.fixture(params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, CogVLM]:
    """A Llama of transformers, and a CogVLM built from its files."""
    config = config_for(request.param)
    source = llama(request.param, tmp_path / "llm")
    eva_file(config.vision, tmp_path / "eva.safetensors")
    model = checkpoint.build_from_parts(
        config, tmp_path / "llm", tmp_path / "eva.safetensors", dtype=torch.float32
    )
    return source, model.eval()


def text_logits(model: CogVLM) -> Tensor:
    rows = [[Sample(ids.tolist(), ids.tolist())] for ids in TEXT]
    return model(collate(rows, model.config))


def greedy(model: CogVLM, count: int) -> list[list[int]]:
    rows = [[Sample(ids.tolist(), ids.tolist())] for ids in TEXT]
    batch = collate(rows, model.config)
    steps = generate(model, batch, Sampling(max_new_tokens=count))
    return torch.stack(list(steps), dim=1).tolist()


def train(model: CogVLM, steps: int) -> None:
    """Train what CogVLM trains in stage 1 and nothing else."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "vision" in name and "transformer" not in name
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-2)
    batch = collate([[sample(model.config, [1, IMAGE, 6])], [sample(model.config, [5])]],
                    model.config)  # fmt: skip
    for _ in range(steps):
        total, count = model.loss(batch)
        (total / count).backward()
        optimiser.step()
        optimiser.zero_grad()


@in_float64()
@torch.no_grad()
def same_as_source(source: Any, model: CogVLM) -> None:
    source.double(), model.double()
    source.model.rotary_emb = type(source.model.rotary_emb)(source.config)  # frequencies too
    torch.testing.assert_close(text_logits(model), source(TEXT).logits, **CLOSE)
    count = 12
    expected = source.generate(
        TEXT, attention_mask=torch.ones_like(TEXT), max_new_tokens=count, do_sample=False,
        eos_token_id=None, pad_token_id=0,
    )[:, TEXT.shape[1] :].tolist()  # fmt: skip
    end = model.config.eos_id
    for ours, theirs in zip(greedy(model, count), expected, strict=True):
        stop = theirs.index(end) + 1 if end in theirs else count
        assert ours[:stop] == theirs[:stop]


def test_text_is_the_language_models(pair: tuple[Any, CogVLM]) -> None:
    same_as_source(*pair)


def test_text_stays_the_language_models_in_training(pair: tuple[Any, CogVLM]) -> None:
    source, model = pair
    batch = collate([[sample(model.config, [1, IMAGE, 6])]], model.config)
    with torch.no_grad():
        before = model(batch)
    train(model, 10)
    with torch.no_grad():
        assert not torch.allclose(model(batch), before, atol=1e-2)  # it did learn something
    same_as_source(source, model)


def test_the_llamas_config_is_read(tmp_path: Path) -> None:
    for family in FAMILIES:
        llama(family, tmp_path / family)
        told = language_base.read(json.loads((tmp_path / family / "config.json").read_text()))
        config = config_for(family)
        assert {name: getattr(config, name) for name in told} == told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "qwen2"}, "model_type is 'qwen2'; only Llama bases with 'llama'"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"mlp_bias": True}, "mlp_bias is True"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "type is 'yarn'; known: def"),
    ],
)
def test_another_family_is_refused_by_the_field(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    llama("llama2", tmp_path)
    data = json.loads((tmp_path / "config.json").read_text()) | change
    with pytest.raises(ValueError, match=told):
        language_base.read(data)


def test_a_base_of_another_size_is_refused(tmp_path: Path) -> None:
    llama("llama3", tmp_path)
    with pytest.raises(ValueError, match=r"config.json: num_kv_heads is 2, but .* has 4"):
        checkpoint.build_from_parts(config_for("llama2"), tmp_path, tmp_path)
