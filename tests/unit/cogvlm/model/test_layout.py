"""Positions and routing of every kind of image, written out; and what does not fit is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.cogvlm.tiny_models import IMAGE, sample, tiny

from cogvlm.model.config import Attn, Expert, Position, Projector
from cogvlm.model.layout import IGNORE, Sample, collate
from scripts.verify_export import spans_of

# One image of 2 x 2 tokens, so that positions can be read.
SMALL = tiny(projector=Projector(kind="conv_glu", mlp_size=64, conv_width=16))
PIECES = [1, IMAGE, IMAGE, 2]  # adjacent images: the official rule would merge them


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("shared", [[0, 1, 2, 2, 2, 2, 3, 4, 5, 5, 5, 5, 6, 7, 8]]),
        ("sequential", [list(range(15))]),
        ("2d", [[0, 1, 2, 2, 3, 3, 4, 5, 6, 6, 7, 7, 8, 9, 10],
                [0, 1, 2, 3, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9, 10]]),
    ],
)  # fmt: skip
def test_positions(way: str, expected: list[list[int]]) -> None:
    config = replace(SMALL, position=Position(image=way))
    batch = collate([[sample(config, PIECES)]], config)
    assert batch.positions_ABL[:, 0].tolist() == expected


def test_positions_without_boundaries() -> None:
    config = replace(SMALL, boundaries=False)
    batch = collate([[sample(config, PIECES)]], config)
    assert batch.positions_ABL[0, 0].tolist() == [0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 4]


def test_adjacent_images_keep_their_own_boundaries() -> None:
    batch = collate([[sample(SMALL, PIECES)]], SMALL)
    vision = [*range(1, 6), *range(7, 12)]  # BOI and patches; EOI at 6 and 12 is language
    assert batch.route.vision_V.tolist() == vision
    assert batch.slots_IS.tolist() == [list(range(1, 7)), list(range(7, 13))]


def test_without_experts_all_tokens_are_language() -> None:
    config = replace(SMALL, expert=Expert(layers="none"))
    batch = collate([[sample(config, PIECES)]], config)
    assert batch.route.language_T.tolist() == list(range(15))
    assert batch.route.vision_V.numel() == 0


def test_masks_appear_where_they_are_needed_only() -> None:
    long, short = sample(SMALL, [1, IMAGE, 3]), sample(SMALL, [2])
    assert collate([[long], [short]], SMALL).documents_BL is None
    assert collate([[long], [long]], SMALL, side="left").documents_BL is None
    left = collate([[long], [short]], SMALL, side="left").documents_BL
    assert left[1].tolist() == [0] * 8 + [1, 1]
    packed = collate([[short, short]], SMALL, length=5).documents_BL
    assert packed.tolist() == [[1, 1, 2, 2, 0]]
    full = replace(SMALL, attn=Attn(image_mask="full"))
    images = collate([[sample(full, PIECES)]], full).image_of_BL
    assert images.tolist() == [[0] + [1] * 6 + [2] * 6 + [0, 0]]


def test_a_batch_without_images_still_has_an_image_tensor() -> None:
    batch = collate([[sample(SMALL, [3])]], SMALL)
    assert tuple(batch.images_ICHW.shape) == (0, 3, 56, 56)
    assert tuple(batch.slots_IS.shape) == (0, 6)


def with_one_image(**changes: object) -> Sample:
    return replace(sample(SMALL, [1, IMAGE, 2]), **changes)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (with_one_image(labels=[IGNORE]), "1 labels for 9 tokens"),
        (with_one_image(images=[]), "0 images for 1 image spans"),
        (with_one_image(spans=[(1, 6)]), "has 5 slots; this model's images take 6"),
        (with_one_image(spans=[(5, 11)]), "5..11 overlaps another or the sample's end"),
        (with_one_image(labels=[5] * 9), "1..7 has labels; images are never targets"),
        (with_one_image(images=[torch.zeros(3, 28, 28)]), r"shape \(3, 28, 28\); the model takes "),
    ],
)
def test_a_sample_that_does_not_fit(wrong: Sample, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        collate([[wrong]], SMALL)


def test_too_long_a_row() -> None:
    with pytest.raises(ValueError, match="a row holds 12 tokens, but only 10 fit"):
        collate([[sample(SMALL, [6]), sample(SMALL, [6])]], SMALL, length=10)
    with pytest.raises(ValueError, match="a sample has 161 tokens; the model's context is 160"):
        collate([[sample(SMALL, [161])]], SMALL)


def test_packed_rows_may_be_longer_than_the_context() -> None:
    batch = collate([[sample(SMALL, [100]), sample(SMALL, [90])]], SMALL)
    assert batch.positions_ABL.max() == 99


def test_token_types_that_are_no_whole_image() -> None:
    assert spans_of([0, *[1] * 12, 0], 6) == [(1, 7), (7, 13)]
    with pytest.raises(ValueError, match="7 vision tokens at 1, but an image takes 6"):
        spans_of([0, *[1] * 7, 0], 6)
