"""Where the tokens of a batch go: which weights they use, which position they have, whom they see.

Samples with explicit image spans go in, a `Batch` of index tensors comes out. Everything that
depends on the data is decided here, on the CPU, so that the model's shapes are known from the
batch's: no boolean mask is turned into indices on a device.

Shape letters: B rows, L positions of a row, N = B * L, I images, S positions of an image's span,
T tokens for the language weights, V tokens for the vision expert (T + V = N), A position axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal

import torch
from torch import Tensor

from cogvlm.model.config import ModelConfig

IGNORE = -100


@dataclass(frozen=True)
class Sample:
    """One training or inference sequence, images already expanded to their slots."""

    ids: list[int]  # tokens; image slots hold the pad id
    labels: list[int]  # unshifted: the token itself where it is a target, else IGNORE
    spans: list[tuple[int, int]] = field(default_factory=list)  # image slots, end-exclusive
    images: list[Tensor] = field(default_factory=list)  # (3, size, size) float32, or uint8


@dataclass(frozen=True)
class Route:
    """Which rows of the flattened batch use which weights; both index lists ascend."""

    language_T: Tensor  # int64
    vision_V: Tensor  # int64
    shape: tuple[int, int]  # B, L


@dataclass(frozen=True)
class Batch:
    """What the model is called with."""

    ids_BL: Tensor  # int64
    positions_ABL: Tensor  # int64; two axes with position.image 2d, else one
    route: Route
    slots_IS: Tensor  # int64: places of the image spans in the flattened batch
    images_ICHW: Tensor | None  # normalised pixels; None: the tower does not run at all
    documents_BL: Tensor | None = None  # int64: 0 padding, else the sample; None: plain causal
    image_of_BL: Tensor | None = None  # int64: 0 text, else the image, with attn.image_mask full
    labels_BL: Tensor | None = None  # int64, unshifted
    heads_T: Tensor | None = None  # int64: language tokens that targets may follow; None: all

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with all tensors on a device."""
        return self.apply(lambda tensor: tensor.to(device, non_blocking=True))

    def apply(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with every tensor changed."""
        changed = {
            each.name: change(value)
            for each in fields(self)
            if isinstance(value := getattr(self, each.name), Tensor)
        }
        route = replace(
            self.route,
            language_T=change(self.route.language_T),
            vision_V=change(self.route.vision_V),
        )
        return replace(self, route=route, **changed)


def collate(
    rows: Sequence[Sequence[Sample]],
    config: ModelConfig,
    *,
    length: int | None = None,
    side: Literal["right", "left"] = "right",
) -> Batch:
    """Put samples into rows of equal length.

    A row with several samples is packed: they do not see each other, and each starts at
    position 0. The same samples give the same numbers padded on either side or packed.

    Args:
        rows: The samples of each row.
        config: The model that will see the batch.
        length: Tokens of a row; default: the longest row's.
        side: Where padding goes.

    Raises:
        ValueError: A row is longer than `length`, a sample longer than the model's context, or
            its spans do not fit its images or the model.
    """
    for row in rows:
        for sample in row:
            _check(sample, config)
    sizes = [sum(len(sample.ids) for sample in row) for row in rows]
    length = max(sizes) if length is None else length
    if max(sizes) > length:
        raise ValueError(f"a row holds {max(sizes)} tokens, but only {length} fit")
    flat = [_lay_out(row, config, length, side) for row in rows]
    starts = [
        number * length + start for number, row in enumerate(flat) for start in row.span_starts
    ]
    slots_IS = torch.tensor(starts).view(-1, 1).long() + torch.arange(config.span_size)
    images = [image for row in rows for sample in row for image in sample.images]
    size = config.vision.image_size
    masked = any(len(row) > 1 for row in rows) or (side == "left" and min(sizes) < length)
    full = config.attn.image_mask == "full"
    return Batch(
        ids_BL=torch.stack([row.ids_L for row in flat]),
        labels_BL=torch.stack([row.labels_L for row in flat]),
        positions_ABL=torch.stack([row.positions_AL for row in flat], dim=1),
        documents_BL=torch.stack([row.documents_L for row in flat]) if masked else None,
        image_of_BL=_image_of(slots_IS, (len(rows), length)) if full else None,
        route=_route(slots_IS, (len(rows), length), config.has_experts),
        heads_T=None if config.has_experts else _outside(slots_IS, len(rows) * length),
        slots_IS=slots_IS,
        images_ICHW=torch.stack(images) if images else torch.zeros(0, 3, size, size),
    )


def step(ids_B: Tensor, positions_AB: Tensor) -> Batch:
    """Return the batch of one decoding step: one text token a row."""
    rows = ids_B.numel()
    everything = torch.arange(rows, device=ids_B.device)
    return Batch(
        ids_BL=ids_B[:, None],
        positions_ABL=positions_AB[:, :, None],
        route=Route(language_T=everything, vision_V=everything[:0], shape=(rows, 1)),
        slots_IS=everything[:0, None],
        images_ICHW=None,
    )


@dataclass(frozen=True)
class _Row:
    ids_L: Tensor
    labels_L: Tensor
    documents_L: Tensor
    positions_AL: Tensor
    span_starts: list[int]


def _check(sample: Sample, config: ModelConfig) -> None:
    if len(sample.ids) > config.max_positions:
        raise ValueError(
            f"a sample has {len(sample.ids)} tokens; the model's context is {config.max_positions}"
        )
    if len(sample.labels) != len(sample.ids):
        raise ValueError(f"{len(sample.labels)} labels for {len(sample.ids)} tokens")
    if len(sample.spans) != len(sample.images):
        raise ValueError(f"{len(sample.images)} images for {len(sample.spans)} image spans")
    end_before = 0
    for start, end in sample.spans:
        if end - start != config.span_size:
            raise ValueError(
                f"an image span has {end - start} slots; this model's images take "
                f"{config.span_size}"
            )
        if start < end_before or end > len(sample.ids):
            raise ValueError(f"image span {start}..{end} overlaps another or the sample's end")
        if any(label != IGNORE for label in sample.labels[start:end]):
            raise ValueError(f"image span {start}..{end} has labels; images are never targets")
        end_before = end
    shape = (3, config.vision.image_size, config.vision.image_size)
    for image in sample.images:
        if tuple(image.shape) != shape:
            raise ValueError(f"an image has shape {tuple(image.shape)}; the model takes {shape}")


def _lay_out(row: Sequence[Sample], config: ModelConfig, length: int, side: str) -> _Row:
    """Join a row's samples and pad it.

    Padding has label IGNORE and document 0, so nothing looks at it; only its positions need care.
    """
    ids: list[int] = []
    labels: list[int] = []
    documents: list[int] = []
    positions: list[Tensor] = []
    starts: list[int] = []
    for number, sample in enumerate(row, start=1):
        starts += [len(ids) + start for start, _ in sample.spans]
        ids += sample.ids
        labels += sample.labels
        documents += [number] * len(sample.ids)
        positions.append(_positions(sample, config))
    axes = 2 if config.position.image == "2d" else 1
    positions_AL = torch.cat([torch.zeros(axes, 0).long(), *positions], dim=1)
    before = length - len(ids) if side == "left" else 0
    after = length - len(ids) - before
    if before:
        # The official code steps by one at the first token after the padding, which is at 0. Rotary
        # positions count by difference, so a sample's numbers are those of the unpadded row.
        positions_AL = positions_AL + 1
    # Nothing attends to padding: on the right it repeats the last position, so that no position
    # leaves the model's context. A row without a token has no last position.
    last = positions_AL[:, -1:].expand(axes, after if ids else 0)
    edge = torch.zeros(axes, length - positions_AL.shape[1] - last.shape[1]).long()
    return _Row(
        ids_L=torch.tensor([config.pad_id] * before + ids + [config.pad_id] * after),
        labels_L=torch.tensor([IGNORE] * before + labels + [IGNORE] * after),
        documents_L=torch.tensor([0] * before + documents + [0] * after),
        positions_AL=torch.cat([edge, positions_AL, last], dim=1),
        span_starts=[before + start for start in starts],
    )


def _positions(sample: Sample, config: ModelConfig) -> Tensor:
    """Return the position ids (A, length) of one sample, from 0.

    Shared: BOI, the patches together and EOI take one id each (paper, section 2.2). 2d: a patch
    has its row and its column added to the id of the first patch, and EOI follows the largest.
    """
    kind = config.position.image
    patches = [(start + config.boundaries, end - config.boundaries) for start, end in sample.spans]
    side = math.isqrt(config.image_tokens)
    # How far each token lies from the one before it: a cumulated sum carries what an image takes
    # over to all that follows, so several images need no bookkeeping.
    steps_L = torch.ones(len(sample.ids), dtype=torch.long)
    for first, last in patches if kind != "sequential" else []:
        steps_L[first + 1 : last] = 0  # the first patch steps away from BOI, or from the text
        if kind == "2d":
            # Past the largest row or column, or the text behind would share positions with
            # patches. A slice: an image may be the last thing of a sample.
            steps_L[last : last + 1] = side
    positions_AL = (steps_L.cumsum(0) - 1).repeat(2 if kind == "2d" else 1, 1)
    for first, last in patches if kind == "2d" else []:
        place = torch.arange(last - first)
        positions_AL[:, first:last] += torch.stack([place // side, place % side])
    return positions_AL


def _route(slots_IS: Tensor, shape: tuple[int, int], has_experts: bool) -> Route:
    """Split a batch into language and vision tokens.

    The last slot of a span (EOI) counts as language, as in the official code; without experts
    all tokens do.
    """
    size = shape[0] * shape[1]
    if not has_experts:
        return Route(torch.arange(size), torch.arange(0), shape)
    return Route(_outside(slots_IS, size), slots_IS[:, :-1].flatten(), shape)


def _outside(slots_IS: Tensor, size: int) -> Tensor:
    """Return the places outside of images, and the last one of each image."""
    is_outside = torch.ones(size, dtype=torch.bool)
    is_outside[slots_IS[:, :-1].flatten()] = False
    return is_outside.nonzero()[:, 0]


def _image_of(slots_IS: Tensor, shape: tuple[int, int]) -> Tensor:
    image_of = torch.zeros(shape[0] * shape[1], dtype=torch.long)
    image_of[slots_IS] = torch.arange(1, len(slots_IS) + 1)[:, None]
    return image_of.view(shape)
