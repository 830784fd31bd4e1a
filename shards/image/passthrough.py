"""Files that can be stored as they are: same compressed pixels, nothing else kept.

Goes in: a whole file. Comes out: the file with its metadata cut, shown to decode to its end, or
None where it needs re-encoding: another format, not 8 bits, not 1 or 3 channels, transparent,
animated, or not upright.
"""

from __future__ import annotations

import zlib

from shards.image import jpeg, orientation, pixels, sniff
from shards.image.types import ImageError, Probe

_PNG_HEAD = 8
_PNG_PLAIN_COLOURS = (0, 2)  # grey and RGB; palettes and alpha are other cases
_PNG_KEPT = (b"IHDR", b"IDAT", b"IEND")


def strip(data: bytes, head: Probe, encode_format: str) -> bytes | None:
    """Return `data` without metadata if it can be stored in `encode_format`, else None."""
    wanted = "jpeg" if encode_format == "jpg" else encode_format
    if head.format != wanted or head.bits != 8 or head.components not in (1, 3):
        return None
    if head.orientation != orientation.UPRIGHT:
        return None
    if wanted == "jpeg":
        return _strip_jpeg(data)
    if pixels.loaded_orientation(data, wanted) != orientation.UPRIGHT:
        return None
    return _strip_png(data) if wanted == "png" else _strip_webp(data)


def _strip_jpeg(data: bytes) -> bytes | None:
    try:
        pixels.check_jpeg(data)
    except ImageError:
        # Not a verdict: the full decoder tells harmless damage from real damage, and re-encodes.
        return None
    return jpeg.clean(data)


def _strip_png(data: bytes) -> bytes | None:
    """Keep header, pixel data and end. Gamma and profiles go, as decoders here ignore them."""
    parts = [data[:_PNG_HEAD]]
    for name, payload in sniff.png_chunks(data):
        if name == b"IHDR" and payload[9] not in _PNG_PLAIN_COLOURS:
            return None
        if name in (b"tRNS", b"acTL"):
            return None
        if name in _PNG_KEPT:
            checksum = zlib.crc32(name + payload).to_bytes(4)
            parts.append(len(payload).to_bytes(4) + name + payload + checksum)
        if name == b"IEND":
            return b"".join(parts)
    return None


def _strip_webp(data: bytes) -> bytes | None:
    """Keep the one picture chunk, in the simple container."""
    position, end = 12, min(8 + int.from_bytes(data[4:8], "little"), len(data))
    while position + 8 <= end:
        name = data[position : position + 4]
        stop = position + 8 + int.from_bytes(data[position + 4 : position + 8], "little")
        if name in (b"ALPH", b"ANIM", b"ANMF") or stop > end:
            return None
        if name in (b"VP8 ", b"VP8L"):
            picture = data[position:stop] + b"\0" * (stop % 2)  # chunks have even length
            return b"RIFF" + (len(picture) + 4).to_bytes(4, "little") + b"WEBP" + picture
        position = stop + stop % 2
    return None
