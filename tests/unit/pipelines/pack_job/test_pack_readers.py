"""Readers of published forms: a file in, records or reasons out, without any image."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.grounding import annotation_files
from helpers.paths import ROOT
from helpers.pipelines import pack_files

from pipelines.pack_job import units
from pipelines.pack_job.formats import FORMATS
from pipelines.pack_job.images import Images, _check
from pipelines.pack_job.options import SET_OPTIONS
from pipelines.pack_job.readers import (
    coco_detection,
    conversations,
    documents,
    flan,
    own_boxes,
    sft_311k,
    visual7w,
    vqa,
)
from pipelines.pack_job.reading import ReadOptions, Unit
from pipelines.pack_job.records import Bad, BadRecordError, Record
from shards.schema import LEVELS

DOCS = ROOT / "docs" / "packing.md"


def unit(path: Path, name: str = "own.jsonl") -> Unit:
    return Unit(name=name, path=str(path), size=0, identity="")


def options(**more: Any) -> ReadOptions:
    return ReadOptions(source="own", images=Images(()), **more)


def outcomes(found: Sequence[Record | Bad]) -> list[str]:
    return [each.reason if isinstance(each, Bad) else "record" for each in found]


def good(found: Sequence[Record | Bad]) -> list[Record]:
    assert all(isinstance(each, Record) for each in found), found
    return [each for each in found if isinstance(each, Record)]


def test_a_label_file_of_both_kinds_gives_all_of_them(tmp_path: Path) -> None:
    captions = [{"role": "caption", "content": text} for text in ("one", "two", " ")]
    files = {
        "a": {"captions": captions, "conversations": pack_files.said("q", "a")},
        "b": {"other": 1},
        "c": {"captions": ["bare"]},
        "d": {"captions": {"content": 3}},
    }
    pack_files.labels(tmp_path, "labels_zh", files)
    (tmp_path / "labels_zh" / "e.json").write_text("{")
    found = list(sft_311k.sft_311k(unit(tmp_path / "labels_zh", "set/labels_zh"), options()))
    assert outcomes(found) == [
        *("record", "record", "record", "empty_answer"),
        *("record_malformed", "record_malformed", "record_malformed", "json_damaged"),
    ]
    first = found[0]
    assert isinstance(first, Record)
    assert first.images == ("set/images/a.jpg",) and first.origin.language == "zh"
    assert first.text == "q\na"


def test_a_part_of_a_label_folder(tmp_path: Path) -> None:
    files = {f"{n}": {"conversations": pack_files.said("q", f"a{n}")} for n in range(7)}
    pack_files.labels(tmp_path, "labels", files)
    part = Unit(name="labels", path=str(tmp_path / "labels"), size=0, identity="", first=2, count=3)
    found = good(list(sft_311k.sft_311k(part, options())))
    assert [each.text for each in found] == ["q\na2", "q\na3", "q\na4"]
    assert found[0].images == ("images/2.jpg",)


def test_label_folders_are_cut_and_named_relative_to_the_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sft_311k, "LABELS_PER_UNIT", 3)
    for folder in ("b", "a"):
        pack_files.labels(tmp_path / folder, "labels_en", {f"{n}": {} for n in range(4)})
    form = FORMATS["sft_311k"]
    found = units.units([str(tmp_path)], form, None)
    assert [(each.name, each.first, each.count) for each in found] == [
        *(("a/labels_en", 0, 3), ("a/labels_en", 3, 1)),
        *(("b/labels_en", 0, 3), ("b/labels_en", 3, 1)),
    ]
    assert [each.count for each in units.units([str(tmp_path)], form, 2)] == [2, 2]
    (alone, _) = units.units([str(tmp_path / "a" / "labels_en")], form, None)
    assert alone.name == "labels_en" and sft_311k.roots([f"{tmp_path}/a/labels_en/"]) == (
        str(tmp_path / "a"),
    )


@pytest.mark.parametrize(
    ("name", "coco_id"),
    [
        ("coco/train2017/000000033471.jpg", "33471"),
        ("COCO_val2014_000000525439.jpg", "525439"),
        ("vg/VG_100K/2.jpg", None),
        ("000000000009_crop.jpg", None),
    ],
)
def test_coco_ids_are_told_by_twelve_digits(name: str, coco_id: str | None) -> None:
    assert conversations.coco_id(name) == coco_id


@pytest.mark.parametrize(
    ("annotation", "answer"),
    [
        ({"multiple_choice_answer": "two"}, "two"),
        ({"multiple_choice_answer": " "}, "b"),
        ({}, "b"),
    ],
)
def test_the_commonest_answer(annotation: dict[str, str], answer: str) -> None:
    assert vqa.most_common(annotation, ["a", "b", "b", "", "", ""]) == answer


def test_questions_without_an_annotation(tmp_path: Path) -> None:
    asked = {
        "questions": [
            {"question_id": [1], "image_id": 1, "question": "?"},
            {"question_id": 2, "question": "?"},
            {"question_id": 3, "image_id": 1, "question": "?"},
        ],
        "data_subtype": "{0.x}",
    }
    answered = {"annotations": [{"question_id": n, "answers": [{"answer": "yes"}]} for n in (2, 3)]}
    pack_files.array(tmp_path / "a.json", answered)
    file = pack_files.array(tmp_path / "q.json", asked)
    found = list(vqa.vqa(unit(file), options(annotations=str(tmp_path / "a.json"))))
    assert outcomes(found) == ["no_annotation", "no_annotation", "record"]
    assert good(found[2:])[0].images == ("COCO_train2014_000000000001.jpg",)
    with pytest.raises(ValueError, match="no list 'questions'"):
        list(vqa.vqa(unit(tmp_path / "a.json"), options(annotations=str(file))))


@pytest.fixture
def seven_w(tmp_path: Path) -> tuple[Path, Path, ReadOptions]:
    """Return both files of questions, and options of a reader that takes all splits."""
    _, data = annotation_files.visual_genome(tmp_path)
    return *annotation_files.visual7w(tmp_path), options(annotations=str(data))


def test_questions_whose_answers_are_boxes(seven_w: tuple[Path, Path, ReadOptions]) -> None:
    file, _, settings = seven_w
    found = list(visual7w.visual7w(unit(file), settings))
    assert outcomes(found) == [
        *("record", "empty_question", "box_outside", "box_missing", "image_missing", "record"),
    ]
    first, last = good([found[0], found[-1]])
    assert first.text == "Which cup?\n<boxes>" and first.images == ("v7w_1.jpg",)
    answer = {"role": "assistant", "content": "<boxes>", "boxes": [[[0.0, 0.1, 0.4, 0.5]]]}
    assert first.fields["conversations"][1] == answer
    assert (first.origin.source_key, first.origin.source_row) == ("100", 0)
    assert (first.origin.image_id, first.origin.coco_id) == ("1", "77")
    assert first.size_px == (100, 100)
    assert (last.origin.coco_id, last.origin.source_row) == (None, 5)


def test_questions_of_a_split(seven_w: tuple[Path, Path, ReadOptions]) -> None:
    file, _, settings = seven_w
    (found,) = good(list(visual7w.visual7w(unit(file), replace(settings, split="val"))))
    assert (found.images, found.origin.source_row) == (("v7w_2.jpg",), 5)
    with pytest.raises(ValueError, match=r"pointing\.json: no split 'testA'; it has train, val"):
        list(visual7w.visual7w(unit(file), replace(settings, split="testA")))


def test_questions_whose_answers_are_words(seven_w: tuple[Path, Path, ReadOptions]) -> None:
    _, file, settings = seven_w
    (found,) = good(list(visual7w.visual7w(unit(file), settings)))
    assert found.text == "What is green?\nThe cup."
    assert found.fields["choices"] == ["A door.", "Nothing.", "Snow.", "The cup."]
    pair = {"question": "What?", "answer": "A cup."}
    values = {"images": [{"image_id": 1, "split": "train", "qa_pairs": [pair]}]}
    pack_files.array(file, values)
    assert outcomes(list(visual7w.visual7w(unit(file), settings))) == ["record_malformed"]


@pytest.mark.parametrize(
    "values",
    [
        [],
        {"boxes": []},
        {"boxes": [{"box_id": 1, "x": 1, "y": "left", "width": 1, "height": 1}], "images": []},
        {"images": [{"image_id": 1, "qa_pairs": []}]},
        {"images": [{"image_id": 1, "split": "train", "qa_pairs": [3]}]},
    ],
)
def test_what_is_not_visual7w(seven_w: tuple[Path, Path, ReadOptions], values: Any) -> None:
    file, _, settings = seven_w
    pack_files.array(file, values)
    with pytest.raises(ValueError, match=r"not Visual7W's questions .* dataset_v7w_pointing\.json"):
        list(visual7w.visual7w(unit(file), settings))


def test_mmc4_places_images_before_their_sentences(tmp_path: Path) -> None:
    record = {
        "text_list": ["a", "b", "c"],
        "image_info": [
            {"image_name": "y.jpg", "matched_text_index": 2},
            {"image_name": "x.jpg", "matched_text_index": 0},
        ],
    }
    wrong = [
        {**record, "image_info": [{"image_name": "x", "matched_text_index": 3}]},
        {"text_list": "a", "image_info": []},
        {**record, "image_info": []},
        {"text_list": [" "], "image_info": [{"image_name": "x", "matched_text_index": 0}]},
    ]
    file = pack_files.lines(tmp_path / "own.jsonl", [record, *wrong])
    found = list(documents.mmc4(unit(file), options()))
    assert outcomes(found) == [
        *("record", "record_malformed", "record_malformed", "no_image", "no_text"),
    ]
    (first,) = good(found[:1])
    assert first.images == ("x.jpg", "y.jpg")
    assert first.fields["items"] == [{"image": 0}, {"text": "a b"}, {"image": 1}, {"text": "c"}]


def test_obelics_as_parquet_with_urls(tmp_path: Path) -> None:
    table = pa.table(
        {
            "images": [["https://a.example/1.png", None], [None, "b.jpg"], ["c.jpg"], [None]],
            "texts": [[None, "one"], ["two", None], [None], [None]],
        }
    )
    pq.write_table(table, tmp_path / "own.parquet")
    found = list(documents.obelics(unit(tmp_path / "own.parquet"), options()))
    assert outcomes(found) == ["record", "record", "no_text", "record_malformed"]
    first, second = good(found[:2])
    name = hashlib.sha256(b"https://a.example/1.png").hexdigest()
    assert first.images == (f"{name}.jpg",) and second.images == ("b.jpg",)
    paired = list(documents.obelics(unit(tmp_path / "own.parquet"), options(document_mode="pairs")))
    assert outcomes(paired) == ["record", "no_pair", "no_pair", "record_malformed"]


def test_instructions_compressed(tmp_path: Path) -> None:
    records = [
        {"inputs": "a", "targets": "b"},
        {"instruction": "c", "input": "", "output": "d"},
        {"instruction": "e", "input": "f", "output": "g"},
    ]
    text = "".join(f"{json.dumps(each)}\n" for each in records)
    (tmp_path / "own.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    found = good(list(flan.flan(unit(tmp_path / "own.jsonl.gz"), options())))
    assert [each.text for each in found] == ["a\nb", "c\nd", "e\nf\ng"]


def test_spans_follow_a_caption_that_is_cleaned(tmp_path: Path) -> None:
    caption = "  a\tred &amp; blue   cup on it"
    start, end = caption.index("red"), caption.index(" on")
    phrase = {"start": start, "end": end, "boxes": [[0, 0, 500, 500]]}
    record = {"image": "0.jpg", "caption": caption, "phrases": [phrase], "width": 5, "height": 5}
    file = pack_files.lines(tmp_path / "own.jsonl", [record])
    (found,) = good(list(own_boxes.boxes_jsonl(unit(file), options(box_format="xyxy_1000"))))
    ((first, last, *box, score),) = found.fields["noun_chunks"]
    assert found.text[first:last] == "red & blue cup"
    assert (box, score) == ([0, 0, 0.5, 0.5], 1.0)


@pytest.mark.parametrize(
    ("box", "box_format", "wrong"),
    [
        ([0, 0, 1.2, 1], "xyxy_1", False),  # outside, but no pixels: a reason of the record
        ([0, 0, 2, 2], "xyxy_1", True),
        ([0, 0, 1, 1], "xywh_px", True),
        ([0.1, 0.1, 0.9, 0.9], "xyxy_1000", True),
        ([0, 0, 0, 0], "xyxy_px", False),
    ],
)
def test_numbers_that_cannot_be_of_a_kind(box: list[float], box_format: str, wrong: bool) -> None:
    if not wrong:
        own_boxes.check_kind(box, box_format, "here")
        return
    with pytest.raises(ValueError, match="here: box"):
        own_boxes.check_kind(box, box_format, "here")


@pytest.mark.parametrize("box", [[0, 0, 10**400, 1], [0, 0, float("inf"), 1], [True, 0, 5, 5]])
def test_numbers_that_are_no_boxes(box: list[Any]) -> None:
    assert not own_boxes._is_box(box)


@pytest.mark.parametrize(
    "values",
    [
        [],
        {},
        {"images": [{"id": 1}], "annotations": [], "categories": []},
        {"images": [], "annotations": [{"bbox": 1}], "categories": []},
        {
            "images": [{"id": 1, "width": 9, "height": 9}],
            "categories": [{"id": 1, "name": "a"}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3]}],
        },
    ],
)
def test_what_is_not_cocos_instances(tmp_path: Path, values: Any) -> None:
    file = pack_files.array(tmp_path / "i.json", values)
    with pytest.raises(ValueError, match=r"i\.json: not COCO's instances"):
        list(coco_detection.coco_detection(unit(file), options()))


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", "a\0", "a" * 256, "\ud800"])
def test_names_that_lead_elsewhere(name: str) -> None:
    with pytest.raises(BadRecordError, match="image_name"):
        _check(name)


READERS: list[Callable[..., Any]] = [form.reader for form in FORMATS.values()]

PUBLISHED = {
    *("sft_311k", "llava_instruct", "vqa", "visual7w", "mmc4", "obelics", "flan", "boxes_jsonl"),
    *("coco_detection", "flickr30k_entities", "refcoco", "visual_genome", "coco_captions"),
    *("nocaps", "karpathy", "textvqa", "docvqa", "vizwiz", "gqa", "pope", "scienceqa", "mm_vet"),
}
"""Runs on disk name these formats."""


def test_formats_are_of_known_levels_and_in_the_docs() -> None:
    page = DOCS.read_text(encoding="utf-8")
    assert {form.level for form in FORMATS.values()} <= {*LEVELS}
    assert len({*READERS}) == len(READERS)
    for name in (*FORMATS, *(f"--{option.name}" for option in SET_OPTIONS)):
        assert f"`{name}`" in page or f"`{name} " in page, name


def test_every_published_format_is_there_and_says_what_its_input_is() -> None:
    assert {*FORMATS} >= PUBLISHED
    for form in FORMATS.values():
        assert (form.units is None) == bool(form.endings), form.name
        assert form.ids or form.coco, form.name


def test_a_format_says_what_it_is() -> None:
    form = FORMATS["mm_vet"]
    assert (form.level, form.about) == ("dialogue", "`mm-vet.json`")


def test_help_says_which_formats_take_an_option() -> None:
    helps = {option.name: option.help for option in SET_OPTIONS}
    assert all(name in helps["format"] for name in FORMATS)
    assert "boxes_jsonl" in helps["box_format"] and "refcoco" in helps["split"]
