"""One stored sample to one training sequence: decode, augment, resize, task, tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import xxhash

from cogvlm.data import tasks
from cogvlm.data.augment import MIN_LEFT, Augment, augment
from cogvlm.data.pixels import square
from cogvlm.data.segments import Segment, Text
from cogvlm.data.tasks import Example, Skip, SkipReason, TaskOptions
from cogvlm.data.tokenizer import Tokenizer
from cogvlm.data.tokens import encode
from cogvlm.model.config import ModelConfig
from cogvlm.model.layout import Sample
from shards.access import RawSample
from shards.identity import Domain, choice
from shards.image import ImageError, decode

_ROWS = ("noun_chunks", "ref_exps")  # [start, end, x0, y0, x1, y1, score]

Pixels = Sequence[np.ndarray]


@dataclass(frozen=True)
class SampleMaker:
    """Makes training sequences; holds what they depend on besides the sample."""

    tokenizer: Tokenizer
    template: str
    augment: Augment
    seed: int
    options: TaskOptions = field(default_factory=TaskOptions)

    def make(self, raw: RawSample, task: str, epoch: int, model: ModelConfig) -> Sample:
        """Return the sequence of a stored sample; images are uint8 (3, size, size).

        Args:
            raw: As stored.
            task: What is made of it.
            epoch: How often its shard set was gone through before.
            model: Whose input it is; says the image size and the context.

        Raises:
            Skip: The sample gives nothing.
            shards.access.SampleError: Its JSON is damaged.
        """
        fields: Mapping[str, Any] = raw.fields()
        caption = raw.text.decode("utf-8", "replace")
        images: Pixels = [_decoded(each) for each in raw.images]
        if self.augment.active:
            images, fields = _augmented(
                images, fields, caption, self.augment, self._random(raw.key, epoch)
            )
        size = model.vision.image_size
        example = Example(
            key=raw.key,
            caption=caption,
            images=[square(image, size) for image in images],
            fields=fields,
            template=self.template,
            seed=self.seed,
            epoch=epoch,
            options=self.options,
        )
        segments = tasks.make(task, example)
        _check_text(segments)
        try:
            return encode(segments, self.tokenizer, model)
        except ValueError as error:
            raise Skip(SkipReason.DOES_NOT_FIT, str(error)) from error

    def _random(self, key: str, epoch: int) -> np.random.Generator:
        word = xxhash.xxh3_64_intdigest(f"{key}\0{epoch}".encode())
        bits = choice(Domain.AUGMENT, self.seed, np.array([[word, 0]], np.uint64))
        return np.random.default_rng(int(bits[0]))


def _decoded(data: bytes) -> np.ndarray:
    try:
        return decode(data)
    except ImageError as error:
        raise Skip(SkipReason.IMAGE_DAMAGED, str(error)) from error


def _check_text(segments: Sequence[Segment]) -> None:
    """Raise Skip where a text holds half a surrogate pair: JSON may say so, UTF-8 cannot."""
    for segment in segments:
        try:
            _ = isinstance(segment, Text) and segment.text.encode()
        except UnicodeEncodeError as error:
            raise Skip(SkipReason.JSON_DAMAGED, str(error)) from error


def _augmented(
    images: Pixels,
    fields: Mapping[str, Any],
    caption: str,
    settings: Augment,
    random: np.random.Generator,
) -> tuple[Pixels, Mapping[str, Any]]:
    """Change every image; boxes belong to the only one. A phrase that lost a box is dropped."""
    slots, texts = _slots(fields), _texts(fields, caption)
    if len(images) != 1:
        if slots:
            return images, fields  # nothing says whose boxes they are
        no_boxes_04 = np.zeros((0, 4))
        return [
            augment(image, no_boxes_04, texts, settings, random).image_HW3 for image in images
        ], fields
    boxes_N4 = np.array([box for box, _ in slots], np.float64).reshape(-1, 4)
    changed = augment(images[0], boxes_N4, texts, settings, random)
    spans = [span for _, span in slots]
    lost = {span for span, left in zip(spans, changed.left_N, strict=True) if left < MIN_LEFT}
    if None in lost or (lost and lost == {*spans}):
        return images, fields  # a conversation cannot do without a box, nor a task without any
    return [changed.image_HW3], _with_boxes(fields, iter(changed.boxes_N4.tolist()), lost)


def _texts(fields: Mapping[str, Any], caption: str) -> list[str]:
    """Return all that is said of a sample's images."""
    items = fields.get("items")
    texts = [str(item) for item in items] if isinstance(items, list) else []
    texts += [str(turn.get("content")) for turn in tasks.conversation(fields)]
    return [caption, *texts]


def _slots(fields: Mapping[str, Any]) -> list[tuple[Sequence[float], tuple[int, int] | None]]:
    """Return every box of a sample with its phrase's span, in the order of `_with_boxes`."""
    rows = [row for name in _ROWS for row in tasks.box_rows(fields, name)]
    spoken = [
        box
        for turn in tasks.conversation(fields)
        for entry in turn.get("boxes") or ()
        for box in entry
    ]
    of_phrases = [(row[2:6], (int(row[0]), int(row[1]))) for row in rows]
    return [*of_phrases, *((box, None) for box in spoken)]


def _with_boxes(
    fields: Mapping[str, Any], boxes: Iterator[list[float]], lost: set[tuple[int, int] | None]
) -> Mapping[str, Any]:
    """Return the fields with other boxes, in the order of `_slots`."""
    changed = dict(fields)
    for name in _ROWS:
        rows = [[*row[:2], *next(boxes), *row[6:]] for row in fields.get(name) or ()]
        changed[name] = [row for row in rows if (int(row[0]), int(row[1])) not in lost]
    if "conversations" in fields:
        changed["conversations"] = [
            {**turn, "boxes": [[next(boxes) for _ in entry] for entry in turn.get("boxes") or ()]}
            for turn in fields["conversations"] or ()
        ]
    return changed


def packed(samples: Sequence[Sample], tokens: int) -> list[list[Sample]]:
    """Return rows of at most so many tokens: each sample goes into the first row with room.

    Samples longer than a row come alone; the caller has left those out.
    """
    rows: list[list[Sample]] = []
    room: list[int] = []
    for sample in samples:
        at = next((nth for nth, left in enumerate(room) if len(sample.ids) <= left), None)
        if at is None:
            rows.append([])
            room.append(tokens)
            at = len(rows) - 1
        rows[at].append(sample)
        room[at] -= len(sample.ids)
    return rows


def stacked(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples with their images in one block of memory: one hand-over per process."""
    images = [image for sample in samples for image in sample.images]
    if not images:
        return list(samples)
    together = iter(torch.stack(images))
    return [replace(sample, images=[next(together) for _ in sample.images]) for sample in samples]
