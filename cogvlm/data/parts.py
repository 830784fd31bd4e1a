"""What a loader process makes of a step: its streams' samples, as sequences with uint8 images.

A sample that cannot be used leaves its slot empty and is counted; so the state of the data is the
number of the step and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from cogvlm.data import tasks
from cogvlm.data.augment import Augment
from cogvlm.data.mixture import Component
from cogvlm.data.order import Draw, Schedule
from cogvlm.data.sequences import SampleMaker, stacked
from cogvlm.data.tasks import Skip, SkipReason, TaskOptions
from cogvlm.data.tokenizer import Tokenizer
from cogvlm.model.config import ModelConfig, resized
from cogvlm.model.layout import Sample
from shards.access import RawSample, SampleError, SampleReader


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """All that decides what a run is fed; every loader process gets a copy."""

    components: tuple[Component, ...]
    model: ModelConfig
    tokenizer: str  # file
    template: str
    seed: int
    window: int
    streams: int  # L
    global_batch: int  # G
    resolution: Callable[[int], int]  # step to input side in pixels, 0: the model's
    augment: Augment = field(default_factory=Augment)
    options: TaskOptions = field(default_factory=TaskOptions)
    pack_tokens: int = 0
    error_budget: int = 100

    @cached_property
    def schedule(self) -> Schedule:
        """Return which sample comes when."""
        return Schedule(
            [component.dataset.counts for component in self.components],
            [component.weight for component in self.components],
            seed=self.seed,
            window=self.window,
            streams=self.streams,
            global_batch=self.global_batch,
        )

    def maker(self) -> SampleMaker:
        """Return what makes sequences of samples; it opens the tokenizer."""
        tokenizer = Tokenizer(self.tokenizer)
        return SampleMaker(tokenizer, self.template, self.augment, self.seed, self.options)

    def model_at(self, step: int) -> ModelConfig:
        """Return the model's config at a step."""
        size = self.resolution(step)
        return resized(self.model, size) if size else self.model

    def identity(self) -> dict[str, Any]:
        """Return what two runs must share so that a step number means the same to both."""
        return {
            "data": [component.identity() for component in self.components],
            "seed": self.seed,
            "window": self.window,
            "streams": self.streams,
            "global_batch": self.global_batch,
        }


@dataclass(frozen=True)
class Skipped:
    """A slot that stayed empty because its sample could not be used."""

    dataset: str  # as the user named it
    shard: str
    key: str | None
    reason: SkipReason
    detail: str


@dataclass(frozen=True)
class Part:
    """What one process makes of one step."""

    step: int
    streams: dict[int, list[tuple[str, Sample]]]  # key and sequence of each slot that is filled
    slots: int
    skipped: tuple[Skipped, ...]
    error: str = ""  # why there will be no more parts


