"""Pixels for the tower: a square resize and a normalisation (`shards.image` decodes).

The aspect ratio is not kept and nothing is cropped or padded, as in the official code: boxes that
are relative to width and height need no change.

`preprocess` is what the official code does to the last bit. The trainer takes `square` and, on the
device, `normalise`: 2.5 times as fast, a quarter of the bytes to move, and less than 0.1 of a grey
level away on average.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cogvlm.model.registry import TOWERS
from cogvlm.model.towers import Vision
from shards.image import ImageError, decode


def read(file: Path, vision: Vision) -> Tensor:
    """Return an image file as the tower sees it, (3, size, size) float32.

    Raises:
        ValueError: There is no such file, or it cannot be decoded; names it.
    """
    try:
        return preprocess(decode(file.read_bytes()), vision)
    except OSError as error:
        raise ValueError(f"--image {file}: {error.strerror}") from error
    except ImageError as error:
        raise ValueError(f"--image {file} cannot be decoded: {error}") from error


def preprocess(image_HW3: np.ndarray, vision: Vision) -> Tensor:
    """Return an image as the tower sees it, (3, size, size) float32.

    Resized on 8-bit pixels by Pillow's bicubic filter: resizing a tensor gives other numbers.

    Args:
        image_HW3: uint8 RGB, as `shards.image.decode` returns it.
        vision: Says the size in pixels and whose normalisation it is.
    """
    size = vision.image_size
    resized = Image.fromarray(image_HW3).resize((size, size), Image.Resampling.BICUBIC)
    pixels_HW3 = torch.from_numpy(np.array(resized)).float() / 255
    mean, std = normalisation(vision)
    return ((pixels_HW3 - torch.tensor(mean)) / torch.tensor(std)).permute(2, 0, 1).contiguous()


def square(image_HW3: np.ndarray, size: int) -> Tensor:
    """Return an image in the trainer's form, (3, size, size) uint8: antialiased bicubic."""
    image_3HW = torch.from_numpy(np.require(image_HW3, requirements=["C", "W"])).permute(2, 0, 1)
    if image_HW3.shape[:2] != (size, size):
        # Not by `shards.image.resize_torch`: it gives interleaved pixels, at two more copies.
        image_3HW = torch.nn.functional.interpolate(
            image_3HW[None], (size, size), mode="bicubic", antialias=True
        )[0]
    return image_3HW.contiguous()


def normalise(images_ICHW: Tensor, vision: Vision) -> Tensor:
    """Return uint8 images (I, 3, size, size) as float32, normalised, on the device they are on."""
    mean_3, std_3 = (
        torch.tensor(each, device=images_ICHW.device) for each in normalisation(vision)
    )
    pixels_ICHW = images_ICHW.float() / 255
    return (pixels_ICHW - mean_3[:, None, None]) / std_3[:, None, None]


def normalisation(vision: Vision) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of the three channels, on a scale of 0 to 1."""
    tower = TOWERS[vision.tower]
    return tower.mean, tower.std
