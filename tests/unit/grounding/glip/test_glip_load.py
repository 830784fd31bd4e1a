"""Checkpoints of both kinds, and what is said of those that do not fit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from helpers.grounding import glip_parts
from safetensors.torch import save_file
from torch import Tensor

from grounding.glip import load
from grounding.glip.config import PRESETS
from grounding.glip.model import Glip

CASE = glip_parts.FOLDER / "io_fused.safetensors"
CONFIG = glip_parts.config_of(CASE)
State = dict[str, Tensor]


@pytest.fixture
def state() -> State:
    return glip_parts.weights_of(CASE)


def same(model: Glip, state: State) -> bool:
    mine = model.state_dict()
    return mine.keys() == state.keys() and all(mine[name].equal(state[name]) for name in state)


def to_mmdet(state: State) -> State:
    """Convert by the list of official keys."""
    told = json.loads((glip_parts.FOLDER / "official_keys.json").read_text())["GLIP-T_C"]
    converted = {}
    for name, value in state.items():
        how = told[name]["transform"]
        if how == "dropped":
            continue
        if how != "none":  # corners from columns first to rows first, then channels outermost
            corners = value.view(*value.shape[:-1], 4, -1)[..., [0, 2, 1, 3], :]
            value = corners.transpose(-1, -2).reshape(value.shape)
        converted[told[name]["mmdet"]] = value
    return converted


def test_the_authors_file(state: State, tmp_path: Path) -> None:
    file = tmp_path / "glip.pth"
    prefixed = {f"module.{name}": value for name, value in state.items()}
    prefixed["module.language_backbone.body.model.embeddings.position_ids"] = torch.arange(48)[None]
    prefixed["module.language_backbone.body.model.pooler.dense.bias"] = torch.zeros(32)
    torch.save({"model": prefixed, "optimizer": {"state": {}}, "iteration": 7}, file)
    model = load.load(file, CONFIG)
    assert same(model, state)
    file.unlink()  # what was read is a copy
    assert same(model, state)
    assert not model.training


def test_a_file_of_half_precision_is_read_as_float32(state: State, tmp_path: Path) -> None:
    half = {name: v.half() if v.is_floating_point() else v for name, v in state.items()}
    torch.save(half, tmp_path / "glip.pth")
    model = load.load(tmp_path / "glip.pth", CONFIG)
    assert same(model, {n: v.float() if v.is_floating_point() else v for n, v in half.items()})


def test_mmdetection_and_back(state: State, tmp_path: Path) -> None:
    file = tmp_path / "mmdet.pth"
    converted = to_mmdet(state)
    assert not converted.keys() & state.keys()
    torch.save({"state_dict": converted, "meta": {"epoch": 1}}, file)
    unused = {n: torch.zeros_like(v) for n, v in state.items() if "cls_logits" in n}
    assert same(load.load(file, CONFIG), {**state, **unused})


def test_names_of_all_variants_come_back() -> None:
    told = json.loads((glip_parts.FOLDER / "official_keys.json").read_text())
    for title, keys in told.items():
        if title != "note":
            names = {each["mmdet"]: name for name, each in keys.items() if each["mmdet"]}
            state = {name: torch.zeros(4) for name in names}
            assert list(load.from_mmdet(state)) == list(names.values())


def test_safetensors(state: State, tmp_path: Path) -> None:
    save_file(state, tmp_path / "glip.safetensors")
    assert same(load.load(tmp_path / "glip.safetensors", CONFIG), state)


def test_one_error_names_all_that_is_wrong(state: State, tmp_path: Path) -> None:
    file = tmp_path / "glip.pth"
    del state["rpn.head.bias0"]
    state["rpn.head.extra"] = torch.zeros(1)
    state["rpn.head.log_scale"] = torch.zeros(3)
    state["rpn.anchor_generator.cell_anchors.0"] = torch.zeros(1, 4)
    torch.save({"model": state}, file)
    with pytest.raises(ValueError) as caught:
        load.load(file, CONFIG)
    told = str(caught.value)
    assert str(file) in told
    for part in (
        "missing: 1 (rpn.head.bias0)",
        "left over: 1 (rpn.head.extra)",
        "of another shape: 1 (rpn.head.log_scale (3,) instead of (1,))",
        "other anchors: 1 (rpn.anchor_generator.cell_anchors.0",
    ):
        assert part in told


def test_another_variant_is_a_short_message(state: State, tmp_path: Path) -> None:
    torch.save({"model": state}, tmp_path / "glip.pth")
    with pytest.raises(ValueError, match=r"is not a glip_large: missing: \d+ \(.*, …\)") as caught:
        load.load(tmp_path / "glip.pth", "glip_large")
    assert len(str(caught.value)) < 4000


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    text = tmp_path / "text.pth"
    text.write_text("not a checkpoint")
    code = tmp_path / "code.pth"
    torch.save({"model": re.compile}, code)
    empty = tmp_path / "empty.pth"
    torch.save({"model": {}}, empty)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"1234")
    for file in (tmp_path / "none.pth", text, code, empty, broken):
        with pytest.raises(ValueError, match=re.escape(str(file))):
            load.load(file, CONFIG)


def test_variants_are_told_by_their_tensors() -> None:
    for name, expected in (
        ("glip_tiny_a", "glip_tiny_a"),
        ("glip_tiny_c", "glip_tiny"),
        ("glip_large", "glip_large"),
    ):
        with torch.device("meta"):
            state = Glip(PRESETS[name]()).state_dict()
        assert load.config_of(state).name == expected
    with pytest.raises(ValueError, match="no GLIP is called 'glip2'; there are glip_tiny_a,"):
        load.preset("glip2")
