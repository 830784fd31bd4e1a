"""What decoding a picture costs, told by its head before a decoder is asked.

Goes in: a `Probe`. Comes out: bytes and seconds, or an `ImageError` for pictures that cost more
than anybody's picture needs. A file of 38 bytes may ask for a gigabyte, and one of 33 kilobytes
for twelve seconds.
"""

from __future__ import annotations

from shards.image.types import ImageError, Probe
from shards.outcomes import Outcome

MAX_DECODE_BYTES = 400_000_000
"""Most memory that one picture may need. 64 million pixels of baseline JPEG need half of it, 25 of
WebP all of it."""

MAX_SIDE_PIXELS = 65_535
"""JPEG's own limit; with longer sides a decoder's rows, not its pixels, are what costs memory."""

_MAX_RUN_LENGTH_PIXELS = 4_000_000
"""Pillow reads run-length BMP in Python: slow, and with the interpreter locked."""

_BYTES_PER_PIXEL = {"webp": 16, "avif": 12, "png": 10, "gif": 10, "bmp": 10}  # at their peak
_TURNING_BYTES_PER_PIXEL = 3


def decode_bytes(head: Probe) -> int:
    """Return about how much memory decoding takes at its peak."""
    per_pixel = _BYTES_PER_PIXEL.get(head.format) or _jpeg_bytes_per_pixel(head)
    if head.orientation != 1:
        per_pixel += _TURNING_BYTES_PER_PIXEL
    return head.width * head.height * per_pixel


def _jpeg_bytes_per_pixel(head: Probe) -> int:
    """Tell what a progressive file and CMYK cost more.

    The one keeps two bytes a coefficient until its last scan; the other has a plane more, and is
    multiplied out into a second picture.
    """
    planes = max(3, head.components)
    if head.progressive:
        return 3 * planes
    return planes + 3 if head.components == 4 else planes


def decode_limit_s(head: Probe) -> float:
    """Return how many seconds of CPU time a decoder may take: several times what sound files do."""
    return 3.0 + 12.0 * decode_bytes(head) / MAX_DECODE_BYTES


def check_cost(head: Probe) -> None:
    """Raise `ImageError` TOO_MANY_PIXELS for a picture that costs too much memory or time."""
    if max(head.width, head.height) > MAX_SIDE_PIXELS:
        size = f"{head.width} x {head.height} pixels"
        detail = f"{size}, the cap for a side is {MAX_SIDE_PIXELS}"
        raise ImageError(Outcome.TOO_MANY_PIXELS, detail)
    if head.run_length and head.width * head.height > _MAX_RUN_LENGTH_PIXELS:
        detail = f"run-length bmp of {head.width} x {head.height} pixels is slow to decode"
        raise ImageError(Outcome.TOO_MANY_PIXELS, detail)
    needed = decode_bytes(head)
    if needed > MAX_DECODE_BYTES:
        detail = (
            f"{head.format} of {head.width} x {head.height} pixels takes {needed / 1e6:,.0f} MB to "
            f"decode, the cap is {MAX_DECODE_BYTES / 1e6:,.0f}"
        )
        raise ImageError(Outcome.TOO_MANY_PIXELS, detail)
