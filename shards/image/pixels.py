"""Bytes in, upright 8-bit RGB out: the decoder behind `shards.image.decode`.

JPEG goes through simplejpeg (libjpeg-turbo, exact, strict about damage), everything else through
the one Pillow plugin that its signature names. The size in the header is checked before either
may ask for pixel memory. Peak memory in bytes per pixel, measured: JPEG 3, WebP 16 (its library
keeps two canvases of its own), others 5 to 10, and 3 more to turn a picture upright.
"""

from __future__ import annotations

import importlib
import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageFile

from shards.image import jpeg, orientation
from shards.image.cost import check_cost
from shards.image.sniff import probe
from shards.image.types import MAX_PIXELS, ImageError, Probe, check_size
from shards.outcomes import Outcome

Pixels = npt.NDArray[np.uint8]

_PLUGINS = {
    "jpeg": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "png": ("PIL.PngImagePlugin", "PngImageFile"),
    "webp": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "gif": ("PIL.GifImagePlugin", "GifImageFile"),
    "bmp": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "avif": ("PIL.AvifImagePlugin", "AvifImageFile"),
}

# Everything the libraries were seen to raise on damaged files, Pillow's parsers above all.
_LIBRARY_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    UserWarning,  # where somebody turned warnings into errors
)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)

_STRIP_PIXELS = 1 << 20  # conversions go by strips, or they would double the peak memory


def decode(
    data: bytes, *, max_pixels: int = MAX_PIXELS, at_least: tuple[int, int] | None = None
) -> Pixels:
    """Decode an image to (H, W, 3) uint8 RGB, upright, on white; of an animation the first frame.

    Args:
        data: The whole file. Its format is told by its bytes.
        max_pixels: Larger images are refused by their header, before memory is asked for.
        at_least: Upright (width, height) that is enough; a JPEG may then be decoded at the
            smallest DCT scale (n/8) that covers it. Cheaper and not exact.

    Raises:
        ImageError: For every file that is not a complete image we read, and for no other reason.
    """
    return decode_inspected(data, inspect(data, max_pixels), max_pixels, at_least)


def decode_inspected(
    data: bytes, head: Probe, max_pixels: int, at_least: tuple[int, int] | None = None
) -> Pixels:
    """Do what `decode` does, for a file of which `inspect` has given the head already."""
    if head.format == "jpeg":
        if at_least and orientation.swaps_sides(head.orientation):
            at_least = at_least[1], at_least[0]
        return orientation.upright(_decode_jpeg(data, max_pixels, at_least), head.orientation)
    image = _load(data, head.format, max_pixels)
    return orientation.upright(_to_rgb(image, head.bits), _pillow_orientation(image))


def loaded_orientation(data: bytes, kind: str, max_pixels: int = MAX_PIXELS) -> int:
    """Decode a non-JPEG to its end and return its orientation; raise `ImageError` if it fails."""
    return _pillow_orientation(_load(data, kind, max_pixels))


def inspect(data: bytes, max_pixels: int) -> Probe:
    """Probe a whole file and refuse it where header and structure are enough to know."""
    head = probe(data)
    if head is None:
        known = data[:2] == jpeg.SOI or data[:4] in (b"\x89PNG", b"GIF8", b"RIFF")
        outcome = Outcome.DECODE_FAILED if known or data[4:8] == b"ftyp" else Outcome.NOT_AN_IMAGE
        raise ImageError(outcome, f"{len(data)} bytes end before the size of an image")
    check_size(head.width, head.height, max_pixels)
    head = _inspect_jpeg(data, head) if head.format == "jpeg" else head
    check_cost(head)
    return head


def _inspect_jpeg(data: bytes, head: Probe) -> Probe:
    walk = jpeg.survey(data)
    if not walk.complete:
        raise ImageError(Outcome.DECODE_FAILED, "jpeg: truncated")
    if walk.scans > jpeg.MAX_SCANS:
        raise ImageError(Outcome.DECODE_FAILED, f"jpeg: {walk.scans} scans")
    if head.bits != 8:
        raise ImageError(Outcome.FORMAT_NOT_SUPPORTED, f"jpeg: {head.bits} bits per channel")
    sides = head.width, head.height
    if orientation.swaps_sides(head.orientation) != orientation.swaps_sides(walk.orientation):
        sides = sides[1], sides[0]
    return replace(head, width=sides[0], height=sides[1], orientation=walk.orientation)


