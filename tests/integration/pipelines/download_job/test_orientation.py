"""One photo under all eight EXIF orientations is one picture in the shards."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from helpers.pipelines.corpora import LOOPBACK, joined, run_filter, write_joined
from helpers.shards.pictures import Pixels, photo, turned
from PIL import Image

import shards.reading.reader
from examples.web import Page, serve

WIDTH, HEIGHT = 96, 64
UPRIGHT = photo(WIDTH, HEIGHT)
KINDS = {
    "png": {},
    "webp": {"lossless": True},
    "jpeg": {"quality": 95, "subsampling": 0},
}

Found = dict[str, tuple[Pixels, bytes, tuple[int, int]]]


def run_job(folder: Path, *flags: str) -> Found:
    """Return by path: stored pixels, stored file, original width and height."""
    pages = {
        f"/{kind}/{orientation}": Page(turned(UPRIGHT, kind.upper(), orientation, **options))
        for kind, options in KINDS.items()
        for orientation in range(1, 9)
    }
    with serve(pages) as base:
        caption = "a picture that was turned before it was stored"
        metadata = write_joined(
            folder / "m.parquet", [joined(base + path, caption) for path in pages]
        )
        run = run_filter(
            folder / "out",
            f"--input=laion2b_en_joined={metadata}",
            "--encode_format=png",
            *LOOPBACK,
            *flags,
        )
    found = {}
    for record in shards.reading.reader.read(run):
        assert record.sample.url is not None
        pixels = np.asarray(Image.open(io.BytesIO(record.image)))
        original = (record.sample.original_width, record.sample.original_height)
        assert (record.sample.width, record.sample.height) == pixels.shape[1::-1]
        found[record.sample.url.removeprefix(base)] = (pixels, record.image, original)
    assert found.keys() == pages.keys()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return run_job(tmp_path_factory.mktemp("whole"), "--resize_mode=no")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return run_job(tmp_path_factory.mktemp("small"), "--image_size=32")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "webp"])
def test_lossless_files_give_the_same_pixels(whole: Found, kind: str, orientation: int) -> None:
    assert (whole[f"/{kind}/{orientation}"][0] == UPRIGHT).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_give_nearly_the_same_pixels(whole: Found, orientation: int) -> None:
    pixels = whole[f"/jpeg/{orientation}"][0]
    assert pixels.shape == UPRIGHT.shape
    assert np.abs(pixels.astype(int) - UPRIGHT).mean() < 1.5


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_resizing_comes_after_turning(small: Found, kind: str) -> None:
    expected = small[f"/{kind}/1"][0]
    assert expected.shape == (32, 48, 3)
    assert all((small[f"/{kind}/{each}"][0] == expected).all() for each in range(2, 9))


def test_sizes_are_those_of_the_upright_picture(whole: Found, small: Found) -> None:
    sizes = {original for run in (whole, small) for _, _, original in run.values()}
    assert sizes == {(WIDTH, HEIGHT)}


def test_a_stored_image_says_nothing_but_pixels(whole: Found) -> None:
    for _, data, _ in whole.values():
        image = Image.open(io.BytesIO(data))
        image.load()
        assert not image.getexif()
        assert not image.info
        assert b"Exif" not in data and b"eXIf" not in data
