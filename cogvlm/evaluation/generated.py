"""Answers that a model generates: several prompts as one batch, a token at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cogvlm.data.tokenizer import Tokenizer
from cogvlm.model.decoder import CogVLM
from cogvlm.model.generation import Sampling, generate
from cogvlm.model.layout import Sample, collate


def answers(
    model: CogVLM, samples: Sequence[Sample], sampling: Sampling, tokenizer: Tokenizer
) -> list[str]:
    """Return the answers to several prompts, generated as one batch.

    Raises:
        ValueError: A prompt leaves no room for an answer in the model's context.
    """
    tokens: list[list[int]] = [[] for _ in samples]
    for ids in tokens_of(model, samples, sampling):
        for answer, token in zip(tokens, ids, strict=True):
            answer.append(token)
    ends = {model.config.eos_id, *model.config.stop_ids}
    return [tokenizer.decode(_until(answer, ends)).strip() for answer in tokens]


def tokens_of(model: CogVLM, samples: Sequence[Sample], sampling: Sampling) -> Iterator[list[int]]:
    """Yield the next token of every sample, generated as one batch."""
    device = next(model.parameters()).device
    batch = collate([[sample] for sample in samples], model.config, side="left")
    for ids in generate(model, batch.to(device), sampling):
        yield ids.tolist()


def _until(tokens: list[int], ends: set[int]) -> list[int]:
    """Return the tokens before the first that ends an answer."""
    return tokens[: next((at for at, token in enumerate(tokens) if token in ends), None)]
