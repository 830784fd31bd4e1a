import json

import numpy as np
import pytest
from helpers.shared_data import shared_data

from grounding.detectors import oracle
from grounding.detectors.oracle import Annotated, OracleDetector, pixels_sha256
from grounding.detectors.oracle_coco import annotated, phrase
from shards.image import decode

BLACK, WHITE = (np.full((4, 6, 3), value, np.uint8) for value in (0, 255))
DOG, PEOPLE = (0.0, 0.1, 0.5, 0.9), ((0.1, 0.1, 0.2, 0.2), (0.5, 0.5, 1.0, 1.0))
CAPTION = "a dog and two people"


def detector(path, *lines):
    oracle.write(path, lines)
    assert oracle.read(path) == list(lines)
    return OracleDetector(path)


def boxes(found):
    return [[tuple(box) for box in each.boxes_xyxy.tolist()] for each in found]


def single(values):
    return [tuple(np.array(value, np.float32).tolist()) for value in values]


def test_it_returns_exactly_its_boxes(tmp_path):
    spans = {(0, 5): (DOG,), (10, 20): PEOPLE}
    made = detector(tmp_path / "truth.jsonl", Annotated(caption=CAPTION, spans=spans))
    found = made.detect([BLACK], [CAPTION], [[(10, 20), (2, 5), (0, 5)]])[0]
    assert boxes(found) == [single(PEOPLE), [], single([DOG])]
    assert [each.scores.tolist() for each in found] == [[1, 1], [], [1]]
    assert made.detect([BLACK], ["another"], [[(0, 5)]])[0][0].boxes_xyxy.shape == (0, 4)
    assert made.name == "oracle:truth.jsonl (annotated boxes, no model)"


def test_a_fifth_number_is_a_score(tmp_path):
    line = Annotated(caption=CAPTION, spans={(0, 5): (DOG, (*DOG, 0.25))})
    found = detector(tmp_path / "truth.jsonl", line).detect([BLACK], [CAPTION], [[(0, 5)]])[0]
    assert boxes(found) == [single([DOG, DOG])]
    assert found[0].scores.tolist() == [1, 0.25]


def test_pixels_tell_images_with_one_caption_apart(tmp_path):
    lines = [
        Annotated(image=pixels_sha256(image), caption=CAPTION, spans={(0, 5): (box,)})
        for image, box in ((BLACK, DOG), (WHITE, PEOPLE[0]))
    ]
    made = detector(tmp_path / "truth.jsonl", *lines)
    found = made.detect([WHITE, BLACK], [CAPTION] * 2, [[(0, 5)]] * 2)
    assert [boxes(each)[0] for each in found] == [single([PEOPLE[0]]), single([DOG])]
    with pytest.raises(ValueError, match="several images for 'a dog and two people'"):
        made.detect([BLACK[:2]], [CAPTION], [[(0, 5)]])


def test_a_resized_image_is_known_by_its_caption(tmp_path):
    line = Annotated(image=pixels_sha256(BLACK), caption=CAPTION, spans={(0, 5): (DOG,)})
    made = detector(tmp_path / "truth.jsonl", line)
    assert boxes(made.detect([BLACK[:2]], [CAPTION], [[(0, 5)]])[0]) == [single([DOG])]


def test_a_line_of_an_image_alone_fits_any_caption(tmp_path):
    made = detector(
        tmp_path / "truth.jsonl", Annotated(image=pixels_sha256(BLACK), spans={(0, 5): (DOG,)})
    )
    assert boxes(made.detect([BLACK], ["x dog"], [[(0, 5)]])[0]) == [single([DOG])]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 2"),
        ('{"spans": []}', "neither image nor caption"),
        ('{"caption": "a dog", "spans": [[0, 9, []]]}', "not inside the caption"),
        ('{"caption": "a dog", "spans": [[0, 5, [[0, 0, 10, 10]]]]}', r"not xyxy in \[0, 1\]"),
        ('{"caption": "a dog", "spans": [[0, 5, [[0, 0, 1, 1, 2]]]]}', "a score in"),
        ('{"caption": "a dog", "spans": [[0, 5, [[0, 0, 1, 1, 1, 1]]]]}', "a score in"),
        ('{"caption": "a cat", "spans": [[0, 5, [[0, 0, 1, 1]]]]}', "two answers"),
    ],
)
def test_a_bad_line_is_refused(tmp_path, line, why):
    path = tmp_path / "truth.jsonl"
    path.write_text('{"caption": "a cat", "spans": []}\n' + line)
    with pytest.raises(ValueError, match=why):
        OracleDetector(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        OracleDetector(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("category", "number", "words"),
    [
        ("dog", 1, "a dog"),
        ("apple", 1, "an apple"),
        ("person", 2, "two people"),
        ("bus", 3, "three buses"),
        ("wine glass", 2, "two wine glasses"),
        ("scissors", 1, "a pair of scissors"),
        ("skis", 2, "two pairs of skis"),
        ("sheep", 12, "12 sheep"),
    ],
)
def test_categories_are_named_with_their_number(category, number, words):
    assert phrase(category, number) == words


def test_coco_annotations_become_captions(tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(_coco()))
    (line,) = annotated(path)
    assert line.caption == "a dog and two people"
    assert line.spans == {
        (0, 5): ((0.0, 0.0, 0.5, 1.0),),
        (10, 20): ((0.5, 0.5, 1.0, 1.0), (0.0, 0.0, 0.1, 0.1)),
    }


@pytest.mark.skipif(shared_data() is None, reason="needs the sample photos")
def test_real_photos_answer_through_the_detector(tmp_path):
    folder = shared_data() / "photos" / "coco"
    lines = list(annotated(folder / "annotations" / "instances.json", folder / "images"))
    made = detector(tmp_path / "coco.jsonl", *lines)
    assert len(lines) > 40
    answered = 0
    for path in (folder / "images").iterdir():
        image = decode(path.read_bytes())
        for line in (each for each in lines if each.image == pixels_sha256(image)):
            asked = list(line.spans)
            found = made.detect([image], [line.caption], [asked])[0]
            assert boxes(found) == [single(line.spans[span]) for span in asked]
            answered += 1
    assert answered == len(lines)


def _coco():
    def box(category, *sides, crowd=0):
        return {"image_id": 1, "category_id": category, "bbox": sides, "iscrowd": crowd}

    return {
        "images": [
            {"id": 1, "file_name": "1.jpg", "width": 100, "height": 50},
            {"id": 2, "file_name": "2.jpg", "width": 10, "height": 10},
        ],
        "categories": [
            {"id": 1, "name": "person"},
            {"id": 18, "name": "dog"},
            {"id": 3, "name": "car"},
        ],
        "annotations": [
            box(18, 0, 0, 50, 50),
            box(1, 0, 0, 10, 5),
            box(1, 50, 25, 60, 30),
            box(3, 0, 0, 90, 50, crowd=1),
        ],
    }
