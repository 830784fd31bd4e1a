"""Pixels for the tower: square, normalised, and errors that name the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cogvlm.tiny_models import tiny
from PIL import Image

from cogvlm.data.pixels import normalisation, preprocess, read

VISION = tiny().vision


def test_a_wide_picture_is_squeezed_not_cropped() -> None:
    wide = np.zeros((40, 200, 3), np.uint8)
    wide[:, :100] = 255
    pixels = preprocess(wide, VISION)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in normalisation(VISION))
    assert tuple(pixels.shape) == (3, 56, 56)
    torch.testing.assert_close(pixels[:, :, :24], ((1 - mean) / std).expand(3, 56, 24))
    torch.testing.assert_close(pixels[:, :, 32:], (-mean / std).expand(3, 56, 24))


def test_siglip_is_scaled_to_one() -> None:
    grey = np.full((56, 56, 3), 255, np.uint8)
    assert preprocess(grey, replace(VISION, tower="siglip_so400m")).unique().tolist() == [1.0]


def test_a_file_is_decoded_as_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "clear.png"
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(file)  # all alpha: white, as in the shards
    white = preprocess(np.full((20, 20, 3), 255, np.uint8), VISION)
    assert read(file, VISION).equal(white)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "photo.jpg: No such file or directory"),
        (b"<html>", "photo.jpg cannot be decoded: not_an_image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "photo.jpg cannot be decoded: "),
    ],
)
def test_an_image_that_does_not_decode(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "photo.jpg"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=told):
        read(file, VISION)
