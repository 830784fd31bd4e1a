"""Towers of libraries give the libraries' own features, and load from their checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from helpers.cogvlm.llama_parts import config_for, llama
from helpers.cogvlm.tiny_models import IMAGE, sample
from helpers.floats import CLOSE, in_float64
from torch import Tensor

from cogvlm.checkpoints import checkpoint
from cogvlm.model import init
from cogvlm.model.config import ModelConfig, Projector
from cogvlm.model.layout import collate
from cogvlm.model.towers import Vision

SIZES = {"width": 48, "num_layers": 3, "num_heads": 4, "mlp_size": 112, "feature_layer": -2}
IMAGES = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(5))


def vision_of(tower: str) -> Vision:
    return Vision(tower=tower, image_size=56, **SIZES)


def timm_eva02_l() -> Any:
    import timm

    return timm.create_model(
        "eva02_large_patch14_clip_224", num_classes=8, img_size=56, embed_dim=48, depth=3,
        num_heads=4, mlp_ratio=(112.5) / 48,
    ).eval()  # fmt: skip


def transformers_tower(tower: str) -> Any:
    from transformers import (
        CLIPVisionConfig,
        CLIPVisionModel,
        SiglipVisionConfig,
        SiglipVisionModel,
    )

    sizes = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 112,
        "image_size": 56,
        "patch_size": 14,
        "layer_norm_eps": 1e-6,
    }
    if tower == "clip_l_336":
        return CLIPVisionModel(CLIPVisionConfig(**sizes)).eval()
    return SiglipVisionModel(SiglipVisionConfig(**sizes)).eval()


@torch.no_grad()
def expected_features(tower: str, library: Any, images: Tensor) -> Tensor:
    """The library's own output before its last block, CLS left out."""
    if tower == "eva02_l":
        return library.forward_intermediates(
            images, indices=[1], output_fmt="NLC", intermediates_only=True
        )[0]
    hidden = library(pixel_values=images, output_hidden_states=True).hidden_states[-2]
    return hidden[:, 1:] if tower == "clip_l_336" else hidden


@pytest.mark.parametrize(
    ("tower", "prefix"),
    [("eva02_l", "visual.trunk."), ("eva02_l", ""), ("clip_l_336", "vision_model."),
     ("siglip_so400m", "vision_model."), ("clip_l_336", "")],
)  # fmt: skip
def test_features_from_the_librarys_checkpoint(tower: str, prefix: str, tmp_path: Path) -> None:
    torch.manual_seed(4)
    library = timm_eva02_l() if tower == "eva02_l" else transformers_tower(tower)
    with torch.no_grad():
        for parameter in library.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    tensors = {f"{prefix}{n}": t.contiguous() for n, t in library.state_dict().items()}
    tensors["logit_scale"] = torch.zeros(())
    safetensors.torch.save_file(tensors, tmp_path / "tower.safetensors")
    llama("llama2", tmp_path / "llm")
    config = replace(
        config_for("llama2"), vision=vision_of(tower), projector=Projector(kind="mlp2x_gelu")
    )
    model = checkpoint.build_from_parts(
        config, tmp_path / "llm", tmp_path / "tower.safetensors", dtype=torch.float32
    )
    with in_float64():
        actual = model.double().eval().model.vision.features(IMAGES.double())
        expected = expected_features(tower, library.double(), IMAGES.double())
    torch.testing.assert_close(actual, expected, **CLOSE)


@pytest.fixture(params=["eva02_l", "clip_l_336", "siglip_so400m"])
def config(request: pytest.FixtureRequest) -> ModelConfig:
    return replace(
        config_for("llama2"), vision=vision_of(request.param), projector=Projector(kind="linear")
    )


@pytest.mark.parametrize("pieces", [[1, IMAGE, 3], [4]])
def test_every_tower_parameter_is_trained(config: ModelConfig, pieces: list) -> None:
    model = init.build(config)
    total, count = model.loss(collate([[sample(config, pieces)]], config))
    (total / count).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        has_gradient = bool(parameter.grad.any())
        if ".tower." in name:
            is_key_bias = "k_proj.bias" in name  # moves all scores of a query alike
            assert has_gradient == (IMAGE in pieces) or is_key_bias, name


def test_a_tower_survives_saving(config: ModelConfig, tmp_path: Path) -> None:
    model = init.build(config)
    checkpoint.save(model, tmp_path / "out")
    again = checkpoint.load(tmp_path / "out", dtype=torch.float32)
    with torch.no_grad():
        assert again.model.vision.features(IMAGES).equal(model.model.vision.features(IMAGES))


def test_siglip_at_its_published_size_has_729_patches() -> None:
    from cogvlm.model.variants import published_vision

    assert published_vision("siglip_so400m").grid_size ** 2 == 729
