"""Storing: sizes of every mode, what passes through, and that no metadata survives."""

from __future__ import annotations

import dataclasses
import io
import os

import numpy as np
import pytest
from helpers.shards import pictures
from helpers.shared_data import shared_data
from PIL import Image

from shards.image import PROFILES, ImageError, StoreSpec, decode, store
from shards.image.resize import plan
from shards.outcomes import Outcome

PHOTO = pictures.photo()


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        # Short side.
        ((1000, 600), {"resize_mode": "keep_ratio", "image_size": 300}, (500, 300)),
        ((600, 1000), {"resize_mode": "keep_ratio", "image_size": 300}, (300, 500)),
        ((200, 100), {"resize_mode": "keep_ratio", "image_size": 300}, (200, 100)),
        ((200, 100), {"image_size": 300, "only_if_bigger": False}, (600, 300)),
        ((3000, 100), {"image_size": 64, "max_long_side": 1000}, (1000, 33)),
        ((3000, 100), {"image_size": 300, "max_long_side": 1000}, (1000, 33)),
        # Long side.
        ((1000, 600), {"resize_mode": "keep_ratio_largest", "image_size": 300}, (300, 180)),
        ((200, 100), {"resize_mode": "keep_ratio_largest", "image_size": 300}, (200, 100)),
        # Fixed frames, left alone where the image is smaller.
        ((1000, 600), {"resize_mode": "border", "image_size": 300}, (300, 300)),
        ((200, 100), {"resize_mode": "border", "image_size": 300}, (200, 100)),
        (
            (200, 100),
            {"resize_mode": "border", "image_size": 300, "only_if_bigger": False},
            (300, 300),
        ),
        ((1000, 600), {"resize_mode": "center_crop", "image_size": 300}, (300, 300)),
        ((1000, 200), {"resize_mode": "center_crop", "image_size": 300}, (1000, 200)),
        ((1000, 600), {"resize_mode": "fixed", "image_size": 300}, (300, 300)),
        ((1000, 600), {"resize_mode": "no"}, (1000, 600)),
        ((3000, 600), {"resize_mode": "no"}, (2048, 410)),
    ],
)
def test_sizes(
    size: tuple[int, int], options: dict[str, object], expected: tuple[int, int]
) -> None:
    assert plan(*size, StoreSpec(**options)).canvas == expected


