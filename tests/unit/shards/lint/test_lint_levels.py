"""Breaches of dialogues, documents and texts: one broken thing, one finding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.shards import toy_shards

from shards.files.store import Store
from shards.lint import lint
from shards.lint.levels import LevelRecord, breaches
from shards.sample import JSON_FIELDS


@pytest.mark.parametrize("level", toy_shards.BY_LEVEL)
def test_good_runs_of_every_level_have_no_findings(level: str, tmp_path: Path) -> None:
    run = toy_shards.write_run(tmp_path / "run", toy_shards.BY_LEVEL[level](9), level=level)
    assert [str(each) for each in lint(Store(run))] == []


def said(*contents: str, **more: Any) -> dict[str, Any]:
    turns = [
        {"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(contents)
    ]
    turns[-1] |= more
    return {"conversations": turns}


DIALOGUES: dict[str, tuple[dict[str, Any], str]] = {
    "absent": ({}, "not a list of turns"),
    "empty": ({"conversations": []}, "not a list of turns"),
    "no answer": (said("a"), "do not take turns"),
    "an empty answer": (said("a", " "), "an empty answer"),
    "no content": ({"conversations": [{"role": "user"}, {"role": "assistant"}]}, "no content"),
    "marks": (said("<image><image>", "b"), "2 <image> marks for 1 images"),
    "boxes without marks": (said("a", "b", boxes=[[[0, 0, 1, 1]]]), "0 <boxes> for 1"),
    "marks without boxes": (said("a", "<boxes>"), "1 <boxes> for 0"),
    "pixels": (said("a", "<boxes>", boxes=[[[0, 0, 99, 99]]]), "not within 0..1"),
    "corners": (said("a", "<boxes>", boxes=[[[0.5, 0, 0.1, 1]]]), "not within 0..1"),
}


@pytest.mark.parametrize(("fields", "says"), DIALOGUES.values(), ids=list(DIALOGUES))
def test_dialogues(fields: dict[str, Any], says: str) -> None:
    found = list(breaches(record(fields, [("jpg", b"")]), "dialogue", "jpg"))
    assert len(found) == 1 and says in found[0], found


DOCUMENTS: dict[str, tuple[Any, str]] = {
    "absent": (None, "not a list of objects"),
    "both": ([{"text": "a", "image": 0}], "neither text nor image, or both"),
    "neither": ([{}], "neither text nor image, or both"),
    "order": ([{"image": 1}, {"image": 0}, {"text": "a"}], "show the images [1, 0]"),
    "left out": ([{"image": 0}, {"text": "a"}], "show the images [0] of 2"),
    "text": ([{"image": 0}, {"text": "b"}, {"image": 1}], ".txt is not the texts"),
}


@pytest.mark.parametrize(("items", "says"), DOCUMENTS.values(), ids=list(DOCUMENTS))
def test_documents(items: Any, says: str) -> None:
    images = [("0.jpg", b""), ("1.jpg", b"")]
    found = list(breaches(record({"items": items}, images), "document", "jpg"))
    assert len(found) == 1 and says in found[0], found


def test_members_and_fields_of_any_level() -> None:
    assert list(breaches(record({}, []), "text", "jpg")) == []
    (found,) = breaches(record({}, [("jpg", b"")]), "text", "jpg")
    assert found == "1 images in a text"
    items = {"items": [{"image": 0}, {"text": "a"}, {"image": 1}]}
    (found,) = breaches(record(items, [("1.jpg", b""), ("0.jpg", b"")]), "document", "jpg")
    assert found == "its images are ['1.jpg', '0.jpg'], not ['0.jpg', '1.jpg']"
    (found,) = breaches(record({"width": 3}, []), "text", "jpg")
    assert found == "width and height [3, None] of 0 images"
    (found,) = breaches(LevelRecord((), b"a", {"key": "k"}), "text", "jpg")
    assert found.startswith("the JSON lacks ['aesthetic_score'")


def record(fields: dict[str, Any], images: list[tuple[str, bytes]]) -> LevelRecord:
    return LevelRecord(tuple(images), b"a", {**dict.fromkeys(JSON_FIELDS), **fields})
