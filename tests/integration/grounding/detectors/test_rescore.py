"""A tiny random CLIP in open_clip's own folder format."""

import json

import numpy as np
import open_clip
import pytest
import torch
from helpers.grounding import tiny_detectors
from safetensors.torch import save_file

from examples.scenes import scene
from grounding.detectors import hf, load
from grounding.detectors.blobs import BlobDetector

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 32,
        "layers": 1,
        "width": 32,
        "head_width": 16,
        "patch_size": 16,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    mean = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    config = {"model_cfg": CONFIG, "preprocess_cfg": mean}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    weights = open_clip.CLIP(**CONFIG).state_dict()
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(weights, folder / "open_clip_model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def asked():
    made = scene(3)
    spans = [
        (made.caption.index(each.phrase), made.caption.index(each.phrase) + len(each.phrase))
        for each in made.shapes
    ]
    return [np.asarray(made.image())], [made.caption], [spans]


@pytest.mark.parametrize("rule", ["multiply", "replace"])
def test_scores_are_those_of_clip(clip_folder, asked, rule):
    detector = load.load_detector(
        "blobs", rescore=f"local-dir:{clip_folder}", rescore_rule=rule, device="cpu"
    )
    first = BlobDetector().detect(*asked)[0]
    again = detector.detect(*asked)[0]
    assert len(again) == len(asked[2][0])
    for one, other in zip(first, again, strict=True):
        assert (one.boxes_xyxy == other.boxes_xyxy).all()
        cosine = other.scores / one.scores if rule == "multiply" else other.scores
        assert (cosine >= 0).all() and (cosine <= 1).all() and (other.scores != one.scores).all()
    assert detector.name.endswith(f"rescored by local-dir:{clip_folder.name} ({rule}, 0.1)")
    assert str(clip_folder.parent) not in detector.name
    alone = detector.detect(*asked)[0]
    assert all((a.scores == b.scores).all() for a, b in zip(alone, again, strict=True))


@pytest.mark.parametrize(
    "model", ["local-dir:/no/such/folder", "ViT-B-32", "ViT-B-32@no-tag", "no"]
)
def test_a_clip_that_cannot_be_had_is_refused_in_a_line(model):
    with pytest.raises(ValueError, match=r"no CLIP .* give local-dir:FOLDER") as caught:
        load.load_detector("blobs", rescore=model, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_fault_of_a_program_stays_what_it_is(monkeypatch):
    def fails(*_, **__):
        raise TypeError("ours")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", fails)
    with pytest.raises(TypeError, match="ours"):
        load.load_detector("blobs", rescore="ViT-B-32@tag", device="cpu")


def test_weights_that_are_none_are_refused(clip_folder, tmp_path):
    for path in clip_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"no CLIP .* give local-dir:FOLDER"):
        load.load_detector("blobs", rescore=f"local-dir:{tmp_path}", device="cpu")


def test_two_models_agree_by_name(tmp_path, asked):
    folders = [tiny_detectors.save(tmp_path / family, family) for family in ("owlv2", "owlvit")]
    names = [f"hf:{folder}" for folder in folders]
    detector = load.load_detector(names[0], second=names[1], device="cpu")
    assert detector is load.load_detector(names[0], second=names[1], device="cpu")
    first = hf.load(str(folders[0])).detect(*asked)[0]
    for one, other in zip(first, detector.detect(*asked)[0], strict=True):
        rows = {tuple(row) for row in one.boxes_xyxy.tolist()}
        assert {tuple(row) for row in other.boxes_xyxy.tolist()} <= rows
