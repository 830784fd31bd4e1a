"""Readers of benchmarks: whose images they are, their names, and files that are something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.pipelines.set_files import array, lines

from pipelines.pack_job.formats import FORMATS
from pipelines.pack_job.images import Images
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.records import Bad, Record


def read(name: str, file: Path, **more: Any) -> list[Record | Bad]:
    unit = Unit(name=file.name, path=str(file), size=0, identity="")
    return list(FORMATS[name].reader(unit, ReadOptions(source=name, images=Images(()), **more)))


def good(found: list[Record | Bad]) -> list[Record]:
    assert all(isinstance(each, Record) for each in found), found
    return [each for each in found if isinstance(each, Record)]


def captions(folder: Path) -> Path:
    told = [(9, "A  cup &amp; a mat."), (5, "A box."), (9, "One cup.")]
    values = {
        "images": [{"id": n, "file_name": f"{n:012d}.jpg"} for n in (5, 9)],
        "annotations": [{"id": 70 + n, "image_id": n, "caption": text} for n, text in told],
    }
    return array(folder / "captions.json", values)


def test_captions_of_an_image_stand_together_and_are_cleaned(tmp_path: Path) -> None:
    found = good(read("coco_captions", captions(tmp_path)))
    assert [each.text for each in found] == ["A box.", "A cup & a mat.", "One cup."]
    assert [each.origin.source_row for each in found] == [1, 0, 2]
    assert {each.images for each in found[1:]} == {("000000000009.jpg",)}
    named = good(
        read("coco_captions", captions(tmp_path), image_pattern="COCO_val2014_{:0>12}.jpg")
    )
    assert named[0].images == ("COCO_val2014_000000000005.jpg",)


def test_only_ids_of_coco_are_cocos(tmp_path: Path) -> None:
    file = captions(tmp_path)
    assert [each.origin.coco_id for each in good(read("coco_captions", file))] == ["5", "9", "9"]
    assert {each.origin.coco_id for each in good(read("nocaps", file))} == {None}
    sentences = [{"raw": "a"}]
    images = [
        {"filename": name, "sentences": sentences}
        for name in ("COCO_val2014_000000000042.jpg", "1000092795.jpg")
    ]
    found = good(read("karpathy", array(tmp_path / "dataset.json", {"images": images})))
    assert [each.origin.coco_id for each in found] == ["42", None]


def test_lines_are_read_whatever_they_end_in(tmp_path: Path) -> None:
    asked = {"question_id": 1, "image": "COCO_val2014_000000310196.jpg", "text": "Is it?"}
    for ending in (".json", ".jsonl"):
        file = lines(tmp_path / f"pope{ending}", [asked | {"label": "no"}])
        (found,) = good(read("pope", file))
        assert (found.text, found.origin.coco_id) == ("Is it?\nno", "310196")


def test_problems_of_a_split_keep_their_numbers(tmp_path: Path) -> None:
    problem = {"question": "Which?", "choices": ["B", "A"], "answer": 1, "image": None}
    values = {"7": problem | {"split": "train"}, "8": problem | {"split": "val"}}
    file = array(tmp_path / "problems.json", values)
    (found,) = good(read("scienceqa", file, split="val"))
    assert (found.origin.source_row, found.origin.source_key, found.images) == (1, "8", ())
    assert found.text == "Which?\nB\nA\nA"
    assert found.fields["conversations"][1]["content"] == "A"
    with pytest.raises(ValueError, match=r"problems\.json: no split 'test'; it has train, val"):
        read("scienceqa", file, split="test")


@pytest.mark.parametrize("right", [-1, 2, 1.0, True, None, [0]])
def test_an_answer_that_is_no_choice(tmp_path: Path, right: Any) -> None:
    problem = {"question": "Which?", "choices": ["a", "b"], "answer": right}
    (found,) = read("scienceqa", array(tmp_path / "problems.json", {"1": problem}))
    assert isinstance(found, Bad) and found.reason == "record_malformed"


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("coco_captions", {"images": []}, r"no list 'annotations' in it; give a file of captions"),
        ("nocaps", [], r"no list 'images' in it; give a file of captions"),
        ("karpathy", {"images": [{"filename": "a"}]}, r"not as published .* dataset_coco\.json"),
        ("karpathy", {"images": [3]}, r"no list 'images' in it; give dataset_coco\.json"),
        ("textvqa", {"data": {}}, r"no list 'data' in it; give TextVQA"),
        ("docvqa", [], r"no list 'data' in it; give val_v1\.0\.json"),
        ("gqa", [], r"no objects by their ids; give testdev_balanced_questions\.json"),
        ("mm_vet", {"v1_0": "a"}, r"no objects by their ids; give mm-vet\.json"),
        ("scienceqa", {"test": ["1"]}, r"no objects by their ids; give ScienceQA's problems\.json"),
        ("vizwiz", {}, r"not a whole JSON array"),
    ],
)
def test_another_file_is_told_what_to_give(
    tmp_path: Path, name: str, values: Any, says: str
) -> None:
    with pytest.raises(ValueError, match=rf"own\.json: {says}"):
        read(name, array(tmp_path / "own.json", values))
