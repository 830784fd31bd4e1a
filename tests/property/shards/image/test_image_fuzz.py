"""Whatever the bytes: an image or an `ImageError`, the same one every time, within the cap."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.shards import pictures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from shards.image import ImageError, StoreSpec, decode, probe, store

SMALL = pictures.photo(24, 16)
SEEDS = [
    pictures.turned(SMALL, "JPEG", 6),
    pictures.encoded(SMALL, "JPEG", progressive=True),
    pictures.encoded(Image.fromarray(SMALL).convert("CMYK"), "JPEG"),
    pictures.turned(SMALL, "PNG", 5),
    pictures.encoded(Image.fromarray(SMALL).convert("P"), "PNG"),
    pictures.encoded(Image.fromarray(SMALL).convert("L").convert("I;16"), "PNG"),
    pictures.encoded(SMALL, "WEBP", exif=pictures.exif(3)),
    pictures.encoded(Image.fromarray(SMALL).convert("RGBA"), "WEBP", lossless=True),
    pictures.encoded(SMALL, "GIF"),
    pictures.encoded(SMALL, "BMP"),
    pictures.encoded(SMALL, "AVIF"),
]
MAX_PIXELS = 100_000


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a real file with bytes changed, cut out, doubled or cut off."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        # The header is where parsers live; half of the damage goes there.
        at = at % 64 if draw(st.booleans()) else at
        length = draw(st.integers(1, 8))
        kind = draw(st.sampled_from(["change", "cut", "double", "end"]))
        if kind == "change":
            data[at : at + length] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "double":
            data[at:at] = data[at : at + 8 * length]
        else:
            del data[max(at, 4) :]
    return bytes(data)


def attempt(data: bytes) -> object:
    try:
        pixels = decode(data, max_pixels=MAX_PIXELS)
    except ImageError as error:
        return str(error)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    return pixels.tobytes()


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_is_an_image_error_or_an_image(data: bytes) -> None:
    assert attempt(data) == attempt(data)


@settings(max_examples=200)
@given(damaged())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_stored_decodes(data: bytes) -> None:
    try:
        stored = store(data, StoreSpec(max_pixels=MAX_PIXELS))
    except ImageError:
        return
    assert decode(stored.data).shape == (stored.height, stored.width, 3)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode(data, max_pixels=MAX_PIXELS)


@settings(max_examples=300)
@given(damaged(), st.integers(0, 400))
def test_a_longer_head_never_takes_a_size_back(data: bytes, cut: int) -> None:
    def read(head: bytes) -> object:
        try:
            return probe(head)
        except ImageError as error:
            return error.outcome

    early, late = read(data[:cut]), read(data)
    if early is not None and late is not None and not data.startswith(b"\x89PNG"):
        assert early == late
