"""Decoded images to what the model takes: resized, normalised in BGR order, padded.

Shape letters: B images, H and W sides in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

DIVISOR = 32
_MEAN_BGR = (103.530, 116.280, 123.675)
_STD_BGR = (57.375, 57.120, 58.395)


def resized_hw(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """Return the sides to resize to.

    The short side becomes `short_side`, or less where the long one would exceed `long_side`. The
    long side is cut down to whole pixels, as the original does. No side is below one pixel.
    """
    low, high = min(height, width), max(height, width)
    short = short_side
    if high / low * short_side > long_side:
        short = round(long_side * low / high)
    if short < 1:
        short, long = 1, long_side
    else:
        long = int(short * high / low)
    return (short, long) if height <= width else (long, short)


def padded_hw(height: int, width: int) -> tuple[int, int]:
    """Return the sides after padding."""
    return height + -height % DIVISOR, width + -width % DIVISOR


def resize(image_HW3: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize with Pillow's bilinear filter, which looks at all pixels when it shrinks."""
    if image_HW3.shape[:2] == size_hw:
        return image_HW3
    picture = Image.fromarray(image_HW3)
    return np.asarray(picture.resize(size_hw[::-1], Image.Resampling.BILINEAR))


def stack(images: Sequence[npt.NDArray[np.uint8]], device: torch.device | str) -> Tensor:
    """Return resized RGB images normalised and padded to common sides, (B, 3, H, W) float32."""
    height, width = padded_hw(*np.max([image.shape[:2] for image in images], axis=0).tolist())
    padded_B3HW = torch.zeros(len(images), 3, height, width, device=device)
    for padded_3HW, image in zip(padded_B3HW, images, strict=True):
        rgb_HW3 = to_device(torch.from_numpy(np.require(image, requirements=["C", "W"])), device)
        for blue_first, padded_HW in enumerate(padded_3HW):
            channel_HW = rgb_HW3[..., 2 - blue_first].float()
            normed_HW = (channel_HW - _MEAN_BGR[blue_first]) / _STD_BGR[blue_first]
            padded_HW[: image.shape[0], : image.shape[1]] = normed_HW
    return padded_B3HW


def to_device(part: Tensor, device: torch.device | str) -> Tensor:
    """Move a tensor of the host without waiting for what the device still has to do."""
    if torch.device(device).type != "cuda":
        return part.to(device)
    return part.pin_memory().to(device, non_blocking=True)
