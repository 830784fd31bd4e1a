"""Small annotated sets in every form that `pipelines.pack` reads, with contents of our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers.grounding import annotation_files
from helpers.pipelines import benchmark_files
from helpers.pipelines.set_files import Set, array, lines, pictures, plain
from helpers.pipelines.set_files import picture as picture


def turns(*contents: str) -> list[dict[str, str]]:
    """Return a conversation in LLaVA's form."""
    return [
        {"from": ("human", "gpt")[n % 2], "value": content} for n, content in enumerate(contents)
    ]


def said(*contents: str) -> list[dict[str, str]]:
    """Return a conversation in the form of CogVLM-SFT-311K."""
    return [
        {"role": ("user", "assistant")[n % 2], "content": content}
        for n, content in enumerate(contents)
    ]


def labels(folder: Path, name: str, files: Mapping[str, Any]) -> None:
    """Write label files."""
    for stem, values in files.items():
        array(folder / name / f"{stem}.json", values)


def sft_311k(folder: Path) -> Set:
    for each in ("details", "single"):
        pictures(folder / each / "images", [f"{n:08d}.jpg" for n in range(4)])
    captions = {
        f"{n:08d}": {"captions": [{"role": "caption", "content": f"scene {n}"}]} for n in range(4)
    }
    talk = {
        f"{n:08d}": {"conversations": said("What is it?", f"It is {n}.", "Sure?", "Yes.")}
        for n in range(4)
    }
    chinese = {"00000000": {"conversations": said("这是什么?", "一个圆。")}}
    labels(folder / "details", "labels_en", captions)
    labels(folder / "single", "labels_en", talk)
    labels(folder / "single", "labels_zh", chinese)
    return Set("sft_311k", (f"--input={folder}", "--allow_eval_overlap"), "dialogue", 9, 9)


def llava_instruct(folder: Path) -> Set:
    images = pictures(folder / "images", ["coco/000000000009.jpg", "b.jpg"])
    records = [
        {
            "id": "1",
            "image": "coco/000000000009.jpg",
            "conversations": turns("<image>\nWhat?", "A <boxes> thing.", "Where?", "There."),
        },
        {"id": "2", "image": "b.jpg", "conversations": turns("Colour?\n<image>", "Red.")},
        {"id": "3", "conversations": turns("Hello?", "Hello.")},
        {
            "id": "4",
            "image": ["b.jpg", "coco/000000000009.jpg"],
            "conversations": turns("<image> or <image>?", "The first."),
        },
    ]
    file = array(folder / "own.json", records)
    flags = (f"--input={file}", f"--images={images}", "--allow_eval_overlap")
    return Set("llava_instruct", flags, "dialogue", 4, 4)


def vqa(folder: Path) -> Set:
    images = pictures(folder / "images", [f"COCO_val2014_{n:012d}.jpg" for n in (7, 8)])
    questions = [
        {"question_id": 70, "image_id": 7, "question": "How many?"},
        {"question_id": 71, "image_id": 7, "question": "Which colour?"},
        {"question_id": 80, "image_id": 8, "question": "Is it round?"},
    ]
    answers = [
        {"question_id": 70, "image_id": 7, "multiple_choice_answer": "2", "answers": _given("2")},
        {"question_id": 71, "image_id": 7, "answers": _given("red", "blue", "blue")},
        {"question_id": 80, "image_id": 8, "answers": _given("yes", "no")},
    ]
    asked = array(folder / "q.json", {"questions": questions, "data_subtype": "val2014"})
    answered = array(folder / "a.json", {"annotations": answers})
    excluded = folder / "test_ids.txt"
    excluded.write_text("000000000008\n12\n")
    flags = (f"--input={asked}", f"--annotations={answered}", f"--images={images}")
    return Set("vqa", (*flags, f"--exclude={excluded}"), "dialogue", 3, 2)


def _given(*answers: str) -> list[dict[str, Any]]:
    return [{"answer": each, "answer_id": n + 1} for n, each in enumerate(answers)]


def visual7w(folder: Path) -> Set:
    images = pictures(folder / "images", ["v7w_1.jpg", "v7w_2.jpg"], (100, 100))
    pointing, telling = annotation_files.visual7w(folder)
    _, data = annotation_files.visual_genome(folder)
    flags = (f"--input={pointing}", f"--input={telling}", f"--annotations={data}")
    return Set("visual7w", (*flags, f"--images={images}", "--allow_eval_overlap"), "dialogue", 7, 3)


def mmc4(folder: Path) -> Set:
    images = pictures(folder / "images", [f"{n}.jpg" for n in range(9)])
    records = [
        {
            "url": "https://a.example/1",
            "text_list": ["One.", "Two <image>.", "Three."],
            "image_info": [_matched("1.jpg", 2), _matched("0.jpg", 1)],
        },
        {
            "url": "https://a.example/2",
            "text_list": [f"Sentence {n}." for n in range(9)],
            "image_info": [_matched(f"{n}.jpg", n) for n in range(9)],
        },
        {
            "url": "https://a.example/3",
            "text_list": ["Some lost.", "Some not."],
            "image_info": [_matched("lost.jpg", 0), _matched("3.jpg", 1)],
        },
        {
            "url": "https://a.example/4",
            "text_list": ["All lost."],
            "image_info": [_matched("lost.jpg", 0)],
        },
    ]
    file = lines(folder / "docs_shard_0.jsonl", records)
    return Set("mmc4", (f"--input={file}", f"--images={images}"), "document", 4, 3)


