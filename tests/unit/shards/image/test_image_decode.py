"""Decoding: every colour layout to the right RGB, every orientation upright, damage refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from helpers.shards import pictures
from PIL import Image, ImageFile

from shards.image import ImageError, decode, probe
from shards.outcomes import Outcome

PHOTO = pictures.photo()


def outcome_of(data: bytes, **options: int) -> str:
    with pytest.raises(ImageError) as raised:
        decode(data, **options)
    return raised.value.outcome


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95, "subsampling": 0}, 8),
        ("JPEG", {"quality": 95, "progressive": True}, 16),
        ("WEBP", {"quality": 95}, 24),
        ("AVIF", {"quality": 95}, 24),
        ("GIF", {}, 60),
    ],
)
def test_formats(kind: str, options: dict[str, object], tolerance: int) -> None:
    data = pictures.encoded(PHOTO, kind, **options)
    actual = decode(data)
    assert actual.dtype == np.uint8
    assert actual.flags.c_contiguous and actual.flags.writeable
    assert np.abs(actual.astype(int) - PHOTO).max() <= tolerance
    head = probe(data[:2048])
    assert head is not None
    assert (head.format, head.width, head.height) == (kind.lower(), 96, 64)


def grey(levels: list[int]) -> np.ndarray:
    return np.repeat(np.array([levels], np.uint8)[..., None], 3, axis=2)


SIXTEEN = b"\0" + np.array([0, 128, 129, 257, 32768, 65535], ">u2").tobytes()
CMYK = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], np.uint8).repeat(16, 1)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        (
            "16-bit grey is scaled",
            pictures.png_of(6, 1, 16, 0, SIXTEEN),
            grey([0, 0, 1, 1, 128, 255]),
        ),
        (
            "16-bit transparent level",
            pictures.png_of(6, 1, 16, 0, SIXTEEN, pictures.png_chunk(b"tRNS", b"\x80\0")),
            grey([0, 0, 1, 1, 255, 255]),
        ),
        ("1 bit", pictures.png_of(4, 1, 1, 0, b"\0\x50"), grey([0, 255, 0, 255])),
        (
            "1 bit, black is transparent",
            pictures.png_of(4, 1, 1, 0, b"\0\x50", pictures.png_chunk(b"tRNS", b"\0\0")),
            grey([255, 255, 255, 255]),
        ),
        (
            "4 bits, level 3 is transparent",
            pictures.png_of(4, 1, 4, 0, b"\0\x03\x7f", pictures.png_chunk(b"tRNS", b"\0\x03")),
            grey([0, 255, 119, 255]),
        ),
        (
            "one colour is transparent",
            pictures.png_of(
                2,
                1,
                8,
                2,
                b"\0" + bytes([9, 8, 7, 9, 8, 6]),
                pictures.png_chunk(b"tRNS", b"\0\x09\0\x08\0\x07"),
            ),
            np.array([[[255, 255, 255], [9, 8, 6]]], np.uint8),
        ),
        (
            "palette with alpha",
            pictures.png_of(
                2,
                1,
                8,
                3,
                b"\0\0\1",
                pictures.png_chunk(b"PLTE", bytes([10, 20, 30, 0, 0, 0])),
                pictures.png_chunk(b"tRNS", bytes([255, 128])),
            ),
            np.array([[[10, 20, 30], [127, 127, 127]]], np.uint8),
        ),
        (
            "grey with alpha",
            pictures.png_of(2, 1, 8, 4, b"\0" + bytes([0, 0, 100, 255])),
            np.array([[[255] * 3, [100] * 3]], np.uint8),
        ),
        (
            "colour with alpha",
            pictures.png_of(2, 1, 8, 6, b"\0" + bytes([0, 0, 0, 51, 200, 100, 0, 255])),
            np.array([[[204] * 3, [200, 100, 0]]], np.uint8),
        ),
    ],
)
def test_colour_layouts(name: str, data: bytes, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(decode(data), expected, err_msg=name)


def test_cmyk_jpeg_has_white_paper_and_black_ink() -> None:
    data = pictures.encoded(Image.fromarray(CMYK.repeat(16, 0), "CMYK"), "JPEG", quality=100)
    middle = decode(data)[8, [4, 24, 40]].astype(int)
    expected = np.array([[255, 255, 255], [0, 255, 255], [0, 0, 0]])
    assert np.abs(middle - expected).max() <= 3


@pytest.mark.parametrize(
    ("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})]
)
def test_animation_gives_its_first_frame(kind: str, options: dict[str, object]) -> None:
    frames = [Image.new("RGB", (8, 4), colour) for colour in ("red", "lime", "blue")]
    data = pictures.encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decode(data), np.full((4, 8, 3), (255, 0, 0), np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
def test_exif_of_either_byte_order(orientation: int, order: str) -> None:
    stored = np.ascontiguousarray(pictures.STORED_AS[orientation](PHOTO))
    data = pictures.encoded(stored, "PNG", exif=pictures.exif(orientation, order=order))
    np.testing.assert_array_equal(decode(data), PHOTO)


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 95})]
)
def test_photo_in_all_orientations_is_one_picture(kind: str, options: dict[str, object]) -> None:
    skimage = pytest.importorskip("skimage")
    rocket = Path(skimage.__file__).parent / "data" / "rocket.jpg"
    if not rocket.is_file():
        pytest.skip("this scikit-image ships no rocket.jpg")
    upright = decode(rocket.read_bytes())[:208, :160]
    plain = decode(pictures.turned(upright, kind, 1, **options))
    for orientation in range(2, 9):
        data = pictures.turned(upright, kind, orientation, **options)
        actual = decode(data)
        assert actual.shape == upright.shape
        worst = np.abs(actual.astype(int) - plain).max()
        # Lossy blocks are coded transposed, so a JPEG differs by its quantisation noise.
        assert worst <= (48 if kind == "JPEG" else 0), orientation
        head = probe(data)
        assert head is not None
        if kind != "WEBP":  # its EXIF follows the picture
            assert (head.orientation, head.width, head.height) == (orientation, 160, 208)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_nonsense_orientation_means_upright(orientation: int) -> None:
    data = pictures.encoded(PHOTO, "PNG", exif=pictures.exif(orientation))
    np.testing.assert_array_equal(decode(data), PHOTO)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Outcome.NOT_AN_IMAGE),
        (b"<!DOCTYPE html><html><svg></svg></html>", Outcome.NOT_AN_IMAGE),
        (b'{"error": "gone, and this is no image at all"}', Outcome.NOT_AN_IMAGE),
        (b"<?xml version='1.0'?><!-- x --><svg/>", Outcome.FORMAT_NOT_SUPPORTED),
        (b"II*\0" + b"\0" * 60, Outcome.FORMAT_NOT_SUPPORTED),
        (b"8BPS\0\1" + b"\0" * 60, Outcome.FORMAT_NOT_SUPPORTED),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40, Outcome.FORMAT_NOT_SUPPORTED),
        (b"\xff\xd8\xff", Outcome.DECODE_FAILED),
    ],
)
def test_what_is_no_image_of_ours(data: bytes, expected: str) -> None:
    assert outcome_of(data) == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(kind: str, kept: float) -> None:
    data = pictures.encoded(PHOTO, kind)
    assert outcome_of(data[: int(len(data) * kept)]) == Outcome.DECODE_FAILED


def test_truncated_jpeg_with_an_end_marker_is_refused() -> None:
    data = pictures.encoded(PHOTO, "JPEG")
    assert outcome_of(data[: len(data) * 2 // 3] + b"\xff\xd9") == Outcome.DECODE_FAILED


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("zeros before the end", lambda d: d[:-2] + bytes(200) + d[-2:]),
        ("something after the end", lambda d: d + d[:100]),
        ("bytes between segments", lambda d: d[:20] + b"junk" + d[20:]),
        (
            "an ICC profile that is none",
            lambda d: d[:2] + b"\xff\xe2\0\x14ICC_PROFILE\0\5\1??" + d[2:],
        ),
    ],
)
def test_harmless_damage_changes_nothing(name: str, change: object) -> None:
    data = pictures.encoded(PHOTO, "JPEG")
    np.testing.assert_array_equal(decode(change(data)), decode(data), err_msg=name)


def test_rare_sampling_factors_are_read() -> None:
    """Chroma finer than luma, which libjpeg-turbo's simple interface does not know."""
    data = bytearray(pictures.encoded(Image.new("RGB", (16, 16)), "JPEG", subsampling=0))
    factors = data.index(b"\xff\xc0") + 11
    data[factors : factors + 7 : 3] = b"\x11\x22\x22"
    # One unit of 1 + 4 + 4 blocks, all of level zero: mid grey. Then ones up to the full byte.
    blocks = "001010" + "0000" * 8 + "11"
    scan = data.index(b"\xff\xda") + 14
    data[scan:-2] = int(blocks, 2).to_bytes(len(blocks) // 8)
    np.testing.assert_array_equal(decode(bytes(data)), np.full((16, 16, 3), 128, np.uint8))


def bomb(kind: str) -> bytes:
    """Return a file of a few bytes whose header says 60,000 x 60,000."""
    if kind == "png":
        return pictures.png_of(60_000, 60_000, 8, 2, b"\0" * 100)
    if kind == "gif":
        return b"GIF89a" + b"\x60\xea" * 2 + b"\x80\0\0" + b"\0" * 30
    if kind == "webp":
        data = bytearray(pictures.encoded(Image.new("RGBA", (9, 9)), "WEBP", exif=b"Exif\0\0"))
        data[24:30] = b"\xff\x3f\0" * 2
        return bytes(data)
    if kind == "avif":
        data = bytearray(pictures.encoded(PHOTO, "AVIF"))
        size = data.index(b"ispe") + 8
        data[size : size + 8] = (60_000).to_bytes(4) * 2
        return bytes(data)
    if kind == "bmp":
        data = bytearray(pictures.encoded(PHOTO, "BMP"))
        data[18:26] = (60_000).to_bytes(4, "little") * 2
        return bytes(data)
    data = bytearray(pictures.encoded(PHOTO, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (60_000).to_bytes(2) * 2
    return bytes(data)


@pytest.mark.parametrize("kind", ["png", "gif", "bmp", "jpeg", "webp", "avif"])
def test_bombs_are_refused_by_their_header(kind: str) -> None:
    assert outcome_of(bomb(kind)) == Outcome.TOO_MANY_PIXELS


def test_cap_is_inclusive() -> None:
    data = pictures.encoded(PHOTO, "PNG")
    assert decode(data, max_pixels=96 * 64).shape == (64, 96, 3)
    assert outcome_of(data, max_pixels=96 * 64 - 1) == Outcome.TOO_MANY_PIXELS


def test_progressive_file_of_too_many_scans_is_refused() -> None:
    data = pictures.encoded(PHOTO, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert outcome_of(data[:-2] + data[last:-2] * 120 + data[-2:]) == Outcome.DECODE_FAILED


def test_probe_wants_no_more_than_it_needs() -> None:
    data = pictures.turned(PHOTO, "JPEG", 6)
    shortest = next(n for n in range(len(data)) if probe(data[:n]))
    assert all(probe(data[:n]) is None for n in range(shortest))
    head = probe(data[:shortest])
    assert head == probe(data)
    assert head is not None
    assert (head.width, head.height, head.components, head.bits) == (96, 64, 3, 8)


def test_error_survives_a_process_border() -> None:
    error = pickle.loads(pickle.dumps(ImageError(Outcome.NOT_AN_IMAGE, "HTML")))
    assert (error.outcome, error.detail, str(error)) == (
        Outcome.NOT_AN_IMAGE,
        "HTML",
        "not_an_image: HTML",
    )


def test_pillows_leniency_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(AssertionError, match="half images"):
        decode(pictures.encoded(PHOTO, "PNG"))
