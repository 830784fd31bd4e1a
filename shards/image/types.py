"""What the image modules share: why an image is unusable, what its head says, how big it may be."""

from __future__ import annotations

from dataclasses import dataclass

from shards.outcomes import Outcome

MAX_PIXELS = 64_000_000
"""Largest image anything here decodes, in pixels (192 MB as RGB)."""


class ImageError(ValueError):
    """An image that cannot be used; `outcome` is the row's outcome, `detail` one line for people.

    The text is the same on every machine (no addresses, no locale): it ends up in the sidecar,
    whose bytes are promised to be reproducible.
    """

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.detail = detail

    def __reduce__(self) -> tuple[type[ImageError], tuple[Outcome, str]]:
        return ImageError, (self.outcome, self.detail)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What the first bytes of an image say about it; nothing has been decoded yet."""

    format: str  # jpeg | png | webp | gif | bmp | avif
    width: int  # pixels, after `orientation` is applied
    height: int
    orientation: int  # EXIF value 1..8; 1 where the head does not tell
    components: int  # channels after the palette: 1 grey, 3 RGB, 4 RGBA or CMYK
    bits: int  # per channel, as stored
    progressive: bool = False  # a JPEG in several scans
    run_length: bool = False  # a BMP with run-length coding


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise `ImageError` for an empty image or one of more than `max_pixels` pixels."""
    if width <= 0 or height <= 0:
        raise ImageError(Outcome.DECODE_FAILED, f"the header says {width} x {height} pixels")
    if width * height > max_pixels:
        detail = f"{width} x {height} pixels, the cap is {max_pixels}"
        raise ImageError(Outcome.TOO_MANY_PIXELS, detail)
