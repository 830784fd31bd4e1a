"""What an image is, from its first bytes: format and size before any decoder sees it.

Goes in: the head of a body, as little as has arrived. Comes out: a `Probe`, None where the head is
too short to tell, or an `ImageError` where it is certain that we do not take it. File names and
content types are never looked at. A JPEG costs a few microseconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from shards.image import jpeg, orientation
from shards.image.types import ImageError, Probe
from shards.outcomes import Outcome

# Long enough that every signature and, for text, the root element has been seen.
_ENOUGH_BINARY = 32
_ENOUGH_TEXT = 4096

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette is RGB
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})  # sizes of the second header

_BMP_RUN_LENGTH = (1, 2)  # compression: of 8 bits, of 4 bits

_OTHER_FORMATS = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"\0\0\x01\0", "ICO"),
    (b"\0\0\x02\0", "CUR"),
    (b"icns", "ICNS"),
    (b"8BPS", "PSD"),
    (b"gimp xcf", "XCF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"\x8aMNG", "MNG"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"SIMPLE  =", "FITS"),
    (b"P1\n", "PNM"),
    (b"P2\n", "PNM"),
    (b"P3\n", "PNM"),
    (b"P4\n", "PNM"),
    (b"P5\n", "PNM"),
    (b"P6\n", "PNM"),
    (b"P7\n", "PNM"),
)
_FTYP_BRANDS = {b"avif": "avif", b"avis": "avif"}


def probe(head: bytes) -> Probe | None:
    """Say what image this is from its first bytes; None if there are too few to tell.

    Width and height are upright where the head tells the orientation (a JPEG's EXIF, a PNG's
    eXIf, an AVIF's irot). WebP keeps its EXIF at the end: those sides may come out exchanged.

    Raises:
        ImageError: NOT_AN_IMAGE or FORMAT_NOT_SUPPORTED where that is certain, DECODE_FAILED for
            a header that no decoder can read.
    """
    if head.startswith(jpeg.SOI + b"\xff"):
        return _probe_jpeg(head)
    if head.startswith(_PNG):
        return _probe_png(head)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _probe_gif(head)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _probe_webp(head)
    if head.startswith(b"BM") and len(head) >= 18:
        return _probe_bmp(head)
    if head[4:8] == b"ftyp":
        return _probe_ftyp(head)
    _refuse(head)
    return None


def _refuse(head: bytes) -> None:
    """Raise for what is certainly not ours; return where more bytes could still change that."""
    for signature, name in _OTHER_FORMATS:
        if head.startswith(signature):
            raise ImageError(Outcome.FORMAT_NOT_SUPPORTED, f"{name} is not read")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()[:_ENOUGH_TEXT]
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        raise ImageError(Outcome.NOT_AN_IMAGE, "HTML")
    if text.startswith(b"<"):
        if b"<svg" in text or b"<!doctype svg" in text:
            raise ImageError(Outcome.FORMAT_NOT_SUPPORTED, "SVG is not read")
        if len(head) < _ENOUGH_TEXT:
            return
    if len(head) >= _ENOUGH_BINARY:
        raise ImageError(Outcome.NOT_AN_IMAGE, f"begins with {head[:8].hex(' ')}")


def _sized(
    kind: str,
    width: int,
    height: int,
    *,
    components: int,
    bits: int = 8,
    turned: int = 1,
    progressive: bool = False,
    run_length: bool = False,
) -> Probe:
    if width <= 0 or height <= 0:
        raise ImageError(Outcome.DECODE_FAILED, f"{kind}: {width} x {height} pixels in the header")
    if orientation.swaps_sides(turned):
        width, height = height, width
    return Probe(
        format=kind,
        width=width,
        height=height,
        orientation=turned,
        components=components,
        bits=bits,
        progressive=progressive,
        run_length=run_length,
    )


def _probe_jpeg(head: bytes) -> Probe | None:
    header = jpeg.read_header(head)
    if header is None:
        return None
    frame, turned = header
    return _sized(
        "jpeg",
        frame.width,
        frame.height,
        components=frame.components,
        bits=frame.bits,
        turned=turned,
        progressive=frame.progressive,
    )


def _probe_png(head: bytes) -> Probe | None:
    if len(head) < 29:
        return None
    if head[12:16] != b"IHDR":
        raise ImageError(Outcome.DECODE_FAILED, "png: does not begin with IHDR")
    width, height, bits, colour = struct.unpack_from(">IIBB", head, 16)
    if colour not in _PNG_CHANNELS:
        raise ImageError(Outcome.DECODE_FAILED, f"png: colour type {colour}")
    turned = orientation.UPRIGHT
    for name, payload in png_chunks(head):
        if name == b"eXIf":
            turned = orientation.read(payload)
        if name in (b"eXIf", b"IDAT"):
            break
    components = _PNG_CHANNELS[colour]
    return _sized("png", width, height, components=components, bits=bits, turned=turned)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, payload) of each PNG chunk that is there in full."""
    position = len(_PNG)
    while position + 12 <= len(data):
        size = int.from_bytes(data[position : position + 4])
        start = position + 8
        if start + size + 4 > len(data):
            return
        yield data[position + 4 : start], data[start : start + size]
        position = start + size + 4


def _probe_gif(head: bytes) -> Probe | None:
    if len(head) < 10:
        return None
    width, height = struct.unpack_from("<HH", head, 6)
    return _sized("gif", width, height, components=3)


def _probe_webp(head: bytes) -> Probe | None:
    if len(head) < 30:
        return None
    chunk = head[12:16]
    if chunk == b"VP8X":
        width = 1 + int.from_bytes(head[24:27], "little")
        height = 1 + int.from_bytes(head[27:30], "little")
        return _sized("webp", width, height, components=4 if head[20] & 0x10 else 3)
    if chunk == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        return _sized("webp", width & 0x3FFF, height & 0x3FFF, components=3)
    if chunk == b"VP8L" and head[20] == 0x2F:
        packed = int.from_bytes(head[21:25], "little")
        width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
        return _sized("webp", width, height, components=4 if packed >> 28 & 1 else 3)
    raise ImageError(Outcome.DECODE_FAILED, f"webp: first chunk {chunk.hex(' ')}")


def _probe_bmp(head: bytes) -> Probe | None:
    size = int.from_bytes(head[14:18], "little")
    if size not in _BMP_HEADERS:
        raise ImageError(Outcome.NOT_AN_IMAGE, f"begins with {head[:8].hex(' ')}")
    if len(head) < 34:
        return None
    width, height, _, bits = struct.unpack_from("<HHHH" if size == 12 else "<iiHH", head, 18)
    run_length = size >= 40 and int.from_bytes(head[30:34], "little") in _BMP_RUN_LENGTH
    components = 4 if bits == 32 else 3
    return _sized("bmp", width, abs(height), components=components, run_length=run_length)


def _probe_ftyp(head: bytes) -> Probe | None:
    """Read the ISO container's brands; an AVIF's size stands in its item properties."""
    end = int.from_bytes(head[:4])
    if len(head) < min(end, _ENOUGH_TEXT):
        return None
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, min(end, _ENOUGH_TEXT), 4))]
    if not any(brand in _FTYP_BRANDS for brand in brands):
        detail = f"ISO container of brand {head[8:12].hex(' ')} is not read"
        raise ImageError(Outcome.FORMAT_NOT_SUPPORTED, detail)
    properties = _find_box(head, (b"meta", b"iprp", b"ipco"))
    if properties is None:
        return None
    sides, quarter_turns = (0, 0), 0
    for name, start, stop in _boxes(head, *properties):
        if name == b"ispe" and stop - start >= 12:
            # Tiles of a grid and thumbnails have their own, smaller, entry.
            size = struct.unpack_from(">II", head, start + 4)
            sides = max(sides, size, key=lambda pair: pair[0] * pair[1])
        if name == b"irot" and stop > start:
            quarter_turns = head[start] & 3
    turned = {0: 1, 1: 8, 2: 3, 3: 6}[quarter_turns]
    return _sized("avif", *sides, components=3, turned=turned)


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, payload start, payload end) of the ISO boxes that lie within the range."""
    while start + 8 <= stop:
        size = int.from_bytes(data[start : start + 4])
        if size < 8 or start + size > stop:
            return
        yield data[start + 4 : start + 8], start + 8, start + size
        start += size


def _find_box(data: bytes, path: tuple[bytes, ...]) -> tuple[int, int] | None:
    """Return the payload range of a nested box, or None where it is not there (yet)."""
    start, stop = 0, len(data)
    for wanted in path:
        inner = next((box for box in _boxes(data, start, stop) if box[0] == wanted), None)
        if inner is None:
            return None
        # `meta` is a full box: four bytes of version and flags come first.
        start, stop = inner[1] + (4 if wanted == b"meta" else 0), inner[2]
    return start, stop