@contextmanager
def library_errors(kind: str, outcome: Outcome = Outcome.DECODE_FAILED) -> Iterator[None]:
    """Turn whatever a codec raises inside the block into an `ImageError` of this outcome."""
    try:
        yield
    except ImageError:
        raise
    except _BOMB as error:
        raise ImageError(Outcome.TOO_MANY_PIXELS, f"{kind}: {_one_line(error)}") from error
    except _LIBRARY_ERRORS as error:
        raise ImageError(outcome, f"{kind}: {type(error).__name__}: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    """Make a library's message fit for a sidecar: no addresses, no foreign bytes, not long."""
    text = re.sub(r"0x[0-9a-fA-F]{6,}", "0x", str(error).partition("\n")[0])
    return text[:160].encode("ascii", "backslashreplace").decode()


def _decode_jpeg(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> Pixels:
    try:
        return _decode_jpeg_strictly(data, max_pixels, at_least)
    except ImageError as error:
        # Strict refuses harmless damage too: a bad ICC profile, bytes between segments, padding.
        # Without all that, only damage to the picture is left to complain about.
        cleaned = jpeg.clean(data, drop_padding=True)
        if error.outcome != Outcome.DECODE_FAILED or cleaned is None or cleaned == data:
            raise
    return _decode_jpeg_strictly(cleaned, max_pixels, at_least)


def _decode_jpeg_strictly(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> Pixels:
    exact: dict[str, Any] = {"fastdct": False, "fastupsample": False}
    with library_errors("jpeg"):
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError as error:
            if "subsampling" not in str(error):
                raise
            # Rare sampling factors, which only libjpeg's full interface reads. Pillow sees a
            # file that ends early, but not damage within a scan.
            return _to_rgb(_load(data, "jpeg", max_pixels), bits=8)
        check_size(width, height, max_pixels)
        if colours not in ("CMYK", "YCCK"):
            min_width, min_height = at_least or (0, 0)
            scale = {"min_height": min_height, "min_width": min_width}
            return cast(Pixels, simplejpeg.decode_jpeg(data, "RGB", **exact, **scale))
        inverted = simplejpeg.decode_jpeg(data, "CMYK", **exact)
    return _cmyk_to_rgb(inverted)


def check_jpeg(data: bytes) -> None:
    """Raise `ImageError` unless the entropy-coded data decodes to its end without a complaint.

    At 1/8 of the size and in grey: every code is read, hardly a pixel is computed.
    """
    with library_errors("jpeg"):
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=8)


def _cmyk_to_rgb(inverted: Pixels) -> Pixels:
    """Multiply out the black plane. JPEG stores CMYK inverted, as Adobe began it: 255 is no ink."""
    rgb = np.empty((*inverted.shape[:2], 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // inverted.shape[1])
    for top in range(0, len(rgb), rows):
        strip = inverted[top : top + rows].astype(np.uint16)
        rgb[top : top + rows] = (strip[..., :3] * strip[..., 3:] + 127) // 255
    return rgb


def _load(data: bytes, kind: str, max_pixels: int) -> ImageFile.ImageFile:
    """Open with exactly one plugin, so that no other parser ever sees the bytes, and load."""
    # A switch of Pillow's that other libraries flip for the whole process.
    assert not ImageFile.LOAD_TRUNCATED_IMAGES, "LOAD_TRUNCATED_IMAGES makes half images pass"
    with library_errors(kind):
        image = _open(data, kind)
        # A GIF's first frame may reach outside the screen that its header tells.
        check_size(*image.size, max_pixels)
        image.load()
    return image


def _open(data: bytes, kind: str) -> ImageFile.ImageFile:
    module, name = _PLUGINS[kind]
    plugin: Any = importlib.import_module(module)
    if not getattr(plugin, "SUPPORTED", True):
        raise ImageError(Outcome.FORMAT_NOT_SUPPORTED, f"this Pillow is built without {kind}")
    image: ImageFile.ImageFile = getattr(plugin, name)(io.BytesIO(data))
    return image


def _pillow_orientation(image: Image.Image) -> int:
    exif = image.info.get("exif")
    raw_profile = image.info.get("Raw profile type exif")  # ImageMagick's, in PNG text
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp")
    if isinstance(exif, bytes):
        return orientation.read(exif)
    if isinstance(raw_profile, str):
        return orientation.read(_from_hex(raw_profile))
    if xmp:
        return orientation.read_xmp(xmp if isinstance(xmp, str) else xmp.decode("latin-1"))
    return orientation.UPRIGHT


def _from_hex(raw_profile: str) -> bytes:
    """Return the bytes of a raw profile (a name line, a length line, hex digits), b"" if broken."""
    digits = "".join(raw_profile.split("\n")[3:])
    return bytes.fromhex(digits) if re.fullmatch(r"(?:[0-9a-fA-F]{2})*", digits) else b""


def _to_rgb(image: Image.Image, bits: int) -> Pixels:
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.array(image)  # nearly every picture: nothing to convert, so no strips
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        rgb[top:bottom] = _strip_to_rgb(image.crop((0, top, width, bottom)), bits)
    return rgb


def _strip_to_rgb(strip: Image.Image, bits: int) -> Pixels:
    transparent = strip.info.get("transparency")
    if strip.mode in ("1", "L", "I;16", "I;16B", "I"):
        return _grey_to_rgb(strip, transparent, bits)
    if strip.mode == "RGB":
        rgb = np.array(strip)
        if isinstance(transparent, tuple):
            # Of 16-bit colours Pillow keeps the high byte only.
            colour = np.array(transparent) >> (8 if bits == 16 else 0)
            rgb[(rgb == colour).all(axis=-1)] = 255
        return rgb
    if strip.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa"):
        return _on_white(np.asarray(strip.convert("RGBA")))
    return np.array(strip.convert("RGB"))


def _grey_to_rgb(strip: Image.Image, transparent: object, bits: int) -> Pixels:
    """Scale grey levels to 8 bits; the level that a PNG calls transparent becomes white."""
    if strip.mode in ("1", "L"):
        grey = np.array(strip.convert("L"))
        unit = 255 // ((1 << min(bits, 8)) - 1)  # 1, 2 and 4 bits have been scaled up already
        hidden = grey == transparent * unit if isinstance(transparent, int) else None
    else:
        levels = np.asarray(strip).astype(np.uint32)
        grey = ((levels * 255 + 32767) // 65535).astype(np.uint8)
        hidden = levels == transparent if isinstance(transparent, int) else None
    if hidden is not None:
        grey[hidden] = 255
    return np.repeat(grey[..., None], 3, axis=2)


def _on_white(rgba: Pixels) -> Pixels:
    alpha = rgba[..., 3:].astype(np.uint16)
    mixed = (rgba[..., :3] * alpha + (255 - alpha) * np.uint16(255) + np.uint16(127)) // 255
    return mixed.astype(np.uint8)
