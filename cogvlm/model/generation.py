"""Generate text: greedy, by temperature or by top-p, for a whole batch, a token at a time.

Shape letters: B rows, W words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cogvlm.model.cache import Cache
from cogvlm.model.decoder import CogVLM
from cogvlm.model.layout import Batch, step


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen and when to stop."""

    max_new_tokens: int = 256
    """Tokens to add at most; the model's context ends a row too."""
    temperature: float = 0.0
    """0 takes the likeliest token; else logits are divided by it."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability are drawn from."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1")
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; it must be at least 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be in (0, 1]")


@torch.inference_mode()
def generate(model: CogVLM, batch: Batch, sampling: Sampling) -> Iterator[Tensor]:
    """Yield the next token of every row, (B,) int64, until all rows have ended.

    A row ends with the model's eos_id or one of its stop_ids, which is yielded; then pad_id.

    Args:
        model: In evaluation mode.
        batch: Prompts from `layout.collate`, padded at the left where lengths differ.
        sampling: Choice of tokens and length.

    Raises:
        ValueError: The prompts fill the model's context.
    """
    config = model.config
    rows, length = batch.route.shape
    if length >= config.max_positions:
        raise ValueError(
            f"the prompt has {length} tokens; the model's context of {config.max_positions} leaves "
            "no room for an answer"
        )
    room = min(sampling.max_new_tokens, config.max_positions - length)
    cache = Cache(config, rows, length + room)
    stops = torch.tensor([config.eos_id, *config.stop_ids], device=batch.ids_BL.device)
    random = torch.Generator(device=batch.ids_BL.device).manual_seed(sampling.seed)
    positions_AB = batch.positions_ABL[:, :, -1]
    has_ended_B = torch.zeros(rows, dtype=torch.bool, device=batch.ids_BL.device)
    for _ in range(room):
        logits_BW = model.next_logits(batch, cache)
        ids_B = choose(logits_BW, sampling, random).masked_fill(has_ended_B, config.pad_id)
        yield ids_B
        has_ended_B = has_ended_B | torch.isin(ids_B, stops)
        if has_ended_B.all():
            return
        positions_AB = positions_AB + 1
        batch = step(ids_B, positions_AB)


def choose(logits_BW: Tensor, sampling: Sampling, random: torch.Generator) -> Tensor:
    """Return one token for each row, (B,) int64."""
    if sampling.temperature == 0:
        return logits_BW.argmax(dim=-1)
    chances_BW, order_BW = (logits_BW / sampling.temperature).softmax(-1).sort(-1, descending=True)
    likelier_BW = chances_BW.cumsum(-1) - chances_BW  # what all likelier tokens have together
    chances_BW = chances_BW.masked_fill(likelier_BW >= sampling.top_p, 0.0)
    place_B1 = torch.multinomial(chances_BW, 1, generator=random)
    return order_BW.gather(1, place_B1)[:, 0]
