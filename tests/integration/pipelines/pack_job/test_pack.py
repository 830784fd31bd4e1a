"""The packing job: every format to lint-clean shards, bad input, the same bytes always."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.pipelines import jobs, pack_files
from helpers.pipelines.pack_files import SETS, Set

from cogvlm import evaluate
from grounding.samples import open_grounded
from grounding.samples import samples as grounded_samples
from shards import lint, manifest
from shards.access import RawSample, SampleReader
from shards.dataset import open_dataset
from shards.files.store import Store
from shards.identity import image_key

COVERED = ("buckets", "plan", "shards", "manifest.json", "README.md")
MODULE = "pipelines.pack"


def flags(packed: Set, output: Path, *more: str) -> list[str]:
    return [
        *(f"--format={packed.format}", *packed.flags, f"--output={output}"),
        *("--lease_s=1", "--worker_mode=threads", *more),
    ]


def pack(packed: Set, output: Path, *more: str) -> Path:
    code, errors = jobs.run(flags(packed, output, *more), MODULE)
    assert code == 0, errors
    return output


def refused(packed: Set, output: Path, *more: str) -> str:
    code, errors = jobs.run(flags(packed, output, *more), MODULE)
    assert code == 2 and errors.count("\n") == 1, errors
    return errors


def samples(run: Path) -> Iterator[RawSample]:
    dataset = open_dataset(run)
    reader = SampleReader(dataset)
    for shard in range(len(dataset.shards)):
        for raw in reader.iterate(shard):
            assert not isinstance(raw, ValueError), raw
            yield raw


def fields(run: Path) -> list[dict[str, Any]]:
    return sorted(
        (raw.fields() for raw in samples(run)),
        key=lambda each: (each["source_file"], each["source_row"]),
    )


def test_boxes_are_read_as_annotated_ones_are(tmp_path: Path) -> None:
    run = pack(SETS["coco_detection"](tmp_path / "set"), tmp_path / "run")
    (found,) = grounded_samples(open_grounded(run))
    assert found.common.caption == "person. fire hydrant."
    rows = [(row.span, row.box_xyxy) for row in found.grounding.noun_chunks]
    assert rows == [
        ((0, 6), (10 / 64, 2 / 64, 30 / 64, 32 / 64)),
        ((0, 6), (30 / 64, 2 / 64, 50 / 64, 32 / 64)),
        ((8, 20), (1 / 64, 2 / 64, 21 / 64, 32 / 64)),
    ]
    assert found.grounding.categories[8, 20] == ("fire hydrant",)
    assert left_out(run) == {"box_outside": 1, "no_phrases": 2}


def test_another_key_is_a_finding(tmp_path: Path) -> None:
    run = pack(SETS["flan"](tmp_path / "set"), tmp_path / "run")
    store = Store(run)
    (shard,) = manifest.read(store).shards
    tar = run / shard.tar
    tar.write_bytes(changed := tar.read_bytes().replace(b'"sha256":"e3b0', b'"sha256":"e3b1'))
    entry = replace(shard, tar_sha256=hashlib.sha256(changed).hexdigest())
    manifest.write(store, replace(manifest.read(store), shards=(entry,)))
    assert {each.what for each in lint.lint(store)} == {
        "the key is not that of its images and text"
    }


def left_out(run: Path, stage: str = "read") -> dict[str, int]:
    found: dict[str, int] = jobs.counts(run)[stage]["left_out"]
    return found


@pytest.mark.parametrize("name", SETS)
def test_every_format_becomes_shards_that_keep_the_contract(name: str, tmp_path: Path) -> None:
    made = SETS[name](tmp_path / "set")
    run = pack(made, tmp_path / "run")
    assert [str(each) for each in lint.lint(Store(run))] == []
    found = manifest.read(Store(run))
    assert (found.stage, found.level, found.samples) == ("pack", made.level, made.samples)
    reasons = [n for line in found.counts.values() for n in line["left_out"].values()]
    assert found.counts["read"]["in"] == made.records == made.samples + sum(reasons)
    for raw in samples(run):
        values = raw.fields()
        assert raw.key == image_key(values["sha256"], raw.text.decode())
        assert values["url"] is None and values["source"] == name
        assert (values.get("image_id") is None) == (
            made.level in ("text", "document") or not raw.images
        )


@pytest.mark.parametrize(
    "name",
    [
        *("llava_instruct", "vqa", "visual7w", "mmc4", "flan", "refcoco"),
        *("coco_captions", "scienceqa"),
    ],
)
def test_runs_open_by_their_card(name: str, tmp_path: Path) -> None:
    import datasets

    made = SETS[name](tmp_path / "set")
    run = pack(made, tmp_path / "run")
    loaded = datasets.load_dataset(str(run), split="train", streaming=True)
    ours = {raw.key: raw for raw in samples(run)}
    found = list(loaded)
    assert len(found) == len(ours) == made.samples
    for each in found:
        raw = ours[each["__key__"]]
        shown = {name for name, value in each.items() if name.endswith("jpg") and value}
        assert shown == {*raw.extensions}
        values = raw.fields()
        values.pop("phrase_categories", None)  # rows of numbers and names have no Arrow type
        assert {name: _bare(each["json"][name]) for name in values} == values


def _bare(value: Any) -> Any:
    """Return a value without the nulls that a declared feature adds to objects of a list."""
    if isinstance(value, list):
        return [_bare(each) for each in value]
    if isinstance(value, dict):
        wanted = {"head_start", "drop_reason"} & value.keys()  # phrases have every field
        return value if wanted else {n: v for n, v in value.items() if v is not None}
    return value


def test_captions_and_conversations_in_both_languages(tmp_path: Path) -> None:
    run = pack(SETS["sft_311k"](tmp_path / "set"), tmp_path / "run")
    found = {(each["source_file"], each["source_row"]): each for each in fields(run)}
    caption = found["details/labels_en/00000002.json", 0]
    assert caption["conversations"] == [
        {"role": "user", "content": ""},
        {"role": "assistant", "content": "scene 2"},
    ]
    assert caption["caption"] == "scene 2" and caption["language"] == "en"
    chinese = found["single/labels_zh/00000000.json", 0]
    english = found["single/labels_en/00000000.json", 0]
    assert chinese["language"] == "zh"
    assert chinese["image_id"] == english["image_id"] == "single/images/00000000.jpg"
    assert len(english["conversations"]) == 4


def test_marks_stay_and_images_may_be_none_or_several(tmp_path: Path) -> None:
    run = pack(SETS["llava_instruct"](tmp_path / "set"), tmp_path / "run")
    found = {raw.fields()["source_key"]: raw for raw in samples(run)}
    assert found["1"].fields()["conversations"][0]["content"] == "<image>\nWhat?"
    assert found["1"].fields()["conversations"][1]["content"] == "A <BOXES> thing."
    assert [len(found[key].images) for key in "1234"] == [1, 1, 0, 2]
    assert found["4"].extensions == ("0.jpg", "1.jpg")
    assert found["4"].fields()["width"] is None


def test_the_commonest_answer_is_the_turn_and_all_are_kept(tmp_path: Path) -> None:
    run = pack(SETS["vqa"](tmp_path / "set"), tmp_path / "run")
    assert left_out(run) == {"excluded": 1}
    found = {each["source_key"]: each for each in fields(run)}
    assert found["71"]["conversations"][1]["content"] == "blue"
    assert found["71"]["answers"] == ["red", "blue", "blue"]


def test_questions_are_answered_by_boxes_or_by_words(tmp_path: Path) -> None:
    run = pack(SETS["visual7w"](tmp_path / "set"), tmp_path / "run", "--split=train")
    assert left_out(run) == {
        **{"box_missing": 1, "box_outside": 1, "empty_question": 1, "image_missing": 1},
    }
    pointed, told = fields(run)
    assert pointed["conversations"] == [
        {"role": "user", "content": "Which cup?"},
        {"role": "assistant", "content": "<boxes>", "boxes": [[[0.0, 0.1, 0.4, 0.5]]]},
    ]
    assert (pointed["image_id"], pointed["source_key"]) == ("1", "100")
    assert told["conversations"][1] == {"role": "assistant", "content": "The cup."}
    assert told["choices"] == ["A door.", "Nothing.", "Snow.", "The cup."]


def test_a_pointing_benchmark_is_scored_by_its_boxes(tmp_path: Path) -> None:
    run = pack(SETS["visual7w"](tmp_path / "set"), tmp_path / "run", "--split=train")
    told = tmp_path / "told.json"
    flags = ["--data", f"grounded_vqa={run}", "--blind", "constant", "--json", str(told)]
    assert evaluate.main(flags) == 0
    (entry,) = json.loads(told.read_text())["entries"]
    assert (entry["questions"], entry["accuracy"]) == (1, 1)
    assert entry["skipped"] == {"answer_has_no_box": 1}


def test_documents_keep_their_order_and_at_most_six_images(tmp_path: Path) -> None:
    made = SETS["mmc4"](tmp_path / "set")
    run = pack(made, tmp_path / "run")
    first, second, third = fields(run)
    assert first["items"] == [
        {"text": "One."},
        {"image": 0},
        {"text": "Two <IMAGE>."},
        {"image": 1},
        {"text": "Three."},
    ]
    assert sum("image" in item for item in second["items"]) == 6
    assert third["items"] == [{"text": "Some lost."}, {"image": 0}, {"text": "Some not."}]
    assert left_out(run) == {"image_missing": 1}
    two = pack(made, tmp_path / "two", "--max_images=2")
    assert sum("image" in item for item in fields(two)[1]["items"]) == 2


def test_documents_in_other_orders(tmp_path: Path) -> None:
    made = SETS["obelics"](tmp_path / "set")
    first = fields(pack(made, tmp_path / "first", "--document_mode=images_first"))
    assert first[0]["items"] == [{"image": 0}, {"image": 1}, {"text": "Begin.\nGo on."}]
    pairs = fields(pack(made, tmp_path / "pairs", "--document_mode=pairs"))
    assert [each["items"] for each in pairs] == [
        [{"image": 0}, {"text": "Go on."}],
        [{"image": 0}, {"text": "After it."}],
    ]


def test_boxes_are_shares_of_the_image_whatever_they_were(tmp_path: Path) -> None:
    made = SETS["boxes_jsonl"](tmp_path / "set")
    first, second = fields(pack(made, tmp_path / "run"))
    assert first["caption"] == "a red circle & a box"
    rows = [[first["caption"][start:end], *box] for start, end, *box, _ in first["noun_chunks"]]
    assert rows == [
        ["a red circle", 0, 0, 0.5, 0.5],
        ["a box", 10 / 64, 10 / 64, 1, 1],
        ["a box", 1 / 64, 2 / 64, 3 / 64, 4 / 64],
    ]
    assert len(second["phrases"]) == 2 and len(second["noun_chunks"]) == 1


@pytest.mark.parametrize(
    ("box_format", "box"),
    [
        ("xywh_px", [16, 32, 32, 32]),
        ("xyxy_1", [0.25, 0.5, 0.75, 1.0]),
        ("xyxy_1000", [250, 500, 750, 1000]),
        ("xyxy_px", [16, 32, 48, 64]),
    ],
)
def test_box_formats(tmp_path: Path, box_format: str, box: list[float]) -> None:
    made = own_boxes(tmp_path, box)
    (found,) = fields(pack(made, tmp_path / "run", f"--box_format={box_format}"))
    assert found["noun_chunks"] == [[0, 3, 0.25, 0.5, 0.75, 1.0, 1.0]]


def own_boxes(folder: Path, *boxes: list[float], **more: Any) -> Set:
    images = pack_files.pictures(folder / "images", ["0.jpg"])
    records = [
        {"image": "0.jpg", "caption": "cup", "phrases": [{"text": "cup", "boxes": [box]}], **more}
        for box in boxes
    ]
    file = pack_files.lines(folder / "own.jsonl", records)
    return Set("boxes_jsonl", (f"--input={file}", f"--images={images}"), "grounded", 1, 1)


def test_pixels_where_shares_belong_name_their_line(tmp_path: Path) -> None:
    made = own_boxes(tmp_path, [0.1, 0.1, 0.5, 0.5], [10, 10, 40, 40])
    said = refused(made, tmp_path / "run", "--box_format=xyxy_1")
    assert "own.jsonl, line 2" in said and "xyxy_px" in said
    said = refused(made, tmp_path / "other", "--box_format=xyxy_px")
    assert "own.jsonl, line 1" in said and "give xyxy_1" in said


BAD_TURNS = {
    "two users in a row": (
        [{"from": "human", "value": "a"}, {"from": "human", "value": "b"}],
        "roles_out_of_turn",
    ),
    "the user has the last word": (pack_files.turns("a", "b", "c"), "roles_out_of_turn"),
    "assistant first": ([{"from": "gpt", "value": "a"}], "roles_out_of_turn"),
    "unknown role": ([{"from": "system", "value": "a"}], "roles_out_of_turn"),
    "empty answer": (pack_files.turns("a", "  "), "empty_answer"),
    "empty question": (pack_files.turns("", "b"), "empty_question"),
    "nothing": ([], "no_conversation"),
    "no list": ("a", "record_malformed"),
    "a number": ([{"from": "human", "value": 3}], "record_malformed"),
    "too many marks": (pack_files.turns("<image><image>", "b"), "marks_differ"),
    "half a surrogate": (pack_files.turns("a", "\ud800"), "text_invalid"),
}


@pytest.mark.parametrize(("said", "reason"), BAD_TURNS.values(), ids=list(BAD_TURNS))
def test_bad_conversations_have_a_reason(tmp_path: Path, said: Any, reason: str) -> None:
    images = pack_files.pictures(tmp_path / "images", ["0.jpg"])
    good = {"image": "0.jpg", "conversations": pack_files.turns("a", "b")}
    file = pack_files.array(
        tmp_path / "own.json", [good, {"image": "0.jpg", "conversations": said}]
    )
    made = Set("llava_instruct", (f"--input={file}", f"--images={images}"), "dialogue", 2, 1)
    run = pack(made, tmp_path / "run", "--allow_eval_overlap")
    assert left_out(run) == {reason: 1}


BAD_IMAGES = {"lost.jpg": "image_missing", "../0.jpg": "image_name", "/etc/hostname": "image_name"}
BAD_IMAGES |= {"": "image_name", "a" * 300: "image_name", "x\0y": "image_name"}


def test_bad_images_have_a_reason_and_broken_ones_an_outcome(tmp_path: Path) -> None:
    images = pack_files.pictures(tmp_path / "images", ["0.jpg"])
    (images / "broken.jpg").write_bytes((images / "0.jpg").read_bytes()[:200])
    (images / "text.jpg").write_text("this is no image")
    names = ["0.jpg", "0.jpg", "broken.jpg", "text.jpg", *BAD_IMAGES]
    records = [{"image": name, "conversations": pack_files.turns("a", "b")} for name in names]
    file = pack_files.array(tmp_path / "own.json", records)
    made = Set("llava_instruct", (f"--input={file}", f"--images={images}"), "dialogue", 10, 1)
    run = pack(made, tmp_path / "run", "--allow_eval_overlap")
    assert left_out(run) == {"image_missing": 1, "image_name": 5}
    assert left_out(run, "mix") == {"duplicate": 1}
    assert left_out(run, "pack") == {"decode_failed": 1, "not_an_image": 1}
    assert [str(each) for each in lint.lint(Store(run))] == []


def test_a_document_goes_without_its_broken_image(tmp_path: Path) -> None:
    made = SETS["obelics"](tmp_path / "set")
    (tmp_path / "set" / "images" / "a.jpg").write_bytes(b"\xff\xd8\xff broken")
    run = pack(made, tmp_path / "run")
    assert fields(run)[0]["items"] == [{"text": "Begin."}, {"text": "Go on."}, {"image": 0}]
    assert [str(each) for each in lint.lint(Store(run))] == []


BAD_BOXES: dict[str, tuple[dict[str, Any], str]] = {
    "outside": ({"text": "cup", "boxes": [[0, 0, 90, 20]]}, "box_outside"),
    "corners": ({"text": "cup", "boxes": [[9, 9, 3, 3]]}, "box_corners"),
    "no area": ({"text": "cup", "boxes": [[9, 9, 9, 20]]}, "box_empty"),
    "three numbers": ({"text": "cup", "boxes": [[9, 9, 9]]}, "rows_malformed"),
    "not finite": ({"text": "cup", "boxes": [[9, 9, float("nan"), 20]]}, "rows_malformed"),
    "absent": ({"text": "dog", "boxes": [[0, 0, 9, 9]]}, "phrase_absent"),
    "twice": ({"text": "a", "boxes": [[0, 0, 9, 9]]}, "phrase_unclear"),
    "span": ({"start": 3, "end": 99, "boxes": [[0, 0, 9, 9]]}, "span_outside"),
    "same span": ({"start": 0, "end": 5, "boxes": [[0, 0, 9, 9]]}, "duplicate_span"),
}


@pytest.mark.parametrize(("phrase", "reason"), BAD_BOXES.values(), ids=list(BAD_BOXES))
def test_bad_boxes_have_a_reason(tmp_path: Path, phrase: dict[str, Any], reason: str) -> None:
    images = pack_files.pictures(tmp_path / "images", ["0.jpg"])
    first = {"start": 0, "end": 5, "boxes": [[0, 0, 20, 20]]}
    records = [
        {"image": "0.jpg", "caption": "a cup and a mat", "phrases": found}
        for found in ([first], [first, phrase])
    ]
    file = pack_files.lines(tmp_path / "own.jsonl", records)
    made = Set("boxes_jsonl", (f"--input={file}", f"--images={images}"), "grounded", 2, 1)
    run = pack(made, tmp_path / "run", "--box_format=xyxy_px")
    assert left_out(run) == {reason: 1}


def test_a_stated_size_must_have_the_images_shape(tmp_path: Path) -> None:
    made = own_boxes(tmp_path, [0, 0, 20, 20], width=640, height=480)
    assert "image_differs 1" in refused(made, tmp_path / "run", "--box_format=xyxy_px")


def test_damaged_lines_are_counted(tmp_path: Path) -> None:
    made = SETS["flan"](tmp_path / "set")
    with open(tmp_path / "set" / "f.jsonl", "a") as file:
        file.write('{"inputs": \n[1]\n\n{"inputs": "a", "targets": ""}\n{"inputs": "a"}\n')
    run = pack(made, tmp_path / "run")
    assert left_out(run) == {"empty_answer": 1, "json_damaged": 1, "record_malformed": 2}


REFUSALS: dict[str, tuple[str, list[str], str]] = {
    "no format": ("flan", ["--format=flam"], "there is no such format; did you mean flan?"),
    "no input": ("flan", ["--input=/nowhere/x.jsonl"], "no such file of .jsonl"),
    "no images": ("mmc4", ["--images=/nowhere"], "no such folder or tar"),
    "images of texts": ("flan", ["--images=."], "flan has no images"),
    "no exclusions": ("flickr30k_entities", ["--exclude=/nowhere"], "no such file"),
    "renumbered": ("sft_311k", ["--exclude=x"], "new numbers"),
    "renumbered by others": ("gqa", ["--exclude=x"], "new numbers"),
    "second file": ("flan", ["--annotations=x"], "has no such"),
    "box format": ("mmc4", ["--box_format=xyxy_px"], "is for --format boxes_jsonl"),
    "pattern": ("mmc4", ["--image_pattern={x}.jpg"], "give one like"),
    "split": ("refcoco", ["--split=testC"], "no split 'testC'; it has testA, val"),
    "quality": ("mmc4", ["--encode_quality=200"], "must be 1..100"),
}


@pytest.mark.parametrize(("name", "wrong", "says"), REFUSALS.values(), ids=list(REFUSALS))
def test_mistakes_are_told_in_one_line(
    tmp_path: Path, name: str, wrong: list[str], says: str
) -> None:
    assert says in refused(SETS[name](tmp_path / "set"), tmp_path / "run", *wrong)


@pytest.mark.parametrize(
    "name",
    [
        *("llava_instruct", "vqa", "visual7w", "sft_311k"),
        *("coco_detection", "refcoco", "visual_genome"),
        *("coco_captions", "karpathy", "gqa", "pope"),
    ],
)
def test_coco_images_need_a_word_about_test_sets(tmp_path: Path, name: str) -> None:
    made = SETS[name](tmp_path / "set")
    kept = [f for f in made.flags if not f.startswith(("--allow_eval", "--exclude"))]
    said = refused(Set(name, (*kept,), made.level, 0, 0), tmp_path / "run")
    assert "--allow_eval_overlap" in said and "tested on what it was trained on" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *(("llava_instruct", 1), ("refcoco", 3), ("visual_genome", 1), ("visual7w", 2)),
        *(("coco_captions", 2), ("karpathy", 2), ("pope", 2)),
    ],
)
def test_excluded_images_are_counted(tmp_path: Path, name: str, count: int) -> None:
    unwanted = tmp_path / "ids.txt"
    unwanted.write_text("000000000009\n5\n77\n8\n310196\n")
    made = SETS[name](tmp_path / "set")
    run = pack(made, tmp_path / "run", f"--exclude={unwanted}")
    assert left_out(run)["excluded"] == count


def test_images_of_a_tar(tmp_path: Path) -> None:
    made = SETS["mmc4"](tmp_path / "set")
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for path in sorted((tmp_path / "set" / "images").iterdir()):
            tar.add(path, f"./{path.name}")
    of_folder = pack(made, tmp_path / "one")
    of_tar = Set(made.format, (made.flags[0], f"--images={tmp_path}/images.tar"), "document", 4, 3)
    assert jobs.covered(pack(of_tar, tmp_path / "two"), COVERED) == jobs.covered(of_folder, COVERED)


def test_limit_and_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = SETS["flan"](tmp_path / "set")
    pack(made, tmp_path / "run", "--dry_run")
    assert "1 parts of the input" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    assert jobs.counts(pack(made, tmp_path / "run", "--limit=2"))["read"]["in"] == 2
    said = refused(made, tmp_path / "run", "--limit=3")
    assert "--limit: was 2, now 3" in said and "--overwrite" in said
    run = pack(made, tmp_path / "run", "--limit=3", "--overwrite")
    assert jobs.counts(run)["read"]["in"] == 3


def test_lines_are_cut_and_numbered_through(tmp_path: Path) -> None:
    records = [{"inputs": f"{n} {'x' * (n % 90)}", "targets": f"{n}"} for n in range(200)]
    file = pack_files.lines(tmp_path / "own.jsonl", records)
    with open(file, "ab") as more:
        more.write(b"\n{}")  # a blank line, and one without an end
    made = Set("flan", (f"--input={file}",), "text", 201, 200)
    run = pack(made, tmp_path / "run")
    assert len(jobs.items(run, "read")) > 5
    assert left_out(run) == {"record_malformed": 1}
    found = fields(run)
    assert [each["source_row"] for each in found] == [*range(200)]
    assert [each["caption"] for each in found] == [
        f"{each['inputs']}\n{each['targets']}" for each in records
    ]
    limited = pack(made, tmp_path / "limited", "--limit=70")
    assert [each["source_row"] for each in fields(limited)] == [*range(70)]


def test_relative_paths_are_of_the_folder_where_the_job_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_all = pack(SETS["vqa"](tmp_path / "set"), tmp_path / "one")
    monkeypatch.chdir(tmp_path / "set")
    near = ("--input=q.json", "--annotations=a.json", "--images=images", "--exclude=test_ids.txt")
    run = pack(Set("vqa", near, "dialogue", 3, 2), tmp_path / "two")
    assert jobs.covered(run, COVERED) == jobs.covered(of_all, COVERED)
    (item,) = jobs.planfile.read_all(Store(run), "read")
    assert item["unit"]["path"] == str(tmp_path / "set" / "q.json")


def test_an_empty_file_has_no_record(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").touch()
    made = Set("flan", (f"--input={tmp_path}/own.jsonl",), "text", 0, 0)
    assert "no record can be used (no record)" in refused(made, tmp_path / "run")


def test_changed_annotations_are_another_run(tmp_path: Path) -> None:
    made = SETS["flan"](tmp_path / "set")
    run = pack(made, tmp_path / "run")
    before = jobs.covered(run, COVERED)
    pack(made, run)
    assert jobs.covered(run, COVERED) == before
    pack_files.lines(tmp_path / "set" / "f.jsonl", [{"inputs": "a", "targets": "b"}])
    assert "input f.jsonl" in refused(made, run)


def many(folder: Path) -> Set:
    """Return 60 conversations about 20 images, some of them damaged."""
    images = pack_files.pictures(folder / "images", [f"{n}.jpg" for n in range(20)])
    (images / "3.jpg").write_bytes(b"no image")
    (images / "4.jpg").unlink()
    records = [
        {"id": n, "image": f"{n % 20}.jpg", "conversations": pack_files.turns("a", f"b{n % 45}")}
        for n in range(60)
    ]
    file = pack_files.array(folder / "own.json", records)
    flags = (f"--input={file}", f"--images={images}", "--allow_eval_overlap", "--shard_size=10")
    return Set("llava_instruct", flags, "dialogue", 60, 54)


def _small_parts() -> None:
    from pipelines.pack_job import settings, units

    units.PART_BYTES = 1000
    settings.BUCKET_BYTES = 3000


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.pack_job.units.PART_BYTES", 1000)
    monkeypatch.setattr("pipelines.pack_job.settings.BUCKET_BYTES", 3000)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Set, Path]:
    """Return a set, and what one uninterrupted run with one worker writes of it."""
    folder = tmp_path_factory.mktemp("whole")
    made = many(folder / "set")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.pack_job.units.PART_BYTES", 1000)
        patch.setattr("pipelines.pack_job.settings.BUCKET_BYTES", 3000)
        return made, pack(made, folder / "run")


def test_parts_and_buckets_are_several(whole: tuple[Set, Path]) -> None:
    made, run = whole
    assert len(jobs.items(run, "read")) > 3 and len(jobs.items(run, "mix")) > 1
    assert jobs.counts(run)["pack"]["out"] == made.samples == len(fields(run))
    assert [str(each) for each in lint.lint(Store(run))] == []


@pytest.mark.parametrize("more", [("--workers=3",), ("--workers=2", "--worker_mode=processes")])
def test_bytes_do_not_depend_on_workers(
    whole: tuple[Set, Path], tmp_path: Path, more: tuple[str, ...]
) -> None:
    made, run = whole
    assert jobs.covered(pack(made, tmp_path, *more), COVERED) == jobs.covered(run, COVERED)


@pytest.mark.parametrize("moment", [0, 3, 7, 10])
def test_kill_9_changes_nothing(whole: tuple[Set, Path], tmp_path: Path, moment: int) -> None:
    made, run = whole
    command = flags(made, tmp_path)
    with jobs.start(command, tmp_path.with_suffix(".log"), _small_parts, module=MODULE) as child:
        assert jobs.until(lambda: len(jobs.markers(tmp_path)) >= moment, 60), child.errors()
        child.kill()
    pack(made, tmp_path)
    assert jobs.covered(tmp_path, COVERED) == jobs.covered(run, COVERED)


def test_two_launchers_share_one_output(whole: tuple[Set, Path], tmp_path: Path) -> None:
    made, run = whole
    log = tmp_path.with_suffix(".log")
    with jobs.start(
        flags(made, tmp_path, "--num_tasks=2", "--task_index=1"), log, _small_parts, module=MODULE
    ) as child:
        pack(made, tmp_path, "--num_tasks=2", "--task_index=0")
        assert child.wait() == 0, child.errors()
    assert jobs.covered(tmp_path, COVERED) == jobs.covered(run, COVERED)


def test_an_image_that_changed_between_stages_stops_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = many(tmp_path / "set")
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.pack_job.run.PackRun.pack", lambda run: None)
        pack(made, tmp_path / "run")
    (tmp_path / "set" / "images" / "0.jpg").write_bytes(pack_files.picture(99))
    assert "0.jpg is another image" in refused(made, tmp_path / "run")
