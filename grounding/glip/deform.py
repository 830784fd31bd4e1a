"""Modulated deformable 3 x 3 convolution, with the offset buffer read as the original reads it.

Small maps and GPUs use torchvision's. On a CPU that spends most of its time on looking up single
values; here a pixel's channels lie together, and `embedding_bag` adds up the four around every tap.

Shape letters: B images, C channels in, O channels out, H and W the input's sides, h and w the
output's, K taps of the kernel, N = B * h * w * K places that are looked at.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d  # type: ignore[import-untyped]

TAPS = 9
_FEW_PLACES = 128
"""Below, our way costs more. A group of a tiny map's norm has few values, too, which makes much of
the last digits, and torchvision adds up in the original's order."""


class ModulatedDeformConv(nn.Module):
    """The weights of a convolution whose taps are moved and weighed by what it is given."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        # A convolution holds the weights and never runs.
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=stride, padding=1)

    def forward(self, x_BCHW: Tensor, offsets_BKhw: Tensor, weights_BKhw: Tensor) -> Tensor:
        """Return (B, O, h, w); of each tap there are two offsets, down and right."""
        stride = self.conv.stride[0]
        sides = [(side - 1) // stride + 1 for side in x_BCHW.shape[-2:]]
        offsets_BKhw, weights_BKhw = as_read(offsets_BKhw, sides), as_read(weights_BKhw, sides)
        if x_BCHW.device.type == "cpu" and sides[0] * sides[1] >= _FEW_PLACES:
            places = _places(x_BCHW, offsets_BKhw, weights_BKhw, stride)
            return _convolve(x_BCHW, *places, self.conv, sides)
        return deform_conv2d(
            x_BCHW,
            offsets_BKhw,
            self.conv.weight,
            self.conv.bias,
            stride=(stride, stride),
            padding=(1, 1),
            mask=weights_BKhw,
        )


def arrange_for_cpu(model: nn.Module) -> None:
    """Store deformable kernels with their channels innermost, as they are multiplied on a CPU."""
    for layer in model.modules():
        if isinstance(layer, ModulatedDeformConv):
            weight = layer.conv.weight
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def as_read(buffer_BKhw: Tensor, sides: list[int]) -> Tensor:
    """Return an image's first values, viewed at the output's size.

    Where the output is smaller than the map of offsets, the original's kernel takes the buffer as
    if it had the output's size. Trained weights expect it.
    """
    batch, rows = buffer_BKhw.shape[:2]
    size = rows * sides[0] * sides[1]
    return buffer_BKhw.flatten(1)[:, :size].reshape(batch, rows, *sides)


def _places(
    x_BCHW: Tensor, offsets_BKhw: Tensor, weights_BKhw: Tensor, stride: int
) -> tuple[Tensor, Tensor]:
    """Return the four pixels around every place, and what each counts; both (N, 4).

    Pixels outside of the image count nothing.
    """
    batch, _, height, width = x_BCHW.shape
    moved_BK2hw = offsets_BKhw.unflatten(1, (TAPS, 2))
    tap_K11 = torch.arange(TAPS).view(-1, 1, 1)
    rows, columns = moved_BK2hw.shape[-2:]
    y_BKhw = moved_BK2hw[:, :, 0] + (tap_K11 // 3 - 1 + torch.arange(rows)[:, None] * stride)
    x_BKhw = moved_BK2hw[:, :, 1] + (tap_K11 % 3 - 1 + torch.arange(columns) * stride)
    top_BKhw, down_BKhw = _split(y_BKhw, height)
    left_BKhw, right_BKhw = _split(x_BKhw, width)
    first_B111 = (torch.arange(batch) * height * width).view(-1, 1, 1, 1)
    pixels, shares = [], []
    for row, row_share in ((top_BKhw, 1 - down_BKhw), (top_BKhw + 1, down_BKhw)):
        row_share = row_share * weights_BKhw * ((row >= 0) & (row < height))
        from_row = first_B111 + row.clamp(0, height - 1) * width
        for column, share in ((left_BKhw, 1 - right_BKhw), (left_BKhw + 1, right_BKhw)):
            pixels.append(from_row + column.clamp(0, width - 1))
            shares.append(row_share * share * ((column >= 0) & (column < width)))
    return _by_place(pixels), _by_place(shares)


def _split(at: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the whole pixel before a place and the share of the one after it."""
    whole = at.floor()
    return whole.clamp(-2, side).long(), at - whole


def _by_place(corners: list[Tensor]) -> Tensor:
    return torch.stack(corners, dim=-1).permute(0, 2, 3, 1, 4).reshape(-1, len(corners))


def _convolve(
    x_BCHW: Tensor, pixels_N4: Tensor, shares_N4: Tensor, conv: nn.Conv2d, sides: list[int]
) -> Tensor:
    batch, channels = x_BCHW.shape[:2]
    table = x_BCHW.permute(0, 2, 3, 1).reshape(-1, channels)
    weight_OKC = conv.weight.permute(0, 2, 3, 1).reshape(conv.out_channels, -1, 1, 1)
    results = []
    # Image by image, as what is seen is nine times a map.
    for places in zip(pixels_N4.chunk(batch), shares_N4.chunk(batch), strict=True):
        seen = F.embedding_bag(places[0], table, mode="sum", per_sample_weights=places[1])
        seen_1hwKC = seen.view(1, *sides, TAPS * channels)
        results.append(F.conv2d(seen_1hwKC.permute(0, 3, 1, 2), weight_OKC, conv.bias))
    return torch.cat(results)
