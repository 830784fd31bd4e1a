"""The demo's small web: photos, scenes, and faults, each with the outcome that it must get.

Photos come from inside the scikit-image package, scenes are rendered here.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from examples.corpus import Corpus, encoded
from examples.scenes import Scene
from examples.web import Page

PHOTOS = {
    "astronaut.png": "portrait of an astronaut in an orange suit beside a flag",
    "chelsea.png": "close up of a ginger cat looking at the camera",
    "coffee.png": "a cup of coffee with a spoon on a wooden table",
    "rocket.jpg": "a rocket lifting off from its launch pad at night",
    "hubble_deep_field.jpg": "hundreds of distant galaxies in a deep field image",
    "retina.jpg": "photograph of a human retina with its blood vessels",
    "motorcycle_left.png": "a motorcycle parked in a garage full of tools",
    "ihc.png": "microscope image of stained tissue in brown and blue",
}

SPAM = (
    "buy now buy now buy now buy now buy now buy now",
    "IMG_20190412_134501.jpg",
    "https://example.com/wallpaper/4k.jpg",
)
POLITICAL = (
    "supporters cheer at a presidential election campaign rally",
    "poster urging people to vote for the opposition party candidate",
)


def fill(corpus: Corpus, pages: dict[str, Page], scenes: Mapping[int, Scene]) -> None:
    """Add the rows of metadata with their expected outcomes, and the pages of the web."""
    _photos(corpus, pages)
    _scenes(corpus, pages, scenes)
    _bad_metadata(corpus)
    _duplicates(corpus, pages)
    _bad_web(corpus, pages)


def _photos(corpus: Corpus, pages: dict[str, Page]) -> None:
    spec = find_spec("skimage")
    assert spec is not None and spec.origin is not None, (
        "the demo's photos ship inside scikit-image: run `make setup`"
    )
    for name, caption in PHOTOS.items():
        pages[f"/photos/{name}"] = Page(
            Path(spec.origin).with_name("data").joinpath(name).read_bytes()
        )
        corpus.add(f"/photos/{name}", caption, "sample")


def _scenes(corpus: Corpus, pages: dict[str, Page], scenes: Mapping[int, Scene]) -> None:
    for seed, drawn in scenes.items():
        pages[f"/scenes/{seed}.jpg"] = Page(encoded(drawn.image(), "JPEG"))
        width, height = drawn.size_px
        corpus.add(f"/scenes/{seed}.jpg", drawn.caption, "sample", WIDTH=width, HEIGHT=height)


def _bad_metadata(corpus: Corpus) -> None:
    caption = "a plain photograph of something ordinary"
    corpus.add("not a url", caption, "url_malformed")
    corpus.add("ftp://example.com/a.jpg", caption, "url_scheme")
    corpus.add("http://10.0.0.8/router.jpg", caption, "url_private_address")
    corpus.add("http://[fd00::1]/lan.jpg", caption, "url_private_address")
    corpus.add("/scenes/0.jpg?a", caption, "nsfw", punsafe=0.97)
    corpus.add("/scenes/0.jpg?b", caption, "nsfw_missing", punsafe=None)
    corpus.add("/scenes/0.jpg?c", caption, "score_invalid", punsafe=float("nan"))
    corpus.add("/scenes/0.jpg?d", caption, "aspect_ratio", WIDTH=1300, HEIGHT=200)
    corpus.add("/scenes/0.jpg?e", None, "caption_missing")
    for i, (text, outcome) in enumerate(
        zip(SPAM, ("caption_repetition", "caption_file_name", "caption_url"), strict=True)
    ):
        corpus.add(f"/scenes/0.jpg?spam{i}", text, outcome)
    for i, text in enumerate(POLITICAL):
        corpus.add(f"/scenes/0.jpg?political{i}", text, "political")


def _duplicates(corpus: Corpus, pages: dict[str, Page]) -> None:
    for seed in range(5):
        again = f"another caption of the same picture, number {seed}"
        corpus.add(f"/scenes/{seed}.jpg", again, "duplicate_url", similarity=0.2)
    # One row calls this URL safe, another does not: it must be dropped from both.
    pages["/scenes/unsafe.jpg"] = pages["/scenes/0.jpg"]
    corpus.add("/scenes/unsafe.jpg", "a picture that two rows disagree about", "unsafe_elsewhere")
    corpus.add("/scenes/unsafe.jpg", "the other row about that picture", "nsfw", punsafe=0.9)


def _bad_web(corpus: Corpus, pages: dict[str, Page]) -> None:
    picture = pages["/scenes/0.jpg"].body
    wide = encoded(Image.new("RGB", (700, 100), (90, 120, 150)), "PNG")
    bomb = encoded(Image.new("L", (12_000, 12_000)), "PNG")
    for path, page, outcome in (
        ("/gone.jpg", Page(b"gone", 404), "http_not_found"),
        (
            "/half.jpg",
            Page(picture[: len(picture) // 2], claimed_length=len(picture)),
            "body_truncated",
        ),
        (
            "/page.jpg",
            Page(b"<!DOCTYPE html><html><body>not a picture</body></html>"),
            "not_an_image",
        ),
        ("/huge.jpg", Page(b"\xff\xd8", claimed_length=30_000_000), "body_too_large"),
        ("/bomb.png", Page(bomb), "too_many_pixels"),
        ("/wide.png", Page(wide), "aspect_ratio"),
        ("/mine.jpg", Page(picture, headers={"X-Robots-Tag": "noai"}), "opt_out"),
        (
            "/inside.jpg",
            Page(status=302, headers={"Location": "http://10.1.2.3/"}),
            "private_address",
        ),
    ):
        pages[path] = page
        corpus.add(path, f"what {path[1:-4]} was said to show", outcome, WIDTH=None, HEIGHT=None)
