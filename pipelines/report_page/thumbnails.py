"""Stored images as small JPEG files inside the page.

They are decoded and encoded anew even where they are small already, so that no byte of the web's
files reaches a browser.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from shards.image import ImageError, StoreSpec, decode, encode, resize


def thumbnail(image: bytes, side_px: int) -> str | None:
    """Return a `data:` URI of an image, its long side at most `side_px`; None if it is broken."""
    spec = StoreSpec(image_size=side_px, resize_mode="keep_ratio_largest", quality=75)
    try:
        pixels = decode(image, at_least=(2 * side_px, 2 * side_px))
        how = resize.plan(pixels.shape[1], pixels.shape[0], spec)
        data = encode(resize.apply(pixels, how, spec.resizer), spec)
    except ImageError:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def thumbnails(images: Sequence[bytes], side_px: int, most: int) -> tuple[str, ...]:
    """Return the first images of a sample that can be shown."""
    pictures = (thumbnail(image, side_px) for image in images[:most])
    return tuple(picture for picture in pictures if picture is not None)
