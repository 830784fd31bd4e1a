"""A run's low-rank differences alone, as the adapter folder that PEFT reads.

Goes in: a training run whose only trained group was `lora`. Comes out: `adapter_model.safetensors`
and `adapter_config.json`, for the official form of the weights that the run started from: names of
modules are the same there. PEFT scales by `lora_alpha / r`, which is what `lora` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from cogvlm.checkpoints import checkpoint, official_config, opened
from cogvlm.checkpoints.opened import Weights
from cogvlm.checkpoints.snapshots import Snapshot
from cogvlm.model.config import ModelConfig

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_PEFT_PARTS = {"lora_down": "lora_A", "lora_up": "lora_B"}
_MERGED = "leave --adapter out for the whole model, differences merged"


def write(
    run: Path | str,
    folder: Path | str,
    *,
    dtype: torch.dtype = torch.bfloat16,
    weights: Weights | None = None,
    step: int | None = None,
) -> dict[str, Any]:
    """Write the adapter of a run; returns its config.

    Args:
        run: Folder of the run.
        folder: Must not exist, or be empty.
        dtype: Type of the differences.
        weights: Averaged or raw; default: averaged where there are such.
        step: Which snapshot; default: the newest.

    Raises:
        ValueError: The run is none, or has something that an adapter cannot hold.
    """
    snapshot = opened.snapshot_of(run, step)
    if snapshot is None:
        raise ValueError(
            f"--adapter: {run} is not a training run, and a checkpoint's differences are merged; "
            "give the folder of a run with --lora_rank, or leave --adapter out"
        )
    _check(snapshot, run)
    with checkpoint.new_folder(folder) as attempt:
        differences = opened.differences(snapshot, weights)
        modules = sorted({name.rpartition(".")[0] for name in differences})
        config = _config(snapshot, modules, opened.settings(run).get("init") or None)
        checkpoint.write_json(attempt / CONFIG, config)
        tensors = {_peft_name(name): each.to(dtype) for name, each in differences.items()}
        safetensors.torch.save_file(tensors, attempt / WEIGHTS, metadata={"format": "pt"})
    return config


def _check(snapshot: Snapshot, run: Path | str) -> None:
    """Raise ValueError for a run whose outcome is more than an adapter, or of no official model."""
    if not snapshot.facts["lora"]:
        raise ValueError(f"--adapter: {run} trained without --lora_rank; {_MERGED}")
    others = sorted({*snapshot.facts["trains"]} - {"lora"})
    if others:
        raise ValueError(
            f"--adapter: {run} trained other groups than lora, which PEFT's adapters cannot hold: "
            f"{', '.join(others)}; {_MERGED}"
        )
    _check_official(opened.config_of(snapshot))


def _check_official(config: ModelConfig) -> None:
    if "padded_vocab_size" in official_config.write(config):
        raise ValueError(
            "--adapter: the official GLM-4V has one matrix where this model has gate and up, so "
            f"that no adapter of it fits; {_MERGED}"
        )


def _config(snapshot: Snapshot, modules: list[str], base: str | None) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": snapshot.facts["lora"]["rank"],
        "lora_alpha": snapshot.facts["lora"]["alpha"],
        "lora_dropout": 0.0,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
    }


def _peft_name(name: str) -> str:
    """Return PEFT's name of one of our differences: `lora_down` is its A, `lora_up` its B."""
    module, _, part = name.rpartition(".")
    return f"base_model.model.{module}.{_PEFT_PARTS[part]}.weight"
