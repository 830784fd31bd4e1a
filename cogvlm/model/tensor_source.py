"""How one tensor of ours is made from tensors of another naming. Importing this module is free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TensorSource:
    """Which tensors one is made from, and how."""

    names: tuple[str, ...]  # in the other naming; `make` gets them in this order
    make: Callable[..., Tensor] = lambda tensor: tensor
