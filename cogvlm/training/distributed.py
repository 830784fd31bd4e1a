"""The ranks of a run: who we are, the mesh, and sums over everybody.

One process without torchrun is a world of one: the same code runs, with the same precision rules.
Sums of counts go over Gloo on the CPU, so that no GPU is waited for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from cogvlm.devices import device_of

Item = TypeVar("Item")


@dataclass(frozen=True)
class World:
    """This process among the ranks."""

    rank: int
    ranks: int
    device: torch.device
    mesh: DeviceMesh  # ("shard",), or ("replicate", "shard")

    @property
    def is_main(self) -> bool:
        """Whether this rank speaks for all."""
        return self.rank == 0

    def sums(self, values: Sequence[float], kind: torch.dtype = torch.int64) -> list[float]:
        """Return each value summed over the ranks."""
        return self._reduced(values, kind, dist.ReduceOp.SUM)

    def largest(self, values: Sequence[int]) -> list[int]:
        """Return the largest of each value over the ranks."""
        return [int(value) for value in self._reduced(values, torch.int64, dist.ReduceOp.MAX)]

    def gathered(self, items: Sequence[Item]) -> list[Item]:
        """Return the items of all ranks, by rank; every rank must ask."""
        gathered: list[Sequence[Item]] = [[]] * self.ranks
        dist.all_gather_object(gathered, items)
        return [item for items in gathered for item in items]

    def _reduced(
        self, values: Sequence[float], kind: torch.dtype, way: dist.ReduceOp.RedOpType
    ) -> list[float]:
        tensor = torch.tensor(values, dtype=kind)
        dist.all_reduce(tensor, way)
        return tensor.tolist()


@contextmanager
def world(device: str, replicas: int = 1) -> Iterator[World]:
    """Join the ranks, or make a world of one.

    Args:
        device: auto, cuda or cpu; with cuda every rank takes the GPU of its local rank.
        replicas: Copies of the sharded model.

    Raises:
        ValueError: The device is not there, or the ranks do not make so many copies.
    """
    chosen = device_of(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend)
    else:
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        yield World(dist.get_rank(), dist.get_world_size(), chosen, _mesh(chosen, replicas))
    finally:
        dist.destroy_process_group()


def make_deterministic() -> None:
    """Choose kernels that repeat bit for bit; must come before the GPU is used."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def _mesh(device: torch.device, replicas: int) -> DeviceMesh:
    ranks = dist.get_world_size()
    if ranks % replicas:
        raise ValueError(f"--replicas {replicas} does not divide the {ranks} ranks")
    if replicas == 1:
        return init_device_mesh(device.type, (ranks,), mesh_dim_names=("shard",))
    names = ("replicate", "shard")
    return init_device_mesh(device.type, (replicas, ranks // replicas), mesh_dim_names=names)
