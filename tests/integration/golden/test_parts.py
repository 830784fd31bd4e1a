"""Tower, position resize, rotation and preprocessing against golden tensors.

Every number is judged against a float64 run of the same code (`helpers.floats`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.floats import Named, assert_as_exact, in_float64
from helpers.golden_data import load_case, parameters
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from cogvlm.checkpoints.names import from_tower
from cogvlm.checkpoints.tensors import FileReader
from cogvlm.data.pixels import preprocess
from cogvlm.model import eva
from cogvlm.model.rope import rotate, tables
from cogvlm.model.towers import Vision
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
@torch.no_grad()
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

    def run(embedding: nn.Module, blocks: nn.Module, images: Tensor) -> Named:
        outputs, x = {}, embedding(images)
        for number, block in enumerate(blocks.layers):
            x = block(x)
            outputs[f"block_out.{number}"] = x
        return outputs

    actual = run(embedding, blocks, case["images"])
    exact = run(embedding.double(), blocks.double(), case["images"].double())
    assert_as_exact(actual, case, exact, most=1e-5)


@pytest.mark.parametrize("path", EVA)
def test_position_resize(path: Path) -> None:
    case = load_case(path)
    (small,) = (name for name in case if re.fullmatch(r"pos\d+_in", name))
    (large,) = (name for name in case if re.fullmatch(r"pos\d+_out", name))
    assert_resized(case[small], int(re.findall(r"\d+", large)[0]), case[large])
    (resized,) = (name for name in case if name.startswith("pos_embed_"))
    table = load_file(path.parent / "timm_model.safetensors")["pos_embed"][0]
    assert_resized(table, int(resized.rpartition("x")[2]), case[resized])


def assert_resized(table_PE: Tensor, grid_size: int, golden: Tensor) -> None:
    actual = eva.resize_positions(table_PE, grid_size)
    with in_float64():
        exact = eva.resize_positions(table_PE.double(), grid_size)
    assert_as_exact({"table": actual}, {"table": golden}, {"table": exact}, most=1e-5)


@pytest.mark.parametrize("path", ROPE)
def test_rotation_tables(path: Path) -> None:
    case = load_case(path)
    positions_ABL, frequencies = case["positions"][None, None], case["inv_freq_fp32"]
    actual = dict(zip(("cos", "sin"), tables(positions_ABL, frequencies), strict=True))
    golden = {name: case[f"{name}_fp32"][None, :, None] for name in actual}
    # In float32 the angle itself is rounded: that is what the official tables hold.
    angles = (positions_ABL[0].float()[..., None] * frequencies).double()[:, :, None]
    assert_as_exact(actual, golden, {"cos": angles.cos(), "sin": angles.sin()}, most=1e-6)


@pytest.mark.parametrize("path", ROPE)
def test_rotation_tables_in_bfloat16(path: Path) -> None:
    case = load_case(path)
    frequencies = case["inv_freq_bf16"].to(torch.bfloat16)
    rotation = tables(case["positions"][None, None], frequencies)
    for actual, name in zip(rotation, ("cos", "sin"), strict=True):
        assert actual[0, :, 0].float().equal(case[f"{name}_bf16"])


@pytest.mark.parametrize("path", ROPE)
def test_rotation(path: Path) -> None:
    case = load_case(path)
    base = json.loads((path.parent / "config.json").read_text())["rope_base"]
    size = case["q"].shape[-1]
    frequencies = 1.0 / base ** (torch.arange(0, size, 2).float() / size)
    cos, sin = tables(case["qk_position_ids"][None], frequencies)

    def run(cos: Tensor, sin: Tensor) -> Named:
        turned = {
            f"{name}_rot": rotate(case[name].transpose(1, 2).to(cos), cos, sin, interleaved=False)
            for name in ("q", "k")
        }
        return {name: rows.transpose(1, 2) for name, rows in turned.items()}

    assert_as_exact(run(cos, sin), case, run(cos.double(), sin.double()), most=1e-6)


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
        with in_float64():
            exact = preprocess(rgb, sizes)
        if crop:
            rows, columns = expected.shape[1:]
            start = (100, 100)  # the one place that only the README names
            place = (..., slice(start[0], start[0] + rows), slice(start[1], start[1] + columns))
            actual, exact = actual[place], exact[place]
        assert_as_exact({name: actual}, {name: expected}, {name: exact}, most=1e-6)