def _matched(name: str, sentence: int) -> dict[str, Any]:
    return {"image_name": name, "matched_text_index": sentence, "matched_sim": 0.3}


def obelics(folder: Path) -> Set:
    images = pictures(folder / "images", ["a.jpg", "b.jpg"])
    records = [
        {"images": [None, "a.jpg", None, "b.jpg"], "texts": ["Begin.", None, "Go on.", None]},
        {"images": ["b.jpg", None], "texts": [None, "After it."]},
    ]
    file = lines(folder / "o.jsonl", records)
    return Set("obelics", (f"--input={file}", f"--images={images}"), "document", 2, 2)


def flan(folder: Path) -> Set:
    records = [{"inputs": f"Add 1 and {n}.", "targets": str(n + 1)} for n in range(3)] + [
        {"instruction": "Name a colour.", "input": "Warm.", "output": "Red"}
    ]
    return Set("flan", (f"--input={lines(folder / 'f.jsonl', records)}",), "text", 4, 4)


def boxes_jsonl(folder: Path) -> Set:
    images = pictures(folder / "images", ["0.jpg", "1.jpg"])
    records = [
        {
            "image": "0.jpg",
            "caption": "a  red circle &amp; a box",
            "phrases": [
                {"start": 0, "end": 13, "boxes": [[0, 0, 32, 32]]},
                {"text": "a box", "boxes": [[10, 10, 64, 64], [1, 2, 3, 4]]},
            ],
        },
        {
            "image": "1.jpg",
            "caption": "two cups",
            "phrases": [
                {"text": "cups", "boxes": []},
                {"text": "two cups", "boxes": [[5, 5, 20, 20]]},
            ],
        },
    ]
    file = lines(folder / "own.jsonl", records)
    flags = (f"--input={file}", f"--images={images}", "--box_format=xyxy_px")
    return Set("boxes_jsonl", flags, "grounded", 2, 2)


def coco_detection(folder: Path) -> Set:
    images = pictures(folder / "images", [f"{n:012d}.jpg" for n in (5, 6, 7)])
    values = {
        "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "fire hydrant"}],
        "images": [{"id": n, "width": 64, "height": 64} for n in (5, 6, 7)],
        "annotations": [
            {"image_id": 5, "category_id": 3, "bbox": [1, 2, 20, 30], "iscrowd": 0},
            {"image_id": 5, "category_id": 1, "bbox": [10, 2, 20, 30], "iscrowd": 0},
            {"image_id": 5, "category_id": 1, "bbox": [30, 2, 20, 30], "iscrowd": 0},
            {"image_id": 5, "category_id": 1, "bbox": [0, 0, 60, 60], "iscrowd": 1},
            {"image_id": 6, "category_id": 1, "bbox": [60, 0, 30, 30], "iscrowd": 0},
        ],
    }
    file = array(folder / "instances.json", values)
    flags = (f"--input={file}", f"--images={images}", "--allow_eval_overlap")
    return Set("coco_detection", flags, "grounded", 4, 1)


def flickr30k_entities(folder: Path) -> Set:
    images = folder / "images"
    images.mkdir(parents=True)
    (images / "7.jpg").write_bytes(plain(7, (200, 100)))
    annotations = annotation_files.flickr(folder / "entities")
    flags = (f"--input={annotations}", f"--images={images}", "--split=test")
    return Set("flickr30k_entities", flags, "grounded", 3, 2)


def refcoco(folder: Path) -> Set:
    images = folder / "images"
    pictures(images, [f"COCO_train2014_{n:012d}.jpg" for n in (5, 6)], (100, 100))
    refs, instances = annotation_files.refcoco(folder)
    flags = (f"--input={refs}", f"--annotations={instances}", f"--images={images}")
    return Set("refcoco", (*flags, "--allow_eval_overlap"), "grounded", 4, 4)


def visual_genome(folder: Path) -> Set:
    images = pictures(folder / "images", ["1.jpg", "2.jpg"], (100, 100))
    regions, data = annotation_files.visual_genome(folder)
    flags = (f"--input={regions}", f"--annotations={data}", f"--images={images}")
    return Set("visual_genome", (*flags, "--allow_eval_overlap"), "grounded", 5, 2)


SETS = {
    each.__name__: each
    for each in (
        sft_311k,
        llava_instruct,
        vqa,
        visual7w,
        mmc4,
        obelics,
        flan,
        boxes_jsonl,
        coco_detection,
        flickr30k_entities,
        refcoco,
        visual_genome,
        *benchmark_files.MADE,
    )
}
