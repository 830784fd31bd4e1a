"""Keys and values of the tokens so far, for generation.

Shape letters as in `model`; M is the capacity in tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cogvlm.model.config import ModelConfig
from cogvlm.model.layout import Batch


class Cache:
    """Room for `capacity` tokens of every row; the layers fill it in place."""

    def __init__(self, config: ModelConfig, rows: int, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self.documents_BM: Tensor | None = None  # as Batch.documents_BL; None: no padding
        self._shape = rows, config.num_kv_heads, capacity, config.head_size
        self._kept: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def extend(self, layer: nn.Module, k_BKLC: Tensor, v_BKLC: Tensor) -> tuple[Tensor, Tensor]:
        """Add a layer's new keys and values; returns all of them, (B, K, length + L, C)."""
        if layer not in self._kept:
            self._kept[layer] = k_BKLC.new_empty(self._shape), v_BKLC.new_empty(self._shape)
        end = self.length + k_BKLC.shape[2]
        assert end <= self.capacity, f"cache of {self.capacity} tokens given {end}"
        k_BKMC, v_BKMC = self._kept[layer]
        k_BKMC[:, :, self.length : end] = k_BKLC
        v_BKMC[:, :, self.length : end] = v_BKLC
        return k_BKMC[:, :, :end], v_BKMC[:, :, :end]

    def advance(self, batch: Batch) -> None:
        """Count a batch's tokens as seen; called once all layers have them."""
        rows, length = batch.route.shape
        if self.length == 0 and batch.documents_BL is not None:
            self.documents_BM = torch.ones(
                rows, self.capacity, dtype=torch.long, device=batch.ids_BL.device
            )
            self.documents_BM[:, :length] = batch.documents_BL
        self.length += length
