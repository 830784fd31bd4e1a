"""JPEG as a list of segments: size and orientation from the header, metadata cut without loss.

Goes in: the bytes of a file, or its first ones. Nothing here decodes pixels. The walk over
segments skips garbage and fill bytes as libjpeg does, so that both see the same header, and is
linear in the length of the file whatever the bytes are.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from shards.image import orientation
from shards.image.types import ImageError
from shards.outcomes import Outcome

MAX_SCANS = 32
"""A progressive file of a few kilobytes can ask for thousands of passes over 64 Mpx.
Encoders write at most about a dozen."""

SOI = b"\xff\xd8"

_EOI = 0xD9
_SOS = 0xDA
_COM = 0xFE
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})

_MARKER = re.compile(rb"\xff[^\x00\xff]")
# Inside a scan, FF 00 is data and FF D0..D7 restarts the coder; anything else ends it.
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class Segment(NamedTuple):
    """One marker; `data[start:end]` is its payload without the length, a scan's with its data."""

    marker: int
    start: int
    end: int


class Frame(NamedTuple):
    """The frame header, in stored (not upright) pixels."""

    width: int
    height: int
    components: int
    bits: int
    progressive: bool


class Survey(NamedTuple):
    """What a walk over the whole file tells before it is decoded."""

    orientation: int  # EXIF value 1..8
    scans: int
    complete: bool  # the end marker is there


def segments(data: bytes) -> Iterator[Segment]:
    """Yield the segments after SOI up to EOI, or up to where the bytes end inside one."""
    position = len(SOI)
    while match := _MARKER.search(data, position):
        marker, start = data[match.end() - 1], match.end()
        position = start
        if marker == _EOI:
            yield Segment(marker, start, start)
            return
        if marker in _WITHOUT_LENGTH:
            continue
        position = start + int.from_bytes(data[start : start + 2])
        if position < start + 2 or position > len(data):
            return
        if marker == _SOS:
            after = _SCAN_END.search(data, position)
            position = after.start() if after else len(data)
        yield Segment(marker, start + 2, position)


def read_header(head: bytes) -> tuple[Frame, int] | None:
    """Return the frame header and the orientation before it, or None where the head ends first.

    Raises:
        ImageError: DECODE_FAILED where picture data or the end comes before a frame header.
    """
    tag: int | None = None
    for marker, start, end in segments(head):
        if marker in _FRAMES:
            if end - start < 6:
                raise ImageError(Outcome.DECODE_FAILED, "jpeg: short frame header")
            bits, height, width, components = struct.unpack_from(">BHHB", head, start)
            frame = Frame(width, height, components, bits, marker in _PROGRESSIVE)
            return frame, tag or orientation.UPRIGHT
        if marker in (_SOS, _EOI):
            raise ImageError(Outcome.DECODE_FAILED, "jpeg: no frame header before the picture data")
        tag = tag or _exif_orientation(marker, head[start:end])
    return None


def survey(data: bytes) -> Survey:
    """Walk over the whole file: orientation (tags may follow the frame header), scans, end."""
    tag: int | None = None
    scans = 0
    for marker, start, end in segments(data):
        if marker == _EOI:
            return Survey(tag or orientation.UPRIGHT, scans, complete=True)
        scans += marker == _SOS
        if scans == 0:
            tag = tag or _exif_orientation(marker, data[start:end])
    return Survey(tag or orientation.UPRIGHT, scans, complete=False)


def clean(data: bytes, *, drop_padding: bool = False) -> bytes | None:
    """Return the file with only what its pixels need, or None where it has no end marker.

    EXIF (with places, names and a thumbnail), XMP, IPTC, ICC profiles, comments and what follows
    the end marker (the other pictures of an MPO) go. JFIF and Adobe segments stay, cut to their
    fixed part, because decoders read the colour space from them. Bytes between segments go too.
    With `drop_padding` so do zeros before the end marker, over which strict decoders stumble;
    not by default, since a sound scan may end in `FF 00`.
    """
    parts = [SOI]
    for marker, start, end in segments(data):
        if marker == _EOI:
            if drop_padding:
                parts[-1] = parts[-1].rstrip(b"\0")
            return b"".join([*parts, bytes([0xFF, _EOI])])
        if marker in range(0xE0, 0xF0) or marker == _COM:
            parts.append(_kept_metadata(marker, data[start:end]))
        else:
            parts.append(bytes([0xFF, marker]) + data[start - 2 : end])
    return None


def _kept_metadata(marker: int, payload: bytes) -> bytes:
    if marker == _APP0 and payload.startswith(b"JFIF\0") and len(payload) >= 14:
        fixed = payload[:12] + b"\0\0"  # no thumbnail: it may show what was cropped away
    elif marker == _APP14 and payload.startswith(b"Adobe") and len(payload) >= 12:
        fixed = payload[:12]
    else:
        return b""
    return bytes([0xFF, marker]) + (len(fixed) + 2).to_bytes(2) + fixed


def _exif_orientation(marker: int, payload: bytes) -> int | None:
    if marker == _APP1 and payload.startswith(b"Exif\0"):
        return orientation.read(payload)
    return None
