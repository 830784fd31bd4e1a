"""Models of a run: built without memory, spread over the ranks, then filled.

Only the main rank ever holds a whole model, and it on the CPU; the others receive their parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from cogvlm.checkpoints.names import POSITIONS
from cogvlm.devices import dtype_of
from cogvlm.model import init, lora
from cogvlm.model.config import ModelConfig
from cogvlm.model.decoder import CogVLM
from cogvlm.model.eva import resize_positions
from cogvlm.model.groups import group_of
from cogvlm.training.config import TrainConfig
from cogvlm.training.distributed import World
from cogvlm.training.parallelize import parallelize


def outline(config: ModelConfig, run: TrainConfig) -> CogVLM:
    """Return the model on the meta device as a run trains it: what is frozen, and which types.

    Raises:
        ValueError: Nothing of the model is trained.
    """
    model = init.skeleton(config)
    if run.lora_rank:
        lora.attach(
            model,
            rank=run.lora_rank,
            alpha=run.lora_alpha or run.lora_rank,
            targets=run.lora_targets,
        )
    frozen_type = dtype_of(run.precision)
    for name, parameter in model.named_parameters():
        is_trained = group_of(name) in run.trains
        parameter.requires_grad_(is_trained)
        if not is_trained:
            parameter.data = parameter.data.to(frozen_type)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"--trains {' '.join(run.trains)}: this model has no such parameters")
    return model


def empty(config: ModelConfig, run: TrainConfig, world: World) -> CogVLM:
    """Return the model spread over the ranks, with undefined weights."""
    model = outline(config, run)
    parallelize(
        model,
        world.mesh,
        precision=dtype_of(run.precision),
        checkpoint_activations=run.checkpoint_activations,
        compile=run.compile,
        reshard=run.reshard,
    )
    model.to_empty(device=world.device)
    init.restore_tables(model)
    return model.train()


@torch.no_grad()
def hand_out(model: CogVLM, whole: Mapping[str, Tensor] | None, world: World) -> None:
    """Fill a sharded model from the main rank's tensors by name; the other ranks give None."""
    for name, parameter in model.named_parameters():
        sharded = cast(DTensor, parameter)
        tensor = torch.empty(sharded.shape, dtype=sharded.dtype, device=world.device)
        if whole is not None:
            tensor.copy_(whole[name])
        part = distribute_tensor(tensor, sharded.device_mesh, sharded.placements)
        sharded.to_local().copy_(part.to_local())


@torch.no_grad()
def carry_over(
    old: Mapping[str, Tensor], new: Mapping[str, Tensor], grid_size: int, *, are_moments: bool
) -> None:
    """Copy sharded tensors by name; a position table is resized to the new grid.

    Args:
        old: Of the model as it was.
        new: The same names, to be filled.
        grid_size: Patches along a side of the new model's images.
        are_moments: They are Adam's, which bicubic interpolation would drive below zero.
    """
    for name, target in new.items():
        source = cast(DTensor, old[name])
        if source.shape == target.shape:
            cast(DTensor, target).to_local().copy_(source.to_local())
            continue
        assert name == POSITIONS, f"{name} may not change its shape"
        mode: Literal["bilinear", "bicubic"] = "bilinear" if are_moments else "bicubic"
        table = resize_positions(source.full_tensor(), grid_size, mode)
        sharded = cast(DTensor, target)
        part = distribute_tensor(table, sharded.device_mesh, sharded.placements)
        sharded.to_local().copy_(part.to_local())