@pytest.mark.parametrize(
    ("profile", "size", "expected"),
    [
        ("stage1", (1600, 1200), (341, 256)),
        ("stage2", (1600, 1200), (683, 512)),
        ("stage2", (6000, 1000), (2048, 341)),
        ("ground", (1600, 1200), (1067, 800)),
        ("ground", (3000, 1000), (1333, 444)),
    ],
)
def test_profiles(profile: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert plan(*size, PROFILES[profile]).canvas == expected


@pytest.mark.parametrize(
    "mode", ["no", "keep_ratio", "keep_ratio_largest", "border", "center_crop"]
)
@pytest.mark.parametrize("only_if_bigger", [True, False])
def test_sizes_are_img2datasets(
    mode: str, only_if_bigger: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shared_data()
    if data is None:
        pytest.skip("the folder of real photos is not here")
    monkeypatch.setitem(os.environ, "NO_ALBUMENTATIONS_UPDATE", "1")
    resizer = pytest.importorskip("img2dataset.resizer")
    peer = resizer.Resizer(256, mode, only_if_bigger)
    spec = StoreSpec(
        image_size=256, resize_mode=mode, only_if_bigger=only_if_bigger, max_long_side=None
    )
    photos = sorted((data / "photos" / "img2dataset-resize").glob("*.jpg"))
    assert len(photos) == 7
    for photo in photos:
        _, *expected, error = peer(io.BytesIO(photo.read_bytes()))
        assert error is None
        stored = store(photo.read_bytes(), spec)
        actual = [stored.width, stored.height, stored.original_width, stored.original_height]
        assert actual == expected, photo.name
        assert decode(stored.data).shape == (stored.height, stored.width, 3)


def test_border_is_white_and_centred() -> None:
    spec = StoreSpec(encode_format="png", quality=1, resize_mode="border", image_size=60)
    stored = decode(store(pictures.encoded(np.zeros((60, 120, 3), np.uint8), "PNG"), spec).data)
    dark_rows = np.flatnonzero((stored < 128).all(axis=(1, 2)))
    assert (dark_rows[0], dark_rows[-1]) == (15, 44)
    assert (stored[0] == 255).all() and (stored[-1] == 255).all()


def test_centre_crop_keeps_the_middle() -> None:
    columns = np.zeros((40, 120, 3), np.uint8)
    columns[:, 40:80] = 255
    spec = StoreSpec(encode_format="png", quality=1, resize_mode="center_crop", image_size=40)
    stored = decode(
        store(
            pictures.encoded(columns, "PNG"), dataclasses.replace(spec, only_if_bigger=False)
        ).data
    )
    assert stored.shape == (40, 40, 3) and (stored == 255).all()


def segment_names(data: bytes) -> set[bytes]:
    names = (
        b"Exif",
        b"eXIf",
        b"iCCP",
        b"http://ns.adobe.com",
        b"Photoshop",
        b"ICC_PROFILE",
        b"GPS",
        b"secret",
    )
    return {name for name in names if name in data}


def with_metadata(kind: str) -> bytes:
    options = {"exif": pictures.exif(1), "icc_profile": b"ICC_PROFILE" * 9}
    if kind == "JPEG":
        options |= {"comment": b"secret", "xmp": b"http://ns.adobe.com secret"}
    if kind == "WEBP":
        options |= {"lossless": True, "xmp": b"http://ns.adobe.com secret"}
    return pictures.encoded(PHOTO, kind, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_metadata_is_cut_and_pixels_stay(kind: str) -> None:
    data = with_metadata(kind)
    assert segment_names(data)
    encode_format = "jpg" if kind == "JPEG" else kind.lower()
    stored = store(data, StoreSpec(encode_format=encode_format, quality=9 if kind == "PNG" else 90))
    assert stored.passed_through
    assert not segment_names(stored.data)
    info = Image.open(io.BytesIO(stored.data)).info
    assert not {"exif", "xmp", "icc_profile", "comment"} & info.keys()
    np.testing.assert_array_equal(decode(stored.data), decode(data))


@pytest.mark.parametrize(
    ("name", "data", "spec", "expected"),
    [
        ("plain", pictures.encoded(PHOTO, "JPEG"), StoreSpec(), True),
        ("grey", pictures.encoded(PHOTO[..., 0], "JPEG"), StoreSpec(), True),
        ("progressive", pictures.encoded(PHOTO, "JPEG", progressive=True), StoreSpec(), True),
        ("turned", pictures.turned(PHOTO, "JPEG", 6), StoreSpec(), False),
        ("other format", pictures.encoded(PHOTO, "PNG"), StoreSpec(), False),
        ("too big", pictures.encoded(PHOTO, "JPEG"), StoreSpec(image_size=32), False),
        (
            "too long",
            pictures.encoded(PHOTO, "JPEG"),
            StoreSpec(image_size=80, max_long_side=80),
            False,
        ),
        ("scaled up", pictures.encoded(PHOTO, "JPEG"), StoreSpec(only_if_bigger=False), False),
        ("cmyk", pictures.encoded(Image.new("CMYK", (16, 16)), "JPEG"), StoreSpec(), False),
        (
            "alpha",
            pictures.encoded(Image.new("RGBA", (9, 9)), "WEBP", lossless=True),
            StoreSpec(encode_format="webp"),
            False,
        ),
        (
            "turned webp",
            pictures.turned(PHOTO, "WEBP", 3, lossless=True),
            StoreSpec(encode_format="webp"),
            False,
        ),
        (
            "palette",
            pictures.encoded(Image.new("P", (9, 9)), "PNG"),
            StoreSpec(encode_format="png", quality=9),
            False,
        ),
        (
            "padded",
            pictures.encoded(PHOTO, "JPEG")[:-2] + bytes(99) + b"\xff\xd9",
            StoreSpec(),
            False,
        ),
    ],
)
def test_what_passes_through(name: str, data: bytes, spec: StoreSpec, expected: bool) -> None:
    assert store(data, spec).passed_through is expected, name


def test_pass_through_cuts_the_second_picture_of_an_mpo() -> None:
    first = pictures.encoded(PHOTO, "JPEG")
    assert (
        store(first + pictures.encoded(PHOTO[::-1], "JPEG"), StoreSpec()).data
        == store(first, StoreSpec()).data
    )


def test_every_ending_of_a_scan_survives_pass_through() -> None:
    """Scans may end in FF 00; a hundred small images contain a few of them."""
    noise = np.random.default_rng(5).integers(0, 256, (150, 16, 16, 3), dtype=np.uint8)
    files = [pictures.encoded(pixels, "JPEG", quality=97) for pixels in noise]
    assert any(data[-4:-2] == b"\xff\x00" for data in files)
    for data in files:
        np.testing.assert_array_equal(decode(store(data, StoreSpec()).data), decode(data))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_orientations_give_the_same_stored_bytes(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    files = [pictures.turned(PHOTO, kind, tag, **options) for tag in range(1, 9)]
    stored = {store(data, StoreSpec(image_size=32)) for data in files}
    assert len(stored) == 1
    only = stored.pop()
    assert (only.width, only.height, only.original_width, only.original_height) == (48, 32, 96, 64)


def test_torch_is_close_to_pillow() -> None:
    pytest.importorskip("torch")
    data = pictures.encoded(pictures.photo(640, 480), "PNG")
    spec = StoreSpec(encode_format="png", quality=1, image_size=200)
    ours = decode(store(data, spec).data).astype(int)
    torchs = decode(store(data, dataclasses.replace(spec, resizer="torch")).data).astype(int)
    assert np.abs(ours - torchs).mean() <= 0.1
    assert np.abs(ours - torchs).max() <= 2


def test_torch_missing_is_said_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    monkeypatch.delitem(__import__("sys").modules, "shards.image.resize_torch", raising=False)
    spec = StoreSpec(image_size=32, resizer="torch")
    with pytest.raises(ValueError, match=r"groundwork-vl\[torch-resize\]"):
        store(pictures.encoded(PHOTO, "JPEG"), spec)


def test_scaled_decode_is_near_the_full_one() -> None:
    data = pictures.turned(pictures.photo(1600, 1200), "JPEG", 6, quality=95)
    full = store(data, StoreSpec(image_size=200))
    scaled = store(data, StoreSpec(image_size=200, scaled_decode_margin=2))
    assert dataclasses.replace(scaled, data=b"") == dataclasses.replace(full, data=b"")
    difference = np.abs(decode(full.data).astype(int) - decode(scaled.data))
    assert 0 < difference.mean() < 2


def test_strip_scaled_up_is_a_bomb_too() -> None:
    data = pictures.encoded(np.zeros((1, 20_000, 3), np.uint8), "PNG")
    with pytest.raises(ImageError) as raised:
        store(data, StoreSpec(only_if_bigger=False, max_long_side=None))
    assert raised.value.outcome == Outcome.TOO_MANY_PIXELS


def test_size_that_the_format_cannot_hold() -> None:
    data = pictures.encoded(np.zeros((1, 20_000, 3), np.uint8), "PNG")
    with pytest.raises(ImageError) as raised:
        store(data, StoreSpec(encode_format="webp", resize_mode="no", max_long_side=None))
    assert raised.value.outcome == Outcome.ENCODE_FAILED


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encode_format": "jpeg"}, "jpg, png, webp"),
        ({"resize_mode": "crop"}, "center_crop"),
        ({"resizer": "cv2"}, "pillow, torch"),
        ({"quality": 0}, "1..100"),
        ({"encode_format": "png"}, "0..9"),
        ({"image_size": 0}, "at least 1"),
        ({"max_long_side": 100}, "--image_size 512"),
        ({"scaled_decode_margin": 0.5}, "1..16"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError) as raised:
        StoreSpec(**options)
    assert said in str(raised.value) and "\n" not in str(raised.value)
