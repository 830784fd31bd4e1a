"""Real photos through the whole job, with an oracle for a detector: this checks alignment.

Captions are people's, phrases spaCy's, boxes the annotated ones of what a phrase names. Whatever
the job does wrong with spans, order or coordinates shows as a recall below 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.pipelines import jobs
from helpers.shared_data import shared_data

from grounding import evaluate
from grounding.annotated.annotations import (
    Annotated,
    AnnotatedPhrase,
    cleaned,
    folder_images,
    write_shards,
)
from grounding.detectors import oracle
from grounding.phrases.extractor import PhraseExtractor, PhraseRules, load_extractor
from shards.image import decode

DATA = shared_data()
PHOTOS = DATA / "photos" / "coco" if DATA else Path()
MODEL = DATA / "models" / "en_ewt_sm" if DATA else Path()

pytestmark = pytest.mark.skipif(
    not (PHOTOS / "captions_boxes.jsonl").is_file() or not MODEL.is_dir(),
    reason="the annotated photos and the spaCy model are not here",
)


def records() -> Iterator[Annotated]:
    """Yield every photo with the caption of which most phrases have annotated boxes."""
    extract = load_extractor(str(MODEL), PhraseRules())
    lines = (PHOTOS / "captions_boxes.jsonl").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        photo = json.loads(line)
        boxes = boxes_by_category(photo)
        captions = [cleaned(each) for each in photo["captions"]]
        captions.append(f"a {min(boxes)}")
        found = [phrases(extract, caption, boxes) for caption in captions]
        best = max(range(len(captions)), key=lambda nth: len(found[nth]))
        yield Annotated(
            image_id=Path(photo["image"]).stem,
            caption=captions[best],
            phrases=tuple(found[best]),
            source="coco",
            source_file="captions_boxes.jsonl",
            source_row=number,
            width_px=photo["width"],
            height_px=photo["height"],
        )


def boxes_by_category(photo: dict[str, Any]) -> dict[str, list[tuple[float, ...]]]:
    """Return boxes by the last word of their category: "dining table" is a table."""
    boxes: dict[str, list[tuple[float, ...]]] = {}
    for each in photo["boxes"]:
        left, top, width, height = each["bbox"]
        corners = (left, top, left + width, top + height)
        sides = (photo["width"], photo["height"]) * 2
        box = tuple(min(max(a / b, 0.0), 1.0) for a, b in zip(corners, sides, strict=True))
        boxes.setdefault(each["category"].split()[-1], []).append(box)
    return boxes


def phrases(
    extract: PhraseExtractor, caption: str, boxes: dict[str, list[tuple[float, ...]]]
) -> list[AnnotatedPhrase]:
    return [
        AnnotatedPhrase(each.start, each.end, tuple(boxes[each.head_lemma]))  # type: ignore[arg-type]
        for each in extract([caption])[0]
        if each.is_kept and each.head_lemma in boxes
    ]


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the photos as an annotated run, beside a file for the oracle."""
    folder = tmp_path_factory.mktemp("photos")
    found = [*records()]
    written = write_shards(found, folder_images(PHOTOS / "images"), folder / "gold", shard_size=20)
    assert written.samples == 84, written.left_out
    lines = [
        oracle.Annotated(
            image=oracle.pixels_sha256(
                decode((PHOTOS / "images" / f"{each.image_id}.jpg").read_bytes())
            ),
            caption=each.caption,
            spans={phrase.span: phrase.boxes_xyxy for phrase in each.phrases},
        )
        for each in found
    ]
    oracle.write(folder / "oracle.jsonl", lines)
    return folder


def flags(gold: Path, output: Path, *more: str) -> list[str]:
    return [
        *(f"--input={gold / 'gold'}", f"--output={output}", f"--spacy_model={MODEL}"),
        *(f"--detector=oracle:{gold / 'oracle.jsonl'}", "--allow_upsampled"),
        *("--two_box_share=1/2", "--worker_mode=threads", "--shard_size=25", *more),
    ]


def test_an_oracle_reaches_a_recall_of_one(gold: Path, tmp_path: Path) -> None:
    code, errors = jobs.run(flags(gold, tmp_path / "out", "--max_boxes=100"), "pipelines.ground")
    assert code == 0, errors
    numbers = tmp_path / "numbers.json"
    labels = ["--labels", str(tmp_path / "out"), "--json", str(numbers)]
    assert evaluate.main([str(gold / "gold"), *labels]) == 0
    told = json.loads(numbers.read_text())["metrics"]
    recall = told["recall"]["any"]["all"]["1"]
    assert recall["total"] > 100
    assert recall["value"] == told["rec_accuracy"]["value"] == 1.0
    assert told["samples_without_predictions"] == 0


def test_workers_and_a_kill_leave_the_bytes_as_they_are(gold: Path, tmp_path: Path) -> None:
    straight, other = tmp_path / "straight", tmp_path / "other"
    assert jobs.run(flags(gold, straight), "pipelines.ground")[0] == 0
    log = tmp_path / "log"
    with jobs.start(flags(gold, other, "--workers=2"), log, module="pipelines.ground") as child:
        assert jobs.until(lambda: len(jobs.markers(other)) >= 7, 90), child.errors()
        child.kill()
    assert jobs.run(flags(gold, other, "--workers=2"), "pipelines.ground")[0] == 0
    names = ("phrases", "labels", "boxes", "choice", "plan", "shards", "manifest.json")
    assert jobs.covered(other, names) == jobs.covered(straight, names)
