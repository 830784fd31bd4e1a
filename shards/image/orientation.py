"""The EXIF orientation tag: reading it from a TIFF block, and turning pixels upright.

Only IFD0 is looked at, only that tag is read, and a block that makes no sense means upright:
cameras and editors write broken EXIF often, and viewers ignore it.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

UPRIGHT = 1

_TAG = 0x0112
_XMP = re.compile(r"tiff:Orientation(?:=[\"']|>)([1-8])")
_SIZES = {1: 1, 3: 2, 4: 4}  # bytes of BYTE, SHORT, LONG; the standard says SHORT
_BYTE_ORDERS = {b"II*\0": "little", b"MM\0*": "big"}


def read(exif: bytes) -> int:
    """Return the orientation (1..8) in an EXIF block, with or without its `Exif` prefix."""
    tiff = exif[6:] if exif.startswith(b"Exif\0") else exif
    order = _BYTE_ORDERS.get(tiff[:4])
    if order == "little":
        return _read_ifd0(tiff, "<")
    if order == "big":
        return _read_ifd0(tiff, ">")
    return UPRIGHT


def _read_ifd0(tiff: bytes, order: str) -> int:
    def number(start: int, size: int) -> int:
        raw = tiff[start : start + size]
        return int.from_bytes(raw, "little" if order == "<" else "big")

    ifd = number(4, 4)
    for entry in range(ifd + 2, ifd + 2 + 12 * number(ifd, 2), 12):
        if entry + 12 > len(tiff):
            break
        if number(entry, 2) == _TAG:
            value = number(entry + 8, _SIZES.get(number(entry + 2, 2), 0))
            return value if 1 <= value <= 8 else UPRIGHT
    return UPRIGHT


def read_xmp(xmp: str) -> int:
    """Return the orientation in an XMP packet.

    For PNG and WebP without EXIF, as Pillow does. Not for JPEG: there tools turn the pixels and
    reset the EXIF tag, but leave the XMP copy stale, and browsers do not look at it.
    """
    found = _XMP.search(xmp)
    return int(found[1]) if found else UPRIGHT


def swaps_sides(orientation: int) -> bool:
    """Say whether this orientation exchanges width and height."""
    return orientation >= 5


def upright(rgb: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3) pixels turned the way the tag asks, as a contiguous array."""
    if swaps_sides(orientation):
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    return np.ascontiguousarray(rgb)
