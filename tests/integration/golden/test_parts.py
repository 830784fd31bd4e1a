"""Tower, position resize, rotation and preprocessing against golden tensors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.golden_data import load_case, parameters
from PIL import Image
from safetensors.torch import load_file

from cogvlm.checkpoints.names import from_tower
from cogvlm.checkpoints.tensors import FileReader
from cogvlm.data.pixels import preprocess
from cogvlm.model import eva
from cogvlm.model.config import Vision
from cogvlm.model.rope import rotate, tables
from cogvlm.model.variants.small import debug

EVA = parameters("case.safetensors", "timm_model.safetensors")
ROPE = parameters("rope.safetensors")
IMAGES = parameters("expected.safetensors")


def tower_of(path: Path) -> tuple[eva.PatchEmbedding, eva.VisionTransformer, dict]:
    """Map the timm weights beside a case by our names; returns the parts and their weights."""
    told = json.loads((path.parent / "config.json").read_text())
    sizes = Vision(
        image_size=told["img_size"],
        patch_size=told["patch_size"],
        width=told["embed_dim"],
        num_layers=told["depth"] - 1,
        num_heads=told["num_heads"],
        mlp_size=told["mlp_hidden"],
        norm_eps=told["layer_norm_eps"],
    )
    config = debug()
    object.__setattr__(config, "vision", sizes)
    embedding, blocks = eva.PatchEmbedding(sizes), eva.VisionTransformer(sizes)
    names = [f"model.vision.patch_embedding.{name}" for name in embedding.state_dict()]
    names += [f"model.vision.transformer.{name}" for name in blocks.state_dict()]
    reader = FileReader(path.parent / "timm_model.safetensors")
    mapped = {
        name.removeprefix("model.vision."): source.make(*map(reader.get, source.names))
        for name, source in from_tower(names, config, reader.names()).items()
    }
    return embedding, blocks, mapped


@pytest.mark.parametrize("path", EVA)
def test_mapped_tower(path: Path) -> None:
    embedding, blocks, mapped = tower_of(path)
    expected = load_file(path.parent / "mapped_cogvlm_tower.safetensors")
    assert {n: t.tolist() for n, t in mapped.items()} == {
        n: t.tolist() for n, t in expected.items()
    }
    embedding.load_state_dict(
        {n.removeprefix("patch_embedding."): t for n, t in mapped.items() if "patch_emb" in n}
    )
    blocks.load_state_dict(
        {n.removeprefix("transformer."): t for n, t in mapped.items() if "transformer." in n}
    )
    case = load_case(path)
    x = embedding(case["images"])
    for number, block in enumerate(blocks.layers):
        x = block(x)
        torch.testing.assert_close(x, case[f"block_out.{number}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("path", EVA)
def test_position_resize(path: Path) -> None:
    case = load_case(path)
    (small,) = (name for name in case if re.fullmatch(r"pos\d+_in", name))
    (large,) = (name for name in case if re.fullmatch(r"pos\d+_out", name))
    actual = eva.resize_positions(case[small], int(re.findall(r"\d+", large)[0]))
    torch.testing.assert_close(actual, case[large], rtol=0, atol=1e-5)
    (resized,) = (name for name in case if name.startswith("pos_embed_"))
    table = load_file(path.parent / "timm_model.safetensors")["pos_embed"][0]
    actual = eva.resize_positions(table, int(resized.rpartition("x")[2]))
    torch.testing.assert_close(actual, case[resized], rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("path", ROPE)
def test_rotation_tables(path: Path, precision: str) -> None:
    case = load_case(path)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    frequencies = case[f"inv_freq_{precision}"].to(dtype)
    cos, sin = tables(case["positions"][None, None], frequencies)
    for actual, name in ((cos, "cos"), (sin, "sin")):
        expected = case[f"{name}_{precision}"]
        torch.testing.assert_close(
            actual[0, :, 0].float(), expected, rtol=0, atol=1e-6 if precision == "fp32" else 0
        )


@pytest.mark.parametrize("path", ROPE)
def test_rotation(path: Path) -> None:
    case = load_case(path)
    base = json.loads((path.parent / "config.json").read_text())["rope_base"]
    size = case["q"].shape[-1]
    frequencies = 1.0 / base ** (torch.arange(0, size, 2).float() / size)
    cos, sin = tables(case["qk_position_ids"][None], frequencies)
    for name in ("q", "k"):
        actual = rotate(case[name].transpose(1, 2), cos, sin, interleaved=False).transpose(1, 2)
        torch.testing.assert_close(actual, case[f"{name}_rot"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", IMAGES)
def test_preprocessing(path: Path) -> None:
    for name, expected in load_case(path).items():
        picture, size, *crop = name.split("_")
        (file,) = path.parent.glob(f"{picture}_*.png")
        rgb = np.array(Image.open(file).convert("RGB"))  # the reference drops alpha
        sizes = Vision(
            image_size=int(size), patch_size=1, width=1, num_layers=1, num_heads=1, mlp_size=1
        )
        actual = preprocess(rgb, sizes)
        if crop:
            rows, columns = expected.shape[1:]
            start = (100, 100)  # the one place that only the README names
            actual = actual[:, start[0] :][:, :rows, start[1] : start[1] + columns]
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)
