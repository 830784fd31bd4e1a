"""Models out of training runs: what `export`, `generate` and `--init` read besides checkpoints.

A run's folder counts as a checkpoint: its newest snapshot, with the averaged weights where the run
keeps an average (pretraining), else the raw ones. Low-rank differences are merged.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cogvlm.checkpoints import checkpoint, snapshots
from cogvlm.checkpoints.snapshots import Snapshot
from cogvlm.model import lora
from cogvlm.model.config import ModelConfig
from cogvlm.model.decoder import CogVLM
from cogvlm.model.groups import group_of
from cogvlm.model.init import allocate, skeleton

SETTINGS = "train.json"  # in a run's folder: what it was told

Weights = Literal["ema", "raw"]


def open_model(
    folder: Path | str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.bfloat16,
    config: ModelConfig | None = None,
    weights: Weights | None = None,
    step: int | None = None,
) -> CogVLM:
    """Return the model of a checkpoint folder or of a training run.

    Args:
        folder: Either.
        device: Where the weights go.
        dtype: Their type; None: as they are stored.
        config: Replaces the folder's; may differ in what needs no other weights.
        weights: Of a run: averaged or raw; default: averaged where there are such.
        step: Of a run: which snapshot; default: the newest.

    Raises:
        ValueError: There is no such model.
    """
    snapshot = snapshot_of(folder, step)
    if snapshot is None:
        if weights or step is not None:
            raise ValueError(f"{folder} is not a training run; leave out --weights and --step")
        return checkpoint.load(folder, device=device, dtype=dtype, config=config)
    model = from_snapshot(snapshot, weights, config)
    return model.to(device=device, dtype=dtype or torch.float32)


def read_config(folder: Path | str) -> ModelConfig:
    """Return the config of a checkpoint folder or of a run's newest snapshot."""
    snapshot = snapshot_of(folder, None)
    return checkpoint.read_config(folder) if snapshot is None else config_of(snapshot)


def snapshot_of(folder: Path | str, step: int | None) -> Snapshot | None:
    """Return a snapshot of a run; None where the folder is no run.

    Raises:
        ValueError: The run has no such snapshot.
    """
    if not (Path(folder) / snapshots.FOLDER).is_dir():
        return None
    there = {snapshot.step: snapshot for snapshot in snapshots.snapshots_of(Path(folder))}
    if not there:
        raise ValueError(f"{folder} has no finished snapshot yet")
    if step is not None and step not in there:
        raise ValueError(f"{folder} has no snapshot of step {step}; it has {sorted(there)}")
    return there[max(there) if step is None else step]


def settings(folder: Path | str) -> dict[str, Any]:
    """Return what a training run was told; nothing for a checkpoint folder.

    Raises:
        ValueError: The file is damaged.
    """
    path = Path(folder, SETTINGS)
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["train"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def config_of(snapshot: Snapshot) -> ModelConfig:
    """Return the config of the model in a snapshot."""
    return ModelConfig.from_json(snapshot.facts["model"])


def described(folder: Path | str, weights: Weights | None, step: int | None) -> str:
    """Return in words which weights `open_model` takes with the same arguments."""
    snapshot = snapshot_of(folder, step)
    if snapshot is None:
        return str(folder)
    kind = "averaged" if snapshot.facts["averaged"] and weights != "raw" else "raw"
    return f"the {kind} weights of {folder}, step {snapshot.step}"


def from_snapshot(
    snapshot: Snapshot, weights: Weights | None = None, config: ModelConfig | None = None
) -> CogVLM:
    """Return a snapshot's model on the CPU in float32, low-rank differences merged.

    Raises:
        ValueError: The run keeps no averaged weights.
    """
    model = allocate(skeleton(config or config_of(snapshot)), "cpu", torch.float32)
    if snapshot.facts["lora"]:
        lora.attach(model, **snapshot.facts["lora"])
    _fill({name: each.data for name, each in model.named_parameters()}, snapshot, weights)
    lora.merge(model)
    return model


def differences(snapshot: Snapshot, weights: Weights | None = None) -> dict[str, Tensor]:
    """Return the low-rank differences of a run that has some, by name, on the CPU in float32.

    Raises:
        ValueError: The run keeps no averaged weights.
    """
    model = skeleton(config_of(snapshot))
    lora.attach(model, **snapshot.facts["lora"])
    tensors = {
        name: torch.empty(each.shape)
        for name, each in model.named_parameters()
        if group_of(name) == "lora"
    }
    _fill(tensors, snapshot, weights)
    return tensors


def _fill(tensors: dict[str, Tensor], snapshot: Snapshot, weights: Weights | None) -> None:
    """Read some of a model's parameters, averaged where they are and that is wanted."""
    averaged = snapshot.facts["averaged"]
    if weights == "ema" and not averaged:
        raise ValueError(f"{snapshot.folder} has no averaged weights; use --weights raw")
    snapshots.read(snapshot, {"model": tensors}, alone=True)
    if averaged and weights != "raw":
        wanted = {name: tensors[name] for name in averaged if name in tensors}
        snapshots.read(snapshot, {"ema": wanted}, alone=True)
