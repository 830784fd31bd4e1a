import pytest
import torch
from helpers.grounding import glip_parts

from grounding.detectors import load
from grounding.detectors.blobs import BlobDetector
from grounding.detectors.forms import listed
from grounding.detectors.load import check_language, load_detector
from grounding.detectors.oracle import Annotated, OracleDetector, write


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch):
    monkeypatch.setattr(load, "_loaded", {})


@pytest.fixture
def truth(tmp_path):
    write(tmp_path / "truth.jsonl", [Annotated(caption="a dog", spans={})])
    return f"oracle:{tmp_path / 'truth.jsonl'}"


def test_forms(truth):
    assert isinstance(load_detector("blobs"), BlobDetector)
    assert isinstance(load_detector(truth), OracleDetector)
    both = load_detector("blobs", second=truth)
    assert both.name == (
        "blobs (a toy for rendered scenes); confirmed at iou 0.5 by "
        "oracle:truth.jsonl (annotated boxes, no model)"
    )


def test_glip_is_loaded_as_its_options_say(tmp_path):
    case = glip_parts.FOLDER / "io_fused.safetensors"
    torch.save(glip_parts.weights_of(case), tmp_path / "b.pth")
    glip_parts.word_pieces_of(case, tmp_path)
    options = {"vocab": tmp_path / "vocab.txt", "variant": glip_parts.config_of(case)}
    made = load_detector(
        f"glip:{tmp_path / 'b.pth'}", device="cpu", precision="bf16", batch=3, **options
    )
    assert (made.options.device, made.options.batch) == ("cpu", 3)
    assert " bf16 " in made.name
    weight = made._model.backbone.body.patch_embed.proj.weight
    assert weight.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="glip has no option size; it has variant, vocab"):
        load_detector("glip:a/b.pth", device="cpu", size="800")


def test_the_same_arguments_give_the_same_object(truth):
    assert load_detector("blobs") is load_detector("blobs", batch=8)
    assert load_detector("blobs") is not load_detector("blobs", batch=4)
    assert load_detector("blobs") is not load_detector("blobs", second=truth)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("yolo", f"known: {listed()}"),
        ("x:y", f"known: {listed()}"),
        ("", f"known: {listed()}"),
        ("blob", "did you mean blobs?"),
        ("orakel:truth.jsonl", "did you mean oracle:FILE?"),
        ("hf", "write hf:MODEL"),
        ("hf:", "write hf:MODEL"),
        ("glip", "write glip:CHECKPOINT"),
        ("oracle", "write oracle:FILE"),
        ("blobs:x", "write blobs"),
    ],
)
def test_an_unknown_detector_is_refused_with_what_was_meant(name, hint):
    with pytest.raises(ValueError) as caught:
        load_detector(name)
    assert str(caught.value).startswith(f"no detector {name!r}; {hint}")


@pytest.mark.parametrize("name", ["glipv2", "glipv2:weights.pth", "GLIPv2"])
def test_glipv2_was_never_published(name):
    with pytest.raises(ValueError, match=r"never published; use glip:CHECKPOINT .* or hf:MODEL"):
        load_detector(name)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"precision": "int8"}, "known: fp32, bf16, fp16"),
        ({"batch": 0}, "the least is 1"),
        ({"variant": "tiny"}, "blobs has no option variant; it has none"),
        ({"rescore_rule": "replace"}, "needs rescore"),
        ({"second": "yolo"}, "no detector 'yolo'"),
    ],
)
def test_an_argument_it_does_not_have_is_refused(arguments, why):
    with pytest.raises(ValueError, match=why):
        load_detector("blobs", **arguments)


@pytest.mark.parametrize("device", ["tpu", "cuda:x:y"])
def test_a_device_that_is_not_there_is_refused(device, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device"):
        load_detector("hf:/no/such/folder", device=device)


def test_languages_are_refused_by_name(truth):
    for language in ("en", "EN", "en-US", "en_GB"):
        check_language(load_detector("blobs"), language)
    with pytest.raises(ValueError, match=r"blobs .* reads en and not 'de'"):
        check_language(load_detector("blobs"), "de")
    check_language(load_detector(truth), "de")
