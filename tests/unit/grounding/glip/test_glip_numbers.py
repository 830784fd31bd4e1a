"""Sizes, and the parts of GLIP whose text differs from the plain one: fusion, deformable taps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import deform_conv2d

from grounding.glip import anchors, deform, preprocess
from grounding.glip.config import GlipConfig, PostConfig, glip_tiny
from grounding.glip.fusion import BiAttention
from grounding.glip.postprocess import suppress


@pytest.mark.parametrize(
    ("sides", "resized", "padded"),
    [
        ((480, 640), (800, 1066), (800, 1088)),
        ((640, 480), (1066, 800), (1088, 800)),
        ((500, 500), (800, 800), (800, 800)),
        ((720, 1280), (750, 1333), (768, 1344)),
        ((100, 4000), (33, 1320), (64, 1344)),
        ((1, 5000), (1, 1333), (32, 1344)),
        ((5000, 1), (1333, 1), (1344, 32)),
    ],
)
def test_sizes(sides: tuple[int, int], resized: tuple[int, int], padded: tuple[int, int]) -> None:
    assert preprocess.resized_hw(*sides, 800, 1333) == resized
    assert preprocess.padded_hw(*resized) == padded


def test_images_of_a_batch_are_padded_with_zeros_to_common_sides() -> None:
    images = [np.full((20, 40, 3), 9, np.uint8), np.full((33, 8, 3), 200, np.uint8)]
    images[0].flags.writeable = False
    stacked = preprocess.stack(images, "cpu")
    assert stacked.shape == (2, 3, 64, 64)
    assert [int((each != 0).all(0).sum()) for each in stacked] == [20 * 40, 33 * 8]
    blue = (9 - 103.530) / 57.375
    assert float(stacked[0, 0, 0, 0]) == pytest.approx(blue, rel=1e-6)


def plain(fusion: BiAttention, x: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The attention as published: every position is projected."""

    def heads(projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (fusion.heads, -1)).transpose(1, 2)

    q, k = heads(fusion.v_proj(x)), heads(fusion.l_proj(text))
    scores = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).clamp(-50000, 50000)
    to_text = scores.transpose(-1, -2)
    to_text = (to_text - to_text.amax(-1, keepdim=True)).clamp(-50000, 50000).softmax(-1)
    to_image = (scores + torch.where(mask, 1.0, -9e15)[:, None, None]).softmax(-1)
    image = to_image @ heads(fusion.values_l_proj(text))
    words = to_text @ heads(fusion.values_v_proj(x))
    return (
        fusion.out_v_proj(image.transpose(1, 2).flatten(2)),
        fusion.out_l_proj(words.transpose(1, 2).flatten(2)),
    )


@torch.inference_mode()
def test_fusion_is_the_published_attention() -> None:
    torch.manual_seed(0)
    sizes = {"channels": 32, "text_width": 48, "text_heads": 4, "fusion_width": 64}
    fusion = BiAttention(GlipConfig(name="fusion", **sizes)).double()
    x, text = torch.randn(2, 50, 32).double() * 4, torch.randn(2, 7, 48).double() * 4
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    for actual, expected in zip(fusion(x, text, mask), plain(fusion, x, text, mask), strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 1000),
    height=st.integers(12, 30),
    width=st.integers(24, 30),
    stride=st.sampled_from([1, 2]),
    reach=st.sampled_from([0.3, 3.0, 40.0]),
)
@torch.inference_mode()
def test_deformable_taps_are_those_of_torchvision(
    seed: int, height: int, width: int, stride: int, reach: float
) -> None:
    torch.manual_seed(seed)
    layer = deform.ModulatedDeformConv(8, stride).double()
    x = torch.randn(2, 8, height, width).double()
    rows, columns = (height - 1) // stride + 1, (width - 1) // stride + 1
    offsets = torch.randn(2, 18, rows, columns).double() * reach
    offsets[0, :, 0] = offsets[0, :, 0].round()  # exactly on pixels, and on the border
    weights = torch.rand(2, 9, rows, columns).double()
    expected = deform_conv2d(
        x, offsets, layer.conv.weight, layer.conv.bias, (stride, stride), (1, 1), mask=weights
    )
    places = deform._places(x, offsets, weights, stride)
    actual = deform._convolve(x, *places, layer.conv, [rows, columns])
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer(x, offsets, weights), expected, rtol=0, atol=1e-12)


