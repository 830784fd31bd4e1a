"""What is stored of a fetched image: passed through untouched, or decoded, resized and re-encoded.

Goes in: the fetched bytes and a `StoreSpec`. Comes out: `Stored`, with both sizes. A stored image
is upright and carries no EXIF, GPS, XMP, IPTC, comment or colour profile. Profiles are dropped and
not applied: nobody's loader applies them, so pixels would mean one thing in a browser and another
in training. The same bytes and spec give the same bytes, on any machine with the same libraries.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from shards.image import passthrough, pixels, resize
from shards.image.spec import StoreSpec
from shards.image.types import Probe
from shards.outcomes import Outcome

_LONGEST_SIDES = {"jpg": 65_500, "png": 2**31 - 1, "webp": 16_383}


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
        ImageError: For bytes that are not a usable image, and ENCODE_FAILED for a size that the
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
        rgb = pixels.decode_inspected(data, head, spec.max_pixels, at_least)
        return rgb, head.width, head.height
    rgb = pixels.decode_inspected(data, head, spec.max_pixels)
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
