"""Small annotation files in the published forms, with contents of our own."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

SENTENCES = (
    "[/EN#11/people Two tall men] lift [/EN#12/other a heavy box] in [/EN#0/notvisual the air] .\n"
    "[/EN#11/people/clothing Men in [b] odd markup\n"
    "[/EN#11/people Men] at [/EN#13/scene a harbour] , with [/EN#11/people their own box]\n"
)
XML = """<annotation><filename>7.jpg</filename>
<size><width>200</width><height>100</height><depth>3</depth></size>
<object><name>11</name><bndbox><xmin>20</xmin><ymin>10</ymin><xmax>60</xmax><ymax>90</ymax></bndbox>
</object>
<object><name>11</name><name>12</name>
<bndbox><xmin>100</xmin><ymin>10</ymin><xmax>200</xmax><ymax>100</ymax></bndbox></object>
<object><name>13</name><scene>1</scene><nobndbox>0</nobndbox></object>
</annotation>
"""


def flickr(folder: Path, xml: str = XML, sentences: str = SENTENCES) -> Path:
    """The unpacked annotations of one image, 7, in the test split."""
    for name in ("Annotations", "Sentences"):
        (folder / name).mkdir(parents=True)
    (folder / "Annotations" / "7.xml").write_text(xml)
    (folder / "Sentences" / "7.txt").write_text(sentences)
    (folder / "test.txt").write_text("7\n")
    return folder


def refcoco(folder: Path, boxes: Mapping[int, Sequence[float]] | None = None) -> tuple[Path, Path]:
    """Two objects of image 5 and one of image 6; returns both files."""
    boxes = boxes or {1: [10, 20, 30, 40], 2: [50, 0, 50, 100], 3: [0, 0, 40, 40]}
    references = [
        _reference(1, 5, "val", ["the cup on the left", "left cup"]),
        _reference(2, 5, "val", ["tall  lamp"]),
        _reference(3, 6, "testA", ["cat"]),
    ]
    instances = {
        "images": [{"id": number, "width": 100, "height": 100} for number in (5, 6)],
        "annotations": [{"id": number, "bbox": list(box)} for number, box in boxes.items()],
        "categories": [{"id": 9, "name": "thing"}],
    }
    refs, json_file = folder / "refs(own).p", folder / "instances.json"
    refs.write_bytes(pickle.dumps(references, protocol=2))
    json_file.write_text(json.dumps(instances))
    return refs, json_file


def _reference(number: int, image: int, split: str, texts: list[str]) -> dict:
    sentences = [
        {"sent_id": 10 * number + place, "sent": text, "raw": text.upper(), "tokens": text.split()}
        for place, text in enumerate(texts)
    ]
    return {
        "ref_id": number,
        "ann_id": number,
        "image_id": image,
        "category_id": 9,
        "split": split,
        "sentences": sentences,
        "sent_ids": [each["sent_id"] for each in sentences],
        "file_name": "unused.jpg",
    }


def visual_genome(folder: Path) -> tuple[Path, Path]:
    """Image 1, also 77 of COCO, with four regions of which one lies outside, and image 2."""
    regions = [
        {
            "id": 1,
            "regions": [
                _region(1, "a green door.", (0, 0, 50, 50)),
                _region(1, "the step &amp;amp; the rail", (10, 10, 90, 40)),
                _region(1, "a cloud", (90, 90, 60, 60)),
                _region(1, " . ", (0, 0, 10, 10)),
                _region(1, "an old man", (-1, 0, 30, 30)),
            ],
        },
        {"image_id": 2, "regions": [_region(2, "snow", (0, 0, 100, 100))]},
        {"image_id": 3, "regions": [_region(3, "nowhere", (0, 0, 1, 1))]},
    ]
    sizes = [
        {"image_id": 1, "width": 100, "height": 100, "coco_id": 77, "url": "u"},
        {"image_id": 2, "width": 100, "height": 100, "coco_id": None, "url": "u"},
    ]
    (folder / "regions.json").write_text(json.dumps(regions))
    (folder / "image_data.json").write_text(json.dumps(sizes, indent=1))
    return folder / "regions.json", folder / "image_data.json"


def _region(image: int, phrase: str, box: tuple[int, int, int, int]) -> dict:
    return {"image_id": image, "phrase": phrase, "region_id": 1} | dict(
        zip(("x", "y", "width", "height"), box, strict=True)
    )


def visual7w(folder: Path) -> tuple[Path, Path]:
    """Questions about images 1 to 3 of `visual_genome`; returns those to point at, those to tell.

    Of the six to point at, the first overhangs the image and the last is of another split; between
    them are one without words, a box outside, no box, and an image that `image_data.json` lacks.
    """
    boxes = {11: (-1, 10, 41, 40), 12: (90, 90, 60, 60), 13: (20, 20, 60, 60)}
    asked = {
        ("train", 1): [("Which cup?", 11), (" ", 13), ("Which cloud?", 12), ("Which ghost?", 99)],
        ("train", 3): [("Which door?", 13)],
        ("val", 2): [("Which snow?", 13)],
    }
    pointing = {
        "boxes": [
            {"box_id": number, "name": "thing", "x": x, "y": y, "width": width, "height": height}
            for number, (x, y, width, height) in boxes.items()
        ],
        "images": [
            _asked(image, split, pairs, [12, 13, 14]) for (split, image), pairs in asked.items()
        ],
    }
    others = ["A door.", "Snow.", "Nothing."]
    telling = {"images": [_asked(1, "train", [("What is green?", "The cup.")], others)]}
    for name, values in (("pointing", pointing), ("telling", telling)):
        (folder / f"{name}.json").write_text(json.dumps(values))
    return folder / "pointing.json", folder / "telling.json"


def _asked(
    image: int, split: str, pairs: Sequence[tuple[str, int | str]], others: Sequence[int | str]
) -> dict:
    qa_pairs = [
        {
            "qa_id": 100 * image + place,
            "image_id": image,
            "question": question,
            "answer": answer,
            "multiple_choices": others,
        }
        for place, (question, answer) in enumerate(pairs)
    ]
    return {
        "image_id": image,
        "filename": f"v7w_{image}.jpg",
        "split": split,
        "qa_pairs": qa_pairs,
    }
