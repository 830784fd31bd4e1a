"""Images and examples of questions, chosen by hashes: the same on every machine."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import xxhash

from cogvlm.data import tasks
from cogvlm.evaluation.prompts import Images, Shot
from cogvlm.evaluation.questions import Maker, Question, UnusableError
from shards.access import RawSample, SampleError, SampleReader
from shards.dataset import Dataset

_TRIES = 100  # of samples in a row that are no example


@dataclass(frozen=True)
class Own:
    """The images that belong to a question."""

    reader: SampleReader

    def of(self, question: Question) -> Images:
        """Return them, encoded. Raises SampleError."""
        return self.reader.read(*question.place).images


class Shuffled:
    """The images of another sample for each sample: what a model knows without looking.

    Samples stand in a ring, ordered by a hash of their keys; each takes the images of the next one
    that has as many and not the same.
    """

    def __init__(self, reader: SampleReader, questions: Sequence[Question]) -> None:
        """Prepare the images of some questions' samples."""
        self._reader = reader
        keys = {question.place: question.key for question in questions}
        self._ring = _Ring(reader, sorted(keys, key=lambda place: (_hash(keys[place]), place)))

    def of(self, question: Question) -> Images:
        """Return the images of another sample.

        Raises:
            SampleError: The sample cannot be read.
            ValueError: No other sample has as many images, and others.
        """
        raw = self._reader.read(*question.place)
        return self._ring.others(question.place, raw).images


def shuffled_samples(
    reader: SampleReader, places: Sequence[tuple[int, int]]
) -> Iterator[RawSample | SampleError]:
    """Yield samples, each with the images of another; raises as `Shuffled`."""
    ring = _Ring(reader, sorted(places, key=lambda place: (_hash(f"{place}"), place)))
    for place, raw in zip(places, reader.read_many(places), strict=True):
        yield raw if isinstance(raw, SampleError) else ring.others(place, raw)


class _Ring:
    """Samples in a circle."""

    def __init__(self, reader: SampleReader, places: Sequence[tuple[int, int]]) -> None:
        self._reader, self._places = reader, places
        self._at = {place: number for number, place in enumerate(places)}

    def others(self, place: tuple[int, int], raw: RawSample) -> RawSample:
        """Return a sample with the images of the next one that has as many, and others."""
        if not raw.images:
            return raw
        at = self._at[place]
        for step in range(1, len(self._places)):
            try:
                images = self._reader.read(*self._places[(at + step) % len(self._places)]).images
            except SampleError:
                continue
            if len(images) == len(raw.images) and images != raw.images:
                return replace(raw, images=images)
        raise ValueError(
            f"--blind shuffled: no other evaluated sample has {len(raw.images)} other image(s) "
            f"than {raw.key}; evaluate more samples"
        )


class Shots:
    """Examples before a question, out of a shard set."""

    def __init__(self, dataset: Dataset, maker: Maker, count: int) -> None:
        """Prepare `count` examples for each question."""
        self._dataset, self._maker, self._count = dataset, maker, count
        self._reader = SampleReader(dataset)
        self._ends = list(accumulate(dataset.counts))

    def of(self, question: Question, images: Images) -> list[Shot]:
        """Return the examples of a question, drawn by a hash of its key; never its own image.

        Raises:
            ValueError: The shard set does not have so many.
        """
        shots: list[Shot] = []
        taken: set[tuple[int, int]] = set()
        for attempt in range(self._count + _TRIES):
            if len(shots) == self._count:
                break
            place = self._place(_hash(f"{question.key}\0{attempt}") % self._dataset.samples)
            if place in taken:
                continue
            taken.add(place)
            shot = self._shot(place)
            if shot and shot[0].key != question.key and not {*shot[1]} & {*images}:
                shots.append(shot)
        if len(shots) < self._count:
            raise ValueError(
                f"--shots {self._count}: {self._dataset.spec} gave {len(shots)} examples for "
                f"{question.key}; give a larger set with --shots_from"
            )
        return shots

    def _shot(self, place: tuple[int, int]) -> Shot | None:
        try:
            raw = self._reader.read(*place)
            questions = self._maker.questions(raw, place)
        except (SampleError, tasks.Skip, UnusableError):
            return None
        return questions[_hash(raw.key) % len(questions)], raw.images

    def _place(self, number: int) -> tuple[int, int]:
        shard = bisect_right(self._ends, number)
        return shard, number - (self._ends[shard - 1] if shard else 0)


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())
