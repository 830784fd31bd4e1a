"""`make demo`: a small web, its metadata with planted faults, the real jobs over it, and training.

No network is needed. Photos come from inside the scikit-image package, scenes are
rendered here. Every planted fault must be counted under its own name, more than three of four
grounded images must have two boxes, and the loss must fall, or the demo fails.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

import shards
from cogvlm.watch import read_log
from examples import demo_spacy, tokenizer
from examples.corpus import Corpus, encoded, run_command, say, write_metadata
from examples.scenes import scene
from examples.web import Page, serve

NUM_SCENES = 160
VOCABULARY = 512  # tokens

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


def main() -> int:
    """Run the demo; returns the exit code."""
    out = Path("demo-out")
    pages: dict[str, Page] = {}
    with serve(pages) as base:
        corpus = Corpus(base)
        for plant in (_photos, _scenes, _bad_metadata, _duplicates, _bad_web):
            plant(corpus, pages)
        metadata = out / "metadata"
        write_metadata(metadata, corpus.rows)
        run = out / "run"
        code = run_command(
            f"pipelines.filter --input laion2b_en_joined={metadata}/laion-*.parquet"
            f" --output {run} --preset cogvlm --shard_size 64 --store stage1 --workers 2"
            f" --allow_address 127.0.0.1/32 --host_rate 127.0.0.1=2000 --overwrite"
        )
    return code or _check(run, corpus) or _ground(run, out) or _train(run, out)


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


def _scenes(corpus: Corpus, pages: dict[str, Page]) -> None:
    for seed in range(NUM_SCENES):
        made = scene(seed)
        pages[f"/scenes/{seed}.jpg"] = Page(encoded(made.image(), "JPEG"))
        corpus.add(f"/scenes/{seed}.jpg", made.caption, "sample")


def _bad_metadata(corpus: Corpus, pages: dict[str, Page]) -> None:
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
    for i, (text, ends) in enumerate(
        zip(SPAM, ("caption_repetition", "caption_file_name", "caption_url"), strict=True)
    ):
        corpus.add(f"/scenes/0.jpg?spam{i}", text, ends)
    for i, text in enumerate(POLITICAL):
        corpus.add(f"/scenes/0.jpg?political{i}", text, "political")


def _duplicates(corpus: Corpus, pages: dict[str, Page]) -> None:
    for seed in range(5):
        again = f"another caption of the same picture, number {seed}"
        corpus.add(f"/scenes/{seed}.jpg", again, "duplicate_url", similarity=0.2)
    # One row calls this URL safe, another does not: it must not come back.
    pages["/scenes/unsafe.jpg"] = pages["/scenes/0.jpg"]
    corpus.add("/scenes/unsafe.jpg", "a picture that two rows disagree about", "unsafe_elsewhere")
    corpus.add("/scenes/unsafe.jpg", "the other row about that picture", "nsfw", punsafe=0.9)


def _bad_web(corpus: Corpus, pages: dict[str, Page]) -> None:
    picture = pages["/scenes/0.jpg"].body
    wide = encoded(Image.new("RGB", (700, 100), (90, 120, 150)), "PNG")
    bomb = encoded(Image.new("L", (12_000, 12_000)), "PNG")
    for path, page, ends in (
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
        corpus.add(path, f"what {path[1:-4]} was said to show", ends, WIDTH=None, HEIGHT=None)


def _ground(run: Path, out: Path) -> int:
    """Ground the scenes: a small spaCy pipeline of ours, a detector that knows their colours."""
    model, grounded = demo_spacy.build(out / "spacy"), out / "grounded"
    code = run_command(
        f"pipelines.ground --input {run} --output {grounded} --spacy_model {model}"
        f" --detector blobs --shard_size 32 --overwrite"
    )
    if code:
        return code
    lines = json.loads((grounded / "manifest.json").read_text())["counts"].values()
    closes = all(line["in"] == line["out"] + sum(line["left_out"].values()) for line in lines)
    boxes = [
        len({tuple(row[2:6]) for row in json.loads(raw.json)["noun_chunks"]})
        for raw in _samples(grounded)
    ]
    multi = sum(count >= 2 for count in boxes)
    holds = closes and 4 * multi > 3 * len(boxes)
    say(
        f"{len(boxes)} grounded samples, {multi} with two boxes: {multi / len(boxes):.1%}, "
        f"{'above' if 4 * multi > 3 * len(boxes) else 'NOT ABOVE'} 3/4; every stage's numbers "
        f"{'add up' if closes else 'DO NOT ADD UP'}"
    )
    return 0 if holds else 1


def _samples(run: Path) -> Iterator[shards.RawSample]:
    dataset = shards.open_dataset(run)
    reader = shards.SampleReader(dataset)
    for shard in range(len(dataset.shards)):
        for raw in reader.iterate(shard):
            assert not isinstance(raw, shards.SampleError), raw
            yield raw


def _train(run: Path, out: Path) -> int:
    """Train the debug model on the shards that the job wrote."""
    trained = out / "trained"
    shutil.rmtree(trained, ignore_errors=True)
    tokenizer.write(
        (record.sample.caption for record in shards.read(run)),
        out / "tokenizer.json",
        vocab_size=VOCABULARY,
    )
    code = run_command(
        f"cogvlm.train --preset debug --override vocab_size={VOCABULARY} --data {run}"
        f" --tokenizer {out}/tokenizer.json --output {trained}"
    )
    if code:
        return code
    losses = [line["loss"] for line in read_log(trained) if line["kind"] == "step"]
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    falls = last < 0.9 * first
    say(
        f"the loss {'fell' if falls else 'DID NOT FALL'} from {first:.2f} to {last:.2f} nats per "
        f"token over {len(losses)} steps (means of five); see {trained}"
    )
    return 0 if falls else 1


def _check(run: Path, corpus: Corpus) -> int:
    counts = json.loads((run / "manifest.json").read_text())["counts"]
    found: dict[str, int] = {"sample": counts["download"]["out"]}
    for line in counts.values():
        for name, count in line["left_out"].items():
            if count:
                found[name] = found.get(name, 0) + count
    wrong = {
        name: (corpus.expected.get(name, 0), found.get(name, 0))
        for name in sorted({*corpus.expected, *found})
        if corpus.expected.get(name, 0) != found.get(name, 0)
    }
    for name, (planted, counted) in wrong.items():
        say(f"MISMATCH {name}: planted {planted}, counted {counted}")
    if not wrong:
        say(
            f"all {len(corpus.rows)} rows are where they were planted: "
            f"{found['sample']} samples, {len(found) - 1} kinds of faults, each under its own name"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