@torch.inference_mode()
def test_offsets_that_are_not_numbers_end_in_the_output() -> None:
    layer = deform.ModulatedDeformConv(4, 1)
    offsets = torch.zeros(1, 18, 16, 16)
    offsets[0, 0, 3, 3], offsets[0, 0, 5, 5] = torch.nan, torch.inf
    result = layer(torch.randn(1, 4, 16, 16), offsets, torch.ones(1, 9, 16, 16))
    assert not result[0, :, 3, 3].isfinite().any()
    assert result[0, :, 9, 9].isfinite().all()


def test_a_coarser_map_reads_the_first_part_of_the_offsets() -> None:
    buffer = torch.arange(2 * 18 * 4 * 6).view(2, 18, 4, 6)
    seen = deform.as_read(buffer, [2, 3])
    assert seen.shape == (2, 18, 2, 3)
    assert seen[1].flatten().tolist() == buffer[1].flatten()[: 18 * 6].tolist()


def test_anchors_of_the_first_cells() -> None:
    config = glip_tiny()
    sizes = zip(config.anchor_strides, config.anchor_sizes, strict=True)
    assert [anchors.cell(*size).tolist()[0] for size in sizes] == [
        [-28.0, -28.0, 35.0, 35.0],
        [-56.0, -56.0, 71.0, 71.0],
        [-112.0, -112.0, 143.0, 143.0],
        [-224.0, -224.0, 287.0, 287.0],
        [-448.0, -448.0, 575.0, 575.0],
    ]


def test_no_deltas_give_the_anchors_back() -> None:
    grid = anchors.grid(3, 5, 8, 64, torch.device("cpu"))
    assert grid.shape == (15, 4)
    assert grid[6].tolist() == [-20.0, -20.0, 43.0, 43.0]
    torch.testing.assert_close(anchors.decode(grid, torch.zeros(15, 4)), grid)


def test_suppression_is_per_phrase_and_the_order_stays() -> None:
    boxes = torch.tensor(
        [[0.0, 0, 9, 9], [0, 0, 9, 8], [0, 0, 9, 9], [50, 50, 60, 60], [0, 0, 9, 9]]
    )
    scores = torch.tensor([0.5, 0.9, 0.4, 0.7, 0.0])
    phrases = torch.tensor([0, 0, 1, 0, 1])
    kept = suppress(boxes, scores, phrases, PostConfig())
    assert kept.scores_N.tolist() == scores[[1, 2, 3]].tolist()
    assert kept.phrases_N.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ((0, 7), (3, 7), 1),  # 5 rows of 8; without the inclusive convention 4 of 7
        ((0, 9), (4, 9), 2),  # 6 of 10 is not above 0.6
    ],
)
def test_overlap_counts_rows_inclusively(
    first: tuple[int, int], second: tuple[int, int], kept: int
) -> None:
    boxes = torch.tensor([[0.0, rows[0], 19, rows[1]] for rows in (first, second)])
    found = suppress(boxes, torch.tensor([0.9, 0.8]), torch.zeros(2).long(), PostConfig())
    assert len(found.scores_N) == kept


def test_ties_of_the_last_may_exceed_the_limit() -> None:
    boxes = torch.arange(6.0)[:, None] * 100 + torch.tensor([0.0, 0, 9, 9])
    scores = torch.tensor([0.9, 0.5, 0.5, 0.8, 0.5, 0.1])
    found = suppress(boxes, scores, torch.zeros(6).long(), PostConfig(max_detections=3))
    assert found.scores_N.tolist() == scores[[0, 1, 2, 3, 4]].tolist()
