"""Published records go through pack, lint and a training step; so does a set of each format."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.cogvlm import toy_tokenizer
from helpers.pipelines import jobs, pack_files
from helpers.pipelines.pack_files import SETS, Set
from helpers.shared_data import shared_data

from cogvlm import train
from cogvlm.training.watch import read_log
from grounding.annotated import grit
from grounding.annotated.annotations import Annotated, AnnotatedPhrase, write_shards
from shards import lint, manifest
from shards.files.store import Store

TASKS = {
    **{"dialogue": "dialogue", "document": "document", "text": "text", "grounded": "rec"},
    "image_text": "caption",
}
TASKS_OF = {
    **{"vqa": "vqa", "visual7w": "grounded_vqa", "coco_detection": "caption"},
    **dict.fromkeys(("textvqa", "docvqa", "vizwiz", "gqa", "pope"), "vqa"),
}

RECORDS = shared_data()
needs_records = pytest.mark.skipif(
    RECORDS is None or not (RECORDS / "formats").is_dir(),
    reason="published records are not here; name their folder in GROUNDWORK_SHARED_DATA",
)


def packed(made: Set, folder: Path) -> Path:
    """Pack a set, check the shards and return the run."""
    run = folder / "run"
    flags = (f"--format={made.format}", *made.flags, f"--output={run}", "--worker_mode=threads")
    code, errors = jobs.run(flags, "pipelines.pack")
    assert code == 0, errors
    assert [str(each) for each in lint.lint(Store(run))] == []
    assert manifest.read(Store(run)).samples == made.samples
    return run


def trained(run: Path, task: str, folder: Path) -> dict[str, Any]:
    """Train for one step and return its line of the log."""
    toy_tokenizer.write(folder / "words")
    flags = (
        *("--preset", "debug", "--data", f"{task}={run}", "--tokenizer", str(folder / "words")),
        *("--override", "vocab_size=512", "max_positions=4096", "--steps", "1"),
        *("--warmup_steps", "0", "--workers", "0", "--global_batch", "2"),
        *("--snapshot_every", "100", "--output", str(folder / "trained")),
    )
    assert train.main([*flags]) == 0
    (step,) = [line for line in read_log(folder / "trained") if line["kind"] == "step"]
    return step


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_each_format_trains(name: str, tmp_path: Path) -> None:
    made = SETS[name](tmp_path / "set")
    task = TASKS_OF.get(name, TASKS[made.level])
    step = trained(packed(made, tmp_path), task, tmp_path)
    assert step["loss"] > 0


def sft_311k(formats: Path, folder: Path) -> Set:
    for labels in sorted((formats / "cogvlm-sft-311k").glob("*/labels")):
        shutil.copytree(labels, folder / labels.parent.name / "labels")
        names = [f"{path.stem}.jpg" for path in labels.glob("*.json")]
        pack_files.pictures(folder / labels.parent.name / "images", names)
    flags = (f"--input={folder}", "--allow_eval_overlap")
    return Set("sft_311k", flags, "dialogue", 2, 2)


def llava_mix(formats: Path, folder: Path) -> Set:
    file = formats / "llava" / "llava_v1_5_mix665k_sample.json"
    names = [each["image"] for each in json.loads(file.read_bytes())]
    images = pack_files.pictures(folder, names)
    flags = (f"--input={file}", f"--images={images}", "--allow_eval_overlap")
    return Set("llava_instruct", flags, "dialogue", 2, 2)


def mmc4(formats: Path, folder: Path) -> Set:
    file = formats / "mmc4" / "mmc4_sample.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    names = [image["image_name"] for each in found for image in each["image_info"]]
    images = pack_files.pictures(folder, names)
    return Set("mmc4", (f"--input={file}", f"--images={images}"), "document", 1, 1)


def refcoco(formats: Path, folder: Path) -> Set:
    references = json.loads((formats / "refcoco" / "refs_unc_sample.json").read_bytes())
    images = pack_files.pictures(folder / "images", ["COCO_train2014_000000581857.jpg"])
    (folder / "refs(unc).p").write_bytes(pickle.dumps(references, protocol=2))
    instances = {  # the real boxes come with COCO
        "images": [{"id": 581857, "width": 64, "height": 64}],
        "annotations": [{"id": 1719310, "bbox": [3, 4, 30, 50]}],
        "categories": [{"id": 1, "name": "person"}],
    }
    pack_files.array(folder / "instances.json", instances)
    flags = (f"--input={folder}/refs(unc).p", f"--annotations={folder}/instances.json")
    more = (f"--images={images}", "--allow_eval_overlap")
    return Set("refcoco", (*flags, *more), "grounded", 3, 3)


def instructions(formats: Path, folder: Path) -> Set:
    file = formats / "llava" / "coco2014_val_gpt4_qa_30x3.jsonl"
    return Set("flan", (f"--input={file}",), "text", 90, 90)


def caption_boxes(formats: Path, folder: Path) -> Set:
    """Published boxes in 0..1 under our own form: the category is the phrase."""
    file = formats / "llava" / "caps_boxes_coco2014_val_80.jsonl"
    records = []
    for line in file.read_text().splitlines():
        values = json.loads(line)
        boxes: dict[str, list[Any]] = {}
        for each in values["instances"]:
            boxes.setdefault(each["category"], []).append(each["bbox"])
        caption = "; ".join(boxes)
        phrases = [{"text": name, "boxes": found} for name, found in boxes.items()]
        records.append({"image": values["image"], "caption": caption, "phrases": phrases})
    images = pack_files.pictures(folder / "images", [each["image"] for each in records])
    own = pack_files.lines(folder / "own.jsonl", records)
    flags = (f"--input={own}", f"--images={images}", "--box_format=xyxy_1")
    clear = sum(
        all(each["caption"].count(phrase["text"]) == 1 for phrase in each["phrases"])
        and bool(each["phrases"])
        for each in records
    )
    return Set("boxes_jsonl", flags, "grounded", len(records), clear)


@needs_records
@pytest.mark.parametrize("make", [sft_311k, llava_mix, mmc4, refcoco, instructions, caption_boxes])
def test_published_records_train(make: Callable[[Path, Path], Set], tmp_path: Path) -> None:
    assert RECORDS is not None
    made = make(RECORDS / "formats", tmp_path / "set")
    step = trained(packed(made, tmp_path), TASKS[made.level], tmp_path)
    assert step["loss"] > 0


@needs_records
def test_published_grit_rows_train(tmp_path: Path) -> None:
    assert RECORDS is not None
    rows = list(grit.read(RECORDS / "formats" / "grit" / "grit_sample.parquet"))
    records = []
    for number, row in enumerate(rows):
        assert isinstance(row, grit.GritRecord)
        boxes: dict[tuple[int, int], list[Any]] = {}
        for chunk in row.noun_chunks:
            boxes.setdefault(chunk.span, []).append(chunk.box_xyxy)
        phrases = tuple(
            AnnotatedPhrase(start=start, end=end, boxes_xyxy=tuple(found))
            for (start, end), found in boxes.items()
        )
        records.append(
            Annotated(image_id=str(row.id), caption=row.caption, phrases=phrases, source="grit",
                      source_file="grit_sample.parquet", source_row=number)
        )  # fmt: skip
    write_shards(records, lambda _: pack_files.picture(0), tmp_path / "run")
    assert [str(each) for each in lint.lint(Store(tmp_path / "run"))] == []
    assert trained(tmp_path / "run", "grounded_caption", tmp_path)["loss"] > 0
