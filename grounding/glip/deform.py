"""Modulated deformable 3 x 3 convolution, with the offset buffer read as the original reads it.

Shape letters: B images, C channels in, O channels out, H and W the input's sides, h and w the
output's, K taps of the kernel.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.ops import deform_conv2d  # type: ignore[import-untyped]

TAPS = 9


class ModulatedDeformConv(nn.Module):
    """The weights of a convolution whose taps are moved and weighed by what it is given."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        # A convolution holds the weights and never runs.
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=stride, padding=1)

    def forward(self, x_BCHW: Tensor, offsets_BKhw: Tensor, weights_BKhw: Tensor) -> Tensor:
        """Return (B, O, h, w); of each tap there are two offsets, down and right."""
        stride = self.conv.stride
        sides = [(side - 1) // stride[0] + 1 for side in x_BCHW.shape[-2:]]
        return deform_conv2d(
            x_BCHW,
            as_read(offsets_BKhw, sides),
            self.conv.weight,
            self.conv.bias,
            stride=stride,
            padding=(1, 1),
            mask=as_read(weights_BKhw, sides),
        )


def as_read(buffer_BKhw: Tensor, sides: list[int]) -> Tensor:
    """Return an image's first values, viewed at the output's size.

    Where the output is smaller than the map of offsets, the original's kernel takes the buffer as
    if it had the output's size. Trained weights expect it.
    """
    batch, rows = buffer_BKhw.shape[:2]
    size = rows * sides[0] * sides[1]
    return buffer_BKhw.flatten(1)[:, :size].reshape(batch, rows, *sides)