class PartReader(IterableDataset[Part]):
    """The parts of a rank, one step after the other; every loader process makes its own."""

    def __init__(self, plan: DataPlan, *, rank: int, ranks: int, steps: range) -> None:
        self._plan, self._rank, self._ranks, self._steps = plan, rank, ranks, steps

    def __iter__(self) -> Iterator[Part]:
        """Yield this process's part of every step."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        # Every stream has one reader, and the streams of all readers are the same set for any ranks
        # and workers: that is why a run resumes with others. Only L must be a multiple of them.
        streams = range(
            self._rank + worker * self._ranks, self._plan.streams, self._ranks * workers
        )
        make = _PartMaker(self._plan)
        for step in self._steps:
            try:
                part = make(step, streams)
            except _BudgetSpentError as error:
                # As data: torch puts the traceback of a process in front of what it raises.
                yield Part(step, {}, 0, (), str(error))
                return
            yield part


class _BudgetSpentError(ValueError):
    """Too many samples in a row could not be used."""


class _PartMaker:
    """Makes parts; owns the open shards of a process."""

    def __init__(self, plan: DataPlan) -> None:
        self._plan = plan
        self._readers = [SampleReader(component.dataset) for component in plan.components]
        self._maker = plan.maker()
        self._failed_in_a_row = 0

    def __call__(self, step: int, streams: Sequence[int]) -> Part:
        model = self._plan.model_at(step)
        slots = [
            (stream, draw) for stream in streams for draw in self._plan.schedule.draws(stream, step)
        ]
        # A slot without a sample stays empty. Filling it with the next sample would make the order
        # depend on what is damaged, and a step number would no longer be a state.
        filled: list[tuple[int, str, Sample]] = []
        skipped: list[Skipped] = []
        for (stream, draw), raw in zip(slots, self._read(slots), strict=True):
            if draw is None or raw is None:
                continue
            try:
                filled.append((stream, *self._sample(draw, raw, model)))
                self._failed_in_a_row = 0
            except (Skip, SampleError) as error:
                skipped.append(self._skipped(draw, raw, error))
                self._count_failure(skipped[-1])
        # One block of memory for all images of a step: each tensor is handed over in a file of its
        # own, and a process may open only so many.
        sequences = stacked([sample for _, _, sample in filled])
        by_stream: dict[int, list[tuple[str, Sample]]] = {stream: [] for stream in streams}
        for (stream, key, _), sample in zip(filled, sequences, strict=True):
            by_stream[stream].append((key, sample))
        return Part(step, by_stream, len(slots), tuple(skipped))

    def _read(
        self, slots: Sequence[tuple[int, Draw | None]]
    ) -> Iterator[RawSample | SampleError | None]:
        """Yield what every slot holds, in the order of the slots.

        A shard set has one iterator, which reads ahead where storage is slow. It yields the draws
        of its set in their order, so its next sample belongs to the slot.
        """
        reads = [
            reader.read_many(
                [(draw.shard, draw.row) for _, draw in slots if draw and draw.dataset == number]
            )
            for number, reader in enumerate(self._readers)
        ]
        for _, draw in slots:
            yield next(reads[draw.dataset]) if draw else None

    def _sample(
        self, draw: Draw, raw: RawSample | SampleError, model: ModelConfig
    ) -> tuple[str, Sample]:
        if isinstance(raw, SampleError):
            raise raw
        task = self._plan.components[draw.dataset].task
        sample = self._maker.make(raw, task, draw.epoch, model)
        if self._plan.pack_tokens and len(sample.ids) > self._plan.pack_tokens:
            too_long = f"{len(sample.ids)} tokens in rows of {self._plan.pack_tokens}"
            raise Skip(SkipReason.DOES_NOT_FIT, too_long)
        return raw.key, sample

    def _skipped(
        self, draw: Draw, raw: RawSample | SampleError, error: Skip | SampleError
    ) -> Skipped:
        dataset = self._plan.components[draw.dataset].dataset
        return Skipped(
            dataset=dataset.spec,
            shard=dataset.shards[draw.shard],
            key=raw.key,
            reason=SkipReason(error.reason),
            detail=error.detail,
        )

    def _count_failure(self, last: Skipped) -> None:
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= self._plan.error_budget:
            raise _BudgetSpentError(
                f"{self._failed_in_a_row} samples in a row could not be used; the last one: "
                f"{last.dataset}, shard {last.shard}, key {last.key}: {last.reason} "
                f"({last.detail}). Check the shards with python -m pipelines.lint, or the task"
            )


def check(components: Sequence[Component]) -> None:
    """Raise ValueError where a task cannot be made of a shard set's samples."""
    for component in components:
        dataset, allowed = component.dataset, tasks.TASKS[component.task].levels
        if dataset.level not in allowed:
            may_become = dataset.level == "image_text" and "grounded" in allowed
            raise ValueError(
                f"{dataset.spec} holds {dataset.level} samples, but task {component.task} needs "
                f"{' or '.join(allowed)}; give another task, or "
                f"{'ground the run first' if may_become else 'other shards'}"
            )


def tokenizer_file(path: str) -> str:
    """Return the file of a tokenizer that was given as a file or its folder."""
    return Tokenizer(Path(path)).place
