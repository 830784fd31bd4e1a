"""A model's answers to questions, in batches, and how likely it holds given ones.

A prompt that leaves no room for its answer is answered with nothing, which is wrong; a sample whose
image cannot be used is left out. Both are counted by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

import torch

from cogvlm.data.pixels import normalise
from cogvlm.data.sequences import SampleMaker
from cogvlm.data.tasks import Skip
from cogvlm.evaluation.generated import answers
from cogvlm.evaluation.pictures import Shots
from cogvlm.evaluation.prompts import Images, Prompter, Shot
from cogvlm.evaluation.questions import Question
from cogvlm.model.decoder import CogVLM
from cogvlm.model.generation import Sampling
from cogvlm.model.layout import Sample, collate
from shards.access import RawSample, SampleError
from shards.image import ImageError


class ImagesOf(Protocol):
    """Where the images of a question come from."""

    def of(self, question: Question) -> Images:
        """Return encoded images. Raises SampleError."""
        ...


@dataclass
class Answered:
    """Questions that could be asked, each with its answer."""

    questions: list[Question] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    nats: list[list[tuple[float, int]]] = field(default_factory=list)  # loss and tokens by choice
    left_out: Counter[str] = field(default_factory=Counter)  # questions, by reason
    unanswered: Counter[str] = field(default_factory=Counter)  # wrong ones, by reason


@dataclass(frozen=True)
class Answerer:
    """A model that is asked."""

    model: CogVLM
    prompter: Prompter
    images: ImagesOf
    shots: Shots | None
    batch: int

    def answer(self, questions: Sequence[Question], max_new_tokens: int) -> Answered:
        """Return the likeliest answers, a token at a time."""
        answered = Answered()
        prompts = self._prompts(questions, answered)
        while part := list(islice(prompts, self.batch)):
            for (question, _), answer in zip(part, self._said(part, max_new_tokens), strict=True):
                answered.questions.append(question)
                answered.answers.append(answer)
        return answered

    def weigh(self, questions: Sequence[Question]) -> Answered:
        """Return how likely each choice of each question is as the answer."""
        answered = Answered()
        for question in questions:
            usable = self._pictured(question, answered)
            if usable is None:
                continue
            try:
                samples = [
                    self.prompter.with_answer(question, *usable, choice)
                    for choice in question.choices
                ]
            except ImageError:
                answered.left_out["image_damaged"] += 1
                continue
            except ValueError:
                answered.left_out["does_not_fit"] += 1  # without a loss there is no choice to count
                continue
            answered.questions.append(question)
            answered.nats.append([losses(self.model, [sample]) for sample in samples])
        return answered

    def _prompts(
        self, questions: Iterable[Question], answered: Answered
    ) -> Iterator[tuple[Question, Sample | None]]:
        """Yield the prompt of each question; None where it does not fit."""
        for question in questions:
            usable = self._pictured(question, answered)
            if usable is None:
                continue
            prompt: Sample | None = None
            try:
                prompt = self.prompter.prompt(question, *usable)
            except ImageError:
                answered.left_out["image_damaged"] += 1
                continue
            except ValueError:
                answered.unanswered["does_not_fit"] += 1
            if prompt and len(prompt.ids) >= self.model.config.max_positions:
                answered.unanswered["does_not_fit"] += 1
                prompt = None
            yield question, prompt

    def _pictured(
        self, question: Question, answered: Answered
    ) -> tuple[Images, Sequence[Shot]] | None:
        try:
            images = self.images.of(question)
        except SampleError as error:
            answered.left_out[error.reason] += 1
            return None
        return images, self.shots.of(question, images) if self.shots else ()

    def _said(
        self, part: Sequence[tuple[Question, Sample | None]], max_new_tokens: int
    ) -> list[str]:
        """Return the answers of a batch; nothing where there is no prompt.

        A prompt near the end of the context shares a batch with others of its length only: a
        longer one would leave it less room, and an answer must not depend on its neighbours.
        """
        sampling = Sampling(max_new_tokens=max_new_tokens)
        most = self.model.config.max_positions - max_new_tokens
        groups: dict[int, list[int]] = {}
        for at, (_, prompt) in enumerate(part):
            if prompt is not None:
                groups.setdefault(max(most, len(prompt.ids)), []).append(at)
        texts = [""] * len(part)
        for places in groups.values():
            prompts = [prompt for at in places if (prompt := part[at][1]) is not None]
            generated = answers(self.model, prompts, sampling, self.prompter.tokenizer)
            for at, answer in zip(places, generated, strict=True):
                texts[at] = answer
        return texts


@torch.inference_mode()
def losses(model: CogVLM, samples: Sequence[Sample]) -> tuple[float, int]:
    """Return the loss of all targets in nats, and their number."""
    batch = collate([[sample] for sample in samples], model.config)
    batch = batch.to(next(model.parameters()).device)
    if batch.images_ICHW is not None and batch.images_ICHW.dtype == torch.uint8:
        pixels = normalise(batch.images_ICHW, model.config.vision)
        batch = replace(batch, images_ICHW=pixels)
    total, count = model.loss(batch)
    return float(total), int(count)


@dataclass
class Perplexity:
    """What targets cost."""

    nats: float = 0.0
    targets: int = 0
    samples: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def perplexity(
    model: CogVLM,
    maker: SampleMaker,
    task: str,
    samples: Iterable[RawSample | SampleError],
    batch: int,
) -> Perplexity:
    """Return the loss of samples as they would be trained on, prompts of the first epoch."""
    result = Perplexity()

    def made() -> Iterator[Sample]:
        for raw in samples:
            try:
                if isinstance(raw, SampleError):
                    raise raw
                yield maker.make(raw, task, 0, model.config)
            except (Skip, SampleError) as error:
                result.left_out[str(error.reason)] += 1

    sequences = made()
    while part := list(islice(sequences, batch)):
        nats, targets = losses(model, part)
        result.nats += nats
        result.targets += targets
        result.samples += len(part)
    return result
