"""The visual expert: two streams of tokens, each with its own weights (paper, section 2.1).

The residual stream stays split in two contiguous matrices through the whole decoder: text_TD,
whose rows meet the language model's weights, and vision_VD, whose rows meet the expert's. They
are joined into sequence order for attention only. No boolean mask is evaluated on the device.

Shape letters: N = T + V tokens of the batch in sequence order, T language, V vision tokens,
D and E channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cogvlm.model.config import ExpertPart, ModelConfig
from cogvlm.model.layout import Route


def _take(both_ND: Tensor, language_T: Tensor, vision_V: Tensor) -> tuple[Tensor, Tensor]:
    return both_ND.index_select(0, language_T), both_ND.index_select(0, vision_V)


def _put(text_TD: Tensor, vision_VD: Tensor, language_T: Tensor, vision_V: Tensor) -> Tensor:
    both_ND = text_TD.new_empty(len(language_T) + len(vision_V), text_TD.shape[1])
    both_ND.index_copy_(0, language_T, text_TD)
    return both_ND.index_copy_(0, vision_V, vision_VD)


class _Split(torch.autograd.Function):
    """One stream to two. Its gradient is the join: nothing is zero-filled or added up."""

    @staticmethod
    def forward(ctx: Any, both_ND: Tensor, language_T: Tensor, vision_V: Tensor) -> Any:
        ctx.save_for_backward(language_T, vision_V)
        return _take(both_ND, language_T, vision_V)

    @staticmethod
    def backward(ctx: Any, text_TD: Tensor, vision_VD: Tensor) -> Any:
        return _put(text_TD, vision_VD, *ctx.saved_tensors), None, None


class _Join(torch.autograd.Function):
    """Two streams to one; its gradient is the split."""

    @staticmethod
    def forward(
        ctx: Any, text_TD: Tensor, vision_VD: Tensor, language_T: Tensor, vision_V: Tensor
    ) -> Any:
        ctx.save_for_backward(language_T, vision_V)
        return _put(text_TD, vision_VD, language_T, vision_V)

    @staticmethod
    def backward(ctx: Any, both_ND: Tensor) -> Any:
        return *_take(both_ND, *ctx.saved_tensors), None, None


def split(both_ND: Tensor, route: Route) -> tuple[Tensor, Tensor]:
    """Return the language and the vision tokens of a batch, (T, D) and (V, D)."""
    return _Split.apply(both_ND, route.language_T, route.vision_V)


def join(text_TD: Tensor, vision_VD: Tensor, route: Route) -> Tensor:
    """Return the tokens of both streams in sequence order, (N, D)."""
    return _Join.apply(text_TD, vision_VD, route.language_T, route.vision_V)


class LowRank(nn.Module):
    """A low-rank difference to a matrix: expert.kind `lora` (authors' rebuttal, rank 128)."""

    def __init__(self, config: ModelConfig, in_size: int, out_size: int) -> None:
        super().__init__()
        rank = config.expert.rank
        self.scale = config.expert.alpha / rank
        self.lora_A = nn.Linear(in_size, rank, bias=False)
        self.lora_B = nn.Linear(rank, out_size, bias=False)

    def forward(self, x_VD: Tensor) -> Tensor:
        """Return the difference only, (V, E)."""
        return self.lora_B(self.lora_A(x_VD)) * self.scale


def expert_matrix(
    config: ModelConfig, layer: int, part: ExpertPart, in_size: int, out_size: int
) -> nn.Module | None:
    """Return a vision matrix of a layer, or None where image tokens use the language one."""
    if part not in config.expert.parts_of(layer):
        return None
    if config.expert.kind == "lora":
        return LowRank(config, in_size, out_size)
    return nn.Linear(in_size, out_size, bias=part == "qkv" and config.expert.qkv_bias)


def for_vision(expert: nn.Module | None, language: nn.Module, x_VD: Tensor) -> Tensor:
    """Apply what a layer has for image tokens: a matrix of its own, a difference, or neither."""
    if expert is None:
        return language(x_VD)
    if isinstance(expert, LowRank):
        return language(x_VD) + expert(x_VD)
    return expert(x_VD)


class SwiGLU(nn.Module):
    """down(SiLU(gate(x)) * up(x)), without biases."""

    def __init__(self, config: ModelConfig, matrix: Callable[[int, int], Any]) -> None:
        super().__init__()
        self.gate_proj = matrix(config.hidden_size, config.mlp_size)
        self.up_proj = matrix(config.hidden_size, config.mlp_size)
        self.down_proj = matrix(config.mlp_size, config.hidden_size)

    def forward(self, x_TD: Tensor, language: SwiGLU | None = None) -> Tensor:
        """Return (T, D); `language` is the MLP that low-rank matrices are differences to."""
        base = language or self
        gate_TE = for_vision(self.gate_proj, base.gate_proj, x_TD)
        up_TE = for_vision(self.up_proj, base.up_proj, x_TD)
        return for_vision(self.down_proj, base.down_proj, F.silu(gate_TE) * up_TE)


class ExpertMLP(nn.Module):
    """The MLP of a layer: one for language tokens, one for vision tokens."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.language_mlp = SwiGLU(config, partial(nn.Linear, bias=False))
        self.vision_mlp = None
        if "ffn" in config.expert.parts_of(layer):
            self.vision_mlp = SwiGLU(config, partial(expert_matrix, config, layer, "ffn"))

    def forward(self, text_TD: Tensor, vision_VD: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the MLP adds to each stream, (T, D) and (V, D)."""
        text = self.language_mlp(text_TD)
        if self.vision_mlp is None:
            return text, self.language_mlp(vision_VD)
        return text, self.vision_mlp(vision_VD, self.language_mlp)
