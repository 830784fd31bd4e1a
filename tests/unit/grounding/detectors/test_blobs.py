import numpy as np
import pytest
from PIL import Image, ImageDraw

from examples.scenes import COLOURS, scene
from grounding import geometry
from grounding.detectors import blobs
from shards.image import PROFILES, decode, encode


def test_its_colours_are_those_of_the_scenes():
    assert blobs.COLOURS == COLOURS


@pytest.mark.parametrize("size_px", [(320, 240), (96, 96)])
def test_every_shape_of_50_scenes_is_found_after_jpeg(size_px):
    scenes = [scene(seed, size_px) for seed in range(50)]
    images = [decode(encode(np.asarray(each.image()), PROFILES["stage2"])) for each in scenes]
    captions = [each.caption for each in scenes]
    spans = [[_span(each.caption, s.phrase) for s in each.shapes] for each in scenes]
    for made, found in zip(
        scenes, blobs.BlobDetector().detect(images, captions, spans), strict=True
    ):
        for shape, detection in zip(made.shapes, found, strict=True):
            assert len(detection) == 1, made.caption
            true = np.array([shape.box_xyxy_px]) / np.array([*size_px, *size_px])
            assert geometry.iou(detection.boxes_xyxy, true)[0, 0] >= 0.8, made.caption
            assert 0.65 < detection.scores[0] <= 1


def test_what_is_not_there_is_not_found():
    made = scene(0)
    colour, kind = made.shapes[0].colour, made.shapes[0].kind
    others = [f"a {c} {k}" for c in COLOURS for k in blobs.FILLS if (c, k) != (colour, kind)]
    others = [phrase for phrase in others if phrase[2:] not in made.caption]
    found = blobs.BlobDetector().detect(
        [np.asarray(made.image())] * len(others), others, [[(0, len(each))] for each in others]
    )
    assert [len(each[0]) for each in found] == [0] * len(others)


@pytest.mark.parametrize(
    ("phrase", "count"),
    [
        ("every shape", 4),
        ("red circles", 2),
        ("every red circle", 2),
        ("every circle", 3),
        ("the blue one", 1),
        ("two triangles", 1),
        ("a picture", 0),
        ("plain paper", 0),
    ],
)
def test_a_phrase_finds_all_its_instances(phrase, count):
    found = blobs.BlobDetector().detect([_four_shapes()], [phrase], [[(0, len(phrase))]])[0][0]
    assert len(found) == count
    assert list(found.scores) == sorted(found.scores, reverse=True)


def _four_shapes():
    picture = Image.new("RGB", (200, 200), (244, 242, 236))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((10, 10, 70, 70), COLOURS["red"])
    draw.ellipse((110, 10, 190, 90), COLOURS["red"])
    draw.ellipse((10, 110, 80, 180), COLOURS["blue"])
    draw.polygon([(150, 110), (190, 180), (110, 180)], COLOURS["green"])
    return np.asarray(picture)


def _span(caption, phrase):
    start = caption.index(phrase)
    return start, start + len(phrase)
