"""How a model is spread out, applied from outside: compilation, checkpointing, sharding, in order.

The model text knows nothing of it, and parameter names do not change.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.utils.checkpoint import checkpoint

from cogvlm.model.decoder import CogVLM
from cogvlm.training.config import Checkpointed


def parallelize(
    model: CogVLM,
    mesh: DeviceMesh,
    *,
    precision: torch.dtype,
    checkpoint_activations: Checkpointed = "none",
    compile: bool = False,
    reshard: bool = True,
) -> None:
    """Change a model in place; it may still be on the meta device.

    Args:
        model: Its trained parameters are fp32, which makes them the master copy.
        mesh: The ranks that share it.
        precision: Of the computation; gradients are reduced in fp32.
        checkpoint_activations: Whose layers keep their inputs only.
        compile: Compile layers, each as one graph.
        reshard: Free gathered weights between forward and backward pass.
    """
    decoder, tower = [*model.model.layers], model.model.vision.tower_blocks()
    # `forward` itself is replaced, so that parameters keep their names. A compiled function inside
    # a checkpoint runs twice; a checkpoint inside a compiled module is not compiled at all.
    if compile:
        for block in (*decoder, *tower):
            block.forward = torch.compile(block.forward, fullgraph=True)
    for name, blocks in (("decoder", decoder), ("tower", tower)):
        if checkpoint_activations in (name, "both"):
            for block in blocks:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    # Layers are handed RoPE tables that stay fp32, so their inputs are not to be cast.
    policy = MixedPrecisionPolicy(
        param_dtype=precision, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    shard: dict[str, Any] = {"mesh": mesh, "mp_policy": policy, "reshard_after_forward": reshard}
    for block in (*tower, *decoder):
        fully_shard(block, **shard)
    fully_shard(model, **shard)
    register_fsdp_forward_method(model, "loss")
