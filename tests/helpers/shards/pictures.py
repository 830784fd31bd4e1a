"""Small images for tests: smooth pixels, every encoding of them, and the eight orientations."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

# How the stored pixels of an upright image look under each tag: the inverse of what viewers do.
STORED_AS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a, -1),
}


def photo(width: int = 96, height: int = 64, seed: int = 0) -> Pixels:
    """Return smooth coloured pixels without any symmetry."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(pixels: Any, kind: str, **options: Any) -> bytes:
    """Encode an array or a Pillow image with Pillow."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int = 1, *, order: str = "<") -> bytes:
    """Return an EXIF block with the tag, and with a GPS latitude reference that must not leak."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    entries += struct.pack(order + "HHII", 0x8825, 4, 1, 38)
    gps = struct.pack(order + "H", 1) + struct.pack(order + "HHI", 1, 2, 2) + b"N\0\0\0" + b"\0" * 4
    return b"Exif\0\0" + mark + struct.pack(order + "IH", 8, 2) + entries + b"\0" * 4 + gps


def turned(upright: Pixels, kind: str, orientation: int, **options: Any) -> bytes:
    """Return a file whose pixels are stored turned, and whose tag says so."""
    stored = np.ascontiguousarray(STORED_AS[orientation](upright))
    return encoded(stored, kind, exif=exif(orientation), **options)


def png_chunk(name: bytes, payload: bytes) -> bytes:
    """Return one PNG chunk with its length and checksum."""
    checksum = zlib.crc32(name + payload)
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", checksum)


def png_of(width: int, height: int, bits: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """Return a PNG built by hand; `rows` holds a filter byte and packed pixels per row."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header), *extra]
    chunks += [png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
