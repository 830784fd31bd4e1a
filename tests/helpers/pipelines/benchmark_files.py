"""Small benchmarks in the forms of their publishers, each with records that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.pipelines.set_files import Set, array, lines, pictures


def coco_captions(folder: Path) -> Set:
    images = pictures(folder / "images", [f"COCO_val2014_{n:012d}.jpg" for n in (7, 8)])
    told = [(8, "A red box."), (7, "A cup.\n"), (8, "One box."), (7, " "), (9, "Nothing.")]
    values = {
        "images": [_image(n, f"COCO_val2014_{n:012d}.jpg") for n in (7, 8)],
        "annotations": [
            {"id": row, "image_id": n, "caption": text} for row, (n, text) in enumerate(told)
        ],
    }
    file = array(folder / "captions_val2014.json", values)
    flags = (f"--input={file}", f"--images={images}", "--allow_eval_overlap")
    return Set("coco_captions", flags, "image_text", 5, 3)


def nocaps(folder: Path) -> Set:
    names = ["0013ea2087020901.jpg", "001464cfae2a30b8.jpg"]
    images = pictures(folder / "images", names)
    values = {
        "images": [
            _image(n, name) | {"open_images_id": name[:16], "domain": "near-domain"}
            for n, name in enumerate([*names, "lost.jpg"])
        ],
        "annotations": [
            {"id": 10 * n + m, "image_id": n, "caption": f"scene {n} in words {m}"}
            for n in range(3)
            for m in range(2)
        ],
    }
    file = array(folder / "nocaps_val_4500_captions.json", values)
    return Set("nocaps", (f"--input={file}", f"--images={images}"), "image_text", 6, 4)


def _image(number: int, name: str) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": 64, "height": 64, "license": 1}


def karpathy(folder: Path) -> Set:
    names = [f"COCO_val2014_{n:012d}.jpg" for n in (5, 6, 7)]
    images = pictures(folder / "images", names)
    said = (["A.", "B."], ["C.", ""], ["D."])
    values = {
        "dataset": "coco",
        "images": [
            {
                "filepath": "val2014",
                "filename": name,
                "split": split,
                "sentences": [{"raw": text, "sentid": 10 * n + m} for m, text in enumerate(texts)],
            }
            for n, (name, split, texts) in enumerate(
                zip(names, ("test", "test", "restval"), said, strict=True)
            )
        ],
    }
    file = array(folder / "dataset_coco.json", values)
    flags = (f"--input={file}", f"--images={images}", "--split=test", "--allow_eval_overlap")
    return Set("karpathy", flags, "image_text", 4, 3)


def textvqa(folder: Path) -> Set:
    images = pictures(folder / "images", ["ab0.jpg", "ab1.jpg"])
    asked = {"question_id": 1, "image_id": "ab0", "question": "What does it say?"}
    values = [
        asked | {"answers": ["stop", "go", "stop"], "set_name": "val"},
        asked | {"question_id": 2, "image_id": "ab1", "answers": ["", "exit"]},
        asked | {"question_id": 3, "image_id": "gone", "answers": ["exit"]},
        asked | {"question_id": 4, "image_id": 4, "answers": ["exit"]},
        asked | {"question_id": 5, "set_name": "test"},
        asked | {"question_id": 6, "answers": ["", " "]},
        asked | {"question_id": 7, "answers": ["exit"], "question": " "},
    ]
    file = array(folder / "TextVQA_0.5.1_val.json", {"data": values})
    return Set("textvqa", (f"--input={file}", f"--images={images}"), "dialogue", 7, 2)


def docvqa(folder: Path) -> Set:
    images = pictures(folder / "images", ["documents/xnbl0037_1.png", "20471.jpeg"])
    asked = {"questionId": 1, "question": "Who signed?", "image": "documents/xnbl0037_1.png"}
    infographic = {"questionId": 2, "question": "How many?", "image_local_name": "20471.jpeg"}
    values = [
        asked | {"answers": ["E. Shannon", "Shannon"], "data_split": "val"},
        infographic | {"answers": ["12"]},
        asked | {"questionId": 3, "data_split": "test"},
        asked | {"questionId": 4, "answers": "12"},
        {"questionId": 5, "question": "Where?", "answers": ["here"]},
    ]
    file = array(folder / "val_v1.0.json", {"data": values})
    return Set("docvqa", (f"--input={file}", f"--images={images}"), "dialogue", 5, 2)


def vizwiz(folder: Path) -> Set:
    names = [f"VizWiz_val_{n:08d}.jpg" for n in range(2)]
    images = pictures(folder / "images", names)
    sure = [{"answer": each, "answer_confidence": "yes"} for each in ("soup", "can", "soup", "tin")]
    unsure = [{"answer": "unanswerable", "answer_confidence": "no"}] * 4
    asked = {"image": names[0], "question": "What is this?", "answerable": 1}
    values = [
        asked | {"answers": sure, "answer_type": "other"},
        asked | {"image": names[1], "answers": unsure, "answerable": 0},
        asked,
        asked | {"answers": [{"answer": 3}]},
        asked | {"image": None, "answers": sure},
        "no object",
    ]
    file = array(folder / "val.json", values)
    return Set("vizwiz", (f"--input={file}", f"--images={images}"), "dialogue", 6, 2)


def gqa(folder: Path) -> Set:
    images = pictures(folder / "images", ["2405722.jpg", "n161313.jpg"])
    asked = {"imageId": "2405722", "question": "What is on the mat?", "isBalanced": True}
    values = {
        "05515938": asked | {"answer": "cup", "fullAnswer": "The cup is on the mat."},
        "05515939": asked | {"imageId": "n161313", "answer": "yes", "question": "Is it red?"},
        "05515940": asked,
        "05515941": asked | {"answer": ["cup"]},
        "05515942": asked | {"answer": ""},
    }
    file = array(folder / "testdev_balanced_questions.json", values)
    flags = (f"--input={file}", f"--images={images}", "--allow_eval_overlap")
    return Set("gqa", flags, "dialogue", 5, 2)


def pope(folder: Path) -> Set:
    images = pictures(folder / "images", ["COCO_val2014_000000310196.jpg", "2405722.jpg"])
    asked = {"image": "COCO_val2014_000000310196.jpg", "text": "Is there a cup in the image?"}
    values = [
        asked | {"question_id": 1, "label": "yes"},
        asked | {"question_id": 2, "label": "no", "text": "Is there a car in the image?"},
        asked | {"question_id": 3, "label": "yes", "image": "2405722.jpg"},
        asked | {"question_id": 4, "category": "random"},
        asked | {"question_id": 5, "label": True},
    ]
    file = lines(folder / "coco_pope_random.json", values)
    flags = (f"--input={file}", f"--images={images}", "--allow_eval_overlap")
    return Set("pope", flags, "dialogue", 5, 3)


def scienceqa(folder: Path) -> Set:
    images = pictures(folder / "images", ["test/2/image.png"])
    alone = {"question": "Which is hardest?", "choices": ["clay", "glass"], "answer": 1}
    asked = alone | {"hint": "", "image": None, "split": "test", "lecture": "Much."}
    values = {
        "1": asked,
        "2": asked | {"image": "image.png", "hint": "Look at it."},
        "3": asked | {"choices": ["silk", "glass", "wool"]},  # the same words, but for a choice
        "4": asked | {"image": "image.png"},
        "5": asked | {"answer": 2},
        "6": asked | {"answer": "glass"},
        "7": asked | {"choices": "glass"},
        "8": asked | {"question": ""},
        "9": asked | {"split": "train"},
    }
    file = array(folder / "problems.json", values)
    flags = (f"--input={file}", f"--images={images}", "--split=test")
    return Set("scienceqa", flags, "dialogue", 8, 3)


def mm_vet(folder: Path) -> Set:
    images = pictures(folder / "images", ["v1_0.png", "v1_1.png"])
    asked = {"imagename": "v1_0.png", "question": "What is x?", "capability": ["ocr", "math"]}
    values = {
        "v1_0": asked | {"answer": "-1<AND>-5"},
        "v1_1": asked | {"imagename": "v1_1.png", "answer": "a cup<OR>a mug"},
        "v1_2": asked | {"imagename": "../v1_0.png", "answer": "5"},
        "v1_3": asked,
    }
    file = array(folder / "mm-vet.json", values)
    return Set("mm_vet", (f"--input={file}", f"--images={images}"), "dialogue", 4, 2)


MADE = (
    *(coco_captions, nocaps, karpathy),
    *(textvqa, docvqa, vizwiz, gqa, pope, scienceqa, mm_vet),
)
