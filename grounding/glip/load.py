"""Published checkpoints to models: those of the authors, and mmdetection's conversions of them.

Goes in: a file. Comes out: a model on the CPU in float32, or one ValueError that names every tensor
that is missing, left over or of another shape. Files from outside are read without running code of
theirs.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grounding.glip import swin
from grounding.glip.config import PRESETS, GlipConfig
from grounding.glip.model import Glip

State = dict[str, Tensor]

_LEFT_OUT = re.compile(r"position_ids|\.pooler\.|resizer|tunable_linear")
"""What some files hold besides, and nothing needs."""
_DERIVED = re.compile(r"cls_logits\.|cell_anchors\.|relative_position_index$")
"""What some files lack, and follows from the config or is not used."""

_FROM_MMDET = (
    (r"^backbone\.patch_embed\.projection\.", "backbone.body.patch_embed.proj."),
    (r"^backbone\.stages\.", "backbone.body.layers."),
    (r"^backbone\.(patch_embed|norm\d)\.", r"backbone.body.\1."),
    (r"\.attn\.w_msa\.", ".attn."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
    (r"^neck\.fpn_convs\.3\.conv\.", "backbone.fpn.top_blocks.p6."),
    (r"^neck\.fpn_convs\.4\.conv\.", "backbone.fpn.top_blocks.p7."),
    (r"^language_model\.", ""),
    (r"^bbox_head\.", "rpn."),
    (r"\.dyconvs\.", ".DyConv."),
    (r"\.attnconv\.", ".AttnConv."),
)
_NECK = re.compile(r"^neck\.(lateral|fpn)_convs\.([012])\.conv\.")
_SHOWN = 8


def load(path: str | Path, config: GlipConfig | str | None = None) -> Glip:
    """Read a checkpoint.

    Args:
        path: `.pth` with a dict under `model` (the authors') or `state_dict` (mmdetection's), or a
            `.safetensors` file with either's names.
        config: A preset's name or a config; None: recognised by the tensors.

    Raises:
        ValueError: The file cannot be read, or its tensors are not those of the model.
    """
    state = read_state(Path(path))
    if isinstance(config, str):
        config = preset(config)
    with torch.device("meta"):
        model = Glip(config or config_of(state))
    fill(model, state, str(path))
    return model.eval()


def preset(name: str) -> GlipConfig:
    """Return the config of a name.

    Raises:
        ValueError: There is none.
    """
    if name not in PRESETS:
        raise ValueError(f"no GLIP is called {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]()


def config_of(state: Mapping[str, Tensor]) -> GlipConfig:
    """Return the published model with such tensors: GLIP-L, T-A or T, whose sizes B and C share."""
    patches = state.get("backbone.body.patch_embed.proj.weight")
    if patches is not None and len(patches) == PRESETS["glip_large"]().swin_width:
        return PRESETS["glip_large"]()
    is_fused = any(".b_attn." in name for name in state)
    return PRESETS["glip_tiny" if is_fused else "glip_tiny_a"]()


def read_state(path: Path) -> State:
    """Return a file's tensors under the authors' names, without the prefix `module.`.

    Raises:
        ValueError: There is no such file, or it is not a checkpoint.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give the file of a GLIP checkpoint")
    content = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    for wrapper in ("model", "state_dict"):
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    state = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise ValueError(f"{path} holds no tensors, but {sorted(map(str, content))[:_SHOWN]}")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    return from_mmdet(state) if any(name.startswith("bbox_head.") for name in state) else state


def from_mmdet(state: Mapping[str, Tensor]) -> State:
    """Undo mmdetection's conversion: names, and the order of channels where patches are merged."""
    return {_official_name(name): _official_value(name, value) for name, value in state.items()}


def fill(model: Glip, state: Mapping[str, Tensor], source: str) -> None:
    """Give a model without memory its tensors, as copies.

    Raises:
        ValueError: Tensors are missing, left over, of another shape, or anchors differ.
    """
    expected = model.state_dict()
    derived = _derived(model.config, expected)
    state = {name: value for name, value in state.items() if not _LEFT_OUT.search(name)}
    problems = {
        "missing": expected.keys() - state.keys() - derived.keys(),
        "left over": state.keys() - expected.keys(),
        "of another shape": {
            f"{name} {tuple(state[name].shape)} instead of {tuple(wanted.shape)}"
            for name, wanted in expected.items()
            if name in state and state[name].shape != wanted.shape
        },
        "other anchors": {
            f"{name} {state[name].tolist()} instead of {wanted.tolist()}"
            for name, wanted in derived.items()
            if "cell_anchors" in name and name in state and not state[name].equal(wanted)
        },
    }
    complaints = [f"{kind}: {_list(names)}" for kind, names in problems.items() if names]
    if complaints:
        raise ValueError(f"{source} is not a {model.config.name}: {'; '.join(complaints)}")
    filled = {
        name: (state if name in state else derived)[name].to(wanted.dtype, copy=True)
        for name, wanted in expected.items()
    }
    model.load_state_dict(filled, assign=True)


def _derived(config: GlipConfig, expected: Mapping[str, Tensor]) -> State:
    from grounding.glip.anchors import cell

    sizes = zip(config.anchor_strides, config.anchor_sizes, strict=True)
    cells = [cell(stride, size) for stride, size in sizes]
    values: State = {}
    for name, wanted in expected.items():
        if _DERIVED.search(name):
            if "cell_anchors" in name:
                values[name] = cells[int(name.rpartition(".")[2])]
            elif "cls_logits" in name:
                values[name] = torch.zeros(wanted.shape)
            else:
                values[name] = swin.relative_index(config.swin_window)
    return values


def _list(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{len(names)} ({shown}{', …' if len(names) > _SHOWN else ''})"


def _official_name(name: str) -> str:
    def neck(level: re.Match[str]) -> str:
        kind = "inner" if level[1] == "lateral" else "layer"
        return f"backbone.fpn.fpn_{kind}{int(level[2]) + 2}."

    for pattern, official in _FROM_MMDET:
        name = re.sub(pattern, official, name)
    return _NECK.sub(neck, name)


def _official_value(name: str, value: Tensor) -> Tensor:
    if ".downsample." not in name:
        return value
    # Its Swin merges patches with unfold: channels outside, and corners in reading order.
    corners = value.unflatten(-1, (-1, 4)).transpose(-1, -2)[..., [0, 2, 1, 3], :]
    return corners.flatten(-2)


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error


def _pickled(path: Path) -> dict[str, Any]:
    try:
        try:  # a training state is several times the model, and most of it is never looked at
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # torch before 1.6 wrote files that cannot be mapped
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path} cannot be read as tensors: {str(error).splitlines()[0]} Save the file again "
            f"with nothing but its tensors if it holds other objects"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {type(content).__name__}, not a dict of tensors")
    return content
