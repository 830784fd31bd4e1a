"""What is stored of a fetched image: passed through untouched, or decoded, resized and re-encoded.

Goes in: the fetched bytes and a `StoreSpec`. Comes out: `Stored`, with both sizes. A stored image
is upright and carries no EXIF, GPS, XMP, IPTC, comment or colour profile. Profiles are dropped and
not applied: nobody's loader applies them, so pixels would mean one thing in a browser and another
in training. The same bytes and spec give the same bytes, on any machine with the same libraries.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from shards import passthrough, pixels, resize
from shards.image_types import MAX_PIXELS, Probe
from shards.outcomes import Outcome
from shards.resize import ResizeMode, Resizer

EncodeFormat = Literal["jpg", "png", "webp"]

_QUALITIES = {"jpg": (1, 100), "png": (0, 9), "webp": (1, 100)}
_LONGEST_SIDES = {"jpg": 65_500, "png": 2**31 - 1, "webp": 16_383}


@dataclass(frozen=True, kw_only=True)
class StoreSpec:
    """How images are stored; every field affects the output and is part of the fingerprint."""

    encode_format: EncodeFormat = "jpg"
    """One format per run: Hugging Face's loader refuses shards that mix them."""
    quality: int = 90
    """JPEG and WebP: 1..100. PNG: zlib level 0..9."""
    image_size: int = 512
    """Target of `resize_mode`, pixels."""
    resize_mode: ResizeMode = "keep_ratio"
    """img2dataset's names; `keep_ratio` is about the short side, `fixed` ignores the ratio."""
    only_if_bigger: bool = True
    """Never scale up; smaller images stay as they are."""
    max_long_side: int | None = 2048
    """Pixels; None for no limit."""
    resizer: Resizer = "pillow"
    max_pixels: int = MAX_PIXELS
    """Larger images are TOO_MANY_PIXELS, told by their header."""
    scaled_decode_margin: float = 0
    """0 decodes JPEGs in full. m >= 1 decodes at the smallest DCT scale that is m times the
    target: at 2 about 8 % cheaper at a median of 43.6 dB, at 1 22 % cheaper at 36.1 dB."""

    def __post_init__(self) -> None:
        _one_of("--encode_format", self.encode_format, EncodeFormat)
        _one_of("--resize_mode", self.resize_mode, ResizeMode)
        _one_of("--resizer", self.resizer, Resizer)
        low, high = _QUALITIES[self.encode_format]
        if not low <= self.quality <= high:
            scale = f"{low}..{high} for {self.encode_format}"
            raise ValueError(f"--encode_quality {self.quality}: must be {scale}")
        if self.image_size < 1:
            raise ValueError(f"--image_size {self.image_size}: must be at least 1 pixel")
        if self.max_pixels < 1:
            raise ValueError(f"--max_pixels {self.max_pixels}: must be at least 1")
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.max_long_side is not None and self.max_long_side < self.image_size:
            raise ValueError(
                f"--max_long_side {self.max_long_side} is below --image_size {self.image_size}: "
                "raise the first or lower the second"
            )
        if self.scaled_decode_margin != 0 and not 1 <= self.scaled_decode_margin <= 16:
            raise ValueError(
                f"--scaled_decode_margin {self.scaled_decode_margin}: "
                "must be 0 (full decode) or 1..16"
            )


def _one_of(option: str, value: str, names: object) -> None:
    if value not in get_args(names):
        raise ValueError(f"{option} {value!r}: must be one of {', '.join(get_args(names))}")


PROFILES = {
    "stage1": StoreSpec(image_size=256, quality=95),
    "stage2": StoreSpec(),
    # The detector's own input size, so that it resamples nothing.
    "ground": StoreSpec(image_size=800, max_long_side=1333, quality=92),
}
"""`--store NAME`: for 224 px pretraining, for 490 px training (default), for phrase grounding."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An image ready for a shard."""

    data: bytes  # encoded file
    width: int  # of the stored image, pixels
    height: int
    original_width: int  # of the fetched image, upright, pixels
    original_height: int
    passed_through: bool  # the compressed pixels are the fetched ones


def store(data: bytes, spec: StoreSpec) -> Stored:
    """Return the image as the spec wants it stored.

    Raises:
        ImageError: For bytes that are no usable image, and ENCODE_FAILED for a size that the
            stored format cannot hold.
        ValueError: Where `resizer` is torch and torch is not installed.
    """
    head = pixels.inspect(data, spec.max_pixels)
    if (passed := _pass_through(data, head, spec)) is not None:
        return passed
    rgb, width, height = _decode(data, head, spec)
    resized = resize.apply(rgb, resize.plan(width, height, spec), spec.resizer)
    return Stored(
        data=encode(resized, spec),
        width=resized.shape[1],
        height=resized.shape[0],
        original_width=width,
        original_height=height,
        passed_through=False,
    )


def _pass_through(data: bytes, head: Probe, spec: StoreSpec) -> Stored | None:
    if resize.plan(head.width, head.height, spec).changes(head.width, head.height):
        return None
    kept = passthrough.strip(data, head, spec.encode_format)
    if kept is None:
        return None
    return Stored(
        data=kept,
        width=head.width,
        height=head.height,
        original_width=head.width,
        original_height=head.height,
        passed_through=True,
    )


def _decode(data: bytes, head: Probe, spec: StoreSpec) -> tuple[npt.NDArray[np.uint8], int, int]:
    """Return pixels and the upright original size, which differ after a scaled decode."""
    if head.format == "jpeg" and spec.scaled_decode_margin:
        wanted = resize.plan(head.width, head.height, spec)
        at_least = resize.enough(wanted, spec.scaled_decode_margin)
        rgb = pixels.decode(data, max_pixels=spec.max_pixels, at_least=at_least)
        return rgb, head.width, head.height
    rgb = pixels.decode(data, max_pixels=spec.max_pixels)
    return rgb, rgb.shape[1], rgb.shape[0]


def encode(rgb: npt.NDArray[np.uint8], spec: StoreSpec) -> bytes:
    """Encode (H, W, 3) uint8 pixels in the spec's format; JPEG with 4:2:0 chroma."""
    kind = spec.encode_format
    with pixels.library_errors(kind, Outcome.ENCODE_FAILED):
        if max(rgb.shape) > _LONGEST_SIDES[kind]:
            raise ValueError(f"{rgb.shape[1]} x {rgb.shape[0]} pixels do not fit this format")
        if kind == "jpg":
            pixel_rows = np.ascontiguousarray(rgb)
            return cast(
                bytes,
                simplejpeg.encode_jpeg(pixel_rows, spec.quality, "RGB", "420", fastdct=False),
            )
        file = io.BytesIO()
        if kind == "png":
            Image.fromarray(rgb).save(file, "PNG", compress_level=spec.quality)
        else:
            Image.fromarray(rgb).save(file, "WEBP", quality=spec.quality)
        return file.getvalue()
