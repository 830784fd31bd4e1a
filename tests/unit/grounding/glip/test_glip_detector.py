"""GLIP behind the protocol: batches, options, memory, and what is not a number."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.floats import CLOSE, in_float64
from helpers.grounding import glip_parts

from grounding.detector import Detection, Detector
from grounding.glip.detector import GlipDetector, Options

CAPTIONS = ("a man with a dog", "the red car near a street, a cat on the table", "two black dogs")
SPANS = ([(0, 5), (11, 16)], [(0, 11), (17, 25), (27, 32), (36, 45)], [(0, 14), (4, 14), (0, 3)])
SIDES = ((60, 80), (90, 64), (60, 84), (48, 48), (40, 100), (200, 150), (61, 80))


def inputs(sides: tuple[tuple[int, int], ...] = SIDES) -> tuple[list, list, list]:
    random = np.random.default_rng(3)
    images = [random.integers(0, 256, (*each, 3), dtype=np.uint8) for each in sides]
    at = [number % len(CAPTIONS) for number in range(len(images))]
    return images, [CAPTIONS[n] for n in at], [SPANS[n] for n in at]


def one_by_one(detector: GlipDetector, images: list, captions: list, spans: list) -> list:
    return [
        detector.detect([image], [caption], [each])[0]
        for image, caption, each in zip(images, captions, spans, strict=True)
    ]


def assert_same(actual: list[list[Detection]], expected: list[list[Detection]]) -> None:
    assert [[len(d) for d in each] for each in actual] == [[len(d) for d in e] for e in expected]
    for mine, theirs in zip(chain(*actual), chain(*expected), strict=True):
        np.testing.assert_allclose(mine.scores, theirs.scores, **CLOSE)
        np.testing.assert_allclose(mine.boxes_xyxy, theirs.boxes_xyxy, **CLOSE)


@pytest.mark.parametrize("kind", ["fused", "unfused"])
@in_float64()
def test_the_company_of_an_image_changes_nothing(kind: str, tmp_path: Path) -> None:
    detector: Detector = glip_parts.detector_of(kind, tmp_path, batch=3)
    assert_same(detector.detect(*inputs()), one_by_one(detector, *inputs()))


@pytest.mark.parametrize("kind", ["fused", "unfused"])
def test_detections_are_boxes_in_the_image_by_falling_score(kind: str, tmp_path: Path) -> None:
    detector: Detector = glip_parts.detector_of(kind, tmp_path, batch=3)
    found = detector.detect(*inputs())
    assert sum(len(detection) for each in found for detection in each) > 100
    for each, spans in zip(found, inputs()[2], strict=True):
        assert len(each) == len(spans)
        for detection in each:
            boxes, scores = detection.boxes_xyxy, detection.scores
            assert (boxes.dtype, scores.dtype) == (np.float32, np.float32)
            assert boxes.shape == (len(scores), 4)
            assert ((boxes >= 0) & (boxes <= 1)).all()
            assert (boxes[:, :2] < boxes[:, 2:]).all()
            assert (np.diff(scores) <= 0).all()


@in_float64()
def test_text_padded_as_in_the_original_changes_nothing(tmp_path: Path) -> None:
    padded = glip_parts.detector_of("fused", tmp_path, pad_text=True)
    trimmed = glip_parts.detector_of("fused", tmp_path)
    assert_same(trimmed.detect(*inputs()), padded.detect(*inputs()))


def test_more_phrases_than_the_original_has_columns_for(tmp_path: Path) -> None:
    detector = glip_parts.detector_of("fused", tmp_path)
    assert detector.config.class_columns == 8
    image, caption, spans = (part[1] for part in inputs())
    (few,), (many,) = (detector.detect([image], [caption], [spans * n]) for n in (1, 5))
    assert len(many) == 20
    counts = [len(detection) for detection in many]
    assert counts[:4] == counts[4:8] == counts[16:]
    assert sum(counts) >= sum(len(detection) for detection in few)


def test_spans_beyond_the_text_get_no_boxes(tmp_path: Path) -> None:
    detector = glip_parts.detector_of("fused", tmp_path)
    image = inputs()[0][0]
    caption = "a man with a dog near " + "the " * 40 + "street"
    ((near, far),) = detector.detect([image], [caption], [[(0, 5), (len(caption) - 6, 188)]])
    assert len(near) and not len(far)
    assert detector.problems == {"span_not_read": 1}
    assert far.boxes_xyxy.shape == (0, 4)


def test_nothing_to_look_for_is_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = glip_parts.detector_of("fused", tmp_path)
    monkeypatch.setattr(detector, "_forward", None)
    assert detector.detect([], [], []) == []
    image = inputs()[0][0]
    found = detector.detect([image, image], ["", "a dog"], [[(0, 3)], []])
    assert [len(each) for each in found] == [1, 0]
    assert len(found[0][0]) == 0


@in_float64()
def test_a_batch_too_large_for_the_memory_is_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = glip_parts.detector_of("fused", tmp_path, batch=8)
    images, captions, spans = inputs(((60, 80),) * 7 + ((40, 40),) * 2)
    expected = detector.detect(images, captions, spans)
    forward, tried = detector._model.forward, []

    def short_of_memory(images_B3HW: torch.Tensor, *rest: Any) -> Any:
        tried.append(len(images_B3HW))
        if len(images_B3HW) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(images_B3HW, *rest)

    monkeypatch.setattr(detector._model, "forward", short_of_memory)
    assert_same(detector.detect(images, captions, spans), expected)
    assert tried == [7, 3, 1, 2, 2, 2, 2]
    tried.clear()
    assert_same(detector.detect(images, captions, spans), expected)  # what was learnt is kept
    assert tried == [1, 2, 2, 2, 2]

    monkeypatch.setattr(detector._model, "forward", lambda *_: _raise_out_of_memory())
    with pytest.raises(torch.OutOfMemoryError) as caught:
        detector.detect(images[:1], captions[:1], spans[:1])
    assert caught.value.__notes__ == ["one image of 96 x 128 alone; give a lower long_side"]


def _raise_out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@in_float64()
def test_outputs_that_are_not_numbers_are_no_boxes_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = glip_parts.detector_of("fused", tmp_path)
    images, captions, spans = inputs(((60, 80),) * 3)
    expected = detector.detect(images, captions, spans)
    forward = detector._model.forward

    def broken(*parts: torch.Tensor) -> Any:
        head = forward(*parts)
        head.centerness[4][1] = torch.nan
        return head

    monkeypatch.setattr(detector._model, "forward", broken)
    found = detector.detect(images, captions, spans)
    assert [len(detection) for detection in found[1]] == [0] * len(spans[1])
    assert_same([found[0], found[2]], [expected[0], expected[2]])
    assert detector.problems == {"output_not_finite": 1}


@pytest.mark.parametrize("kind", ["fused", "unfused"])
@torch.inference_mode()
def test_bfloat16_stays_near(kind: str, tmp_path: Path) -> None:
    model = glip_parts.model_of(glip_parts.FOLDER / f"io_{kind}.safetensors")
    images, ids = torch.randn(1, 3, 96, 128), torch.arange(2, 12)[None]
    exact = model(images, ids, ids > 0)
    rough = model.to_bfloat16()(images, ids, ids > 0)
    for one, other in zip(rough.token_logits, exact.token_logits, strict=True):
        assert one.dtype == torch.float32
        assert float((one.sigmoid() - other.sigmoid()).abs().mean()) < 0.01
    detector = glip_parts.detector_of(kind, tmp_path, precision="bf16")
    assert "bf16" in detector.name
    assert any(len(detection) for each in detector.detect(*inputs()) for detection in each)


@in_float64()
def test_a_checkpoint_by_its_path(tmp_path: Path) -> None:
    case = glip_parts.FOLDER / "io_fused.safetensors"
    file, words = tmp_path / "glip.pth", tmp_path / "words"
    words.mkdir()
    weights = glip_parts.weights_of(case)
    torch.save({"model": {f"module.{name}": each for name, each in weights.items()}}, file)
    glip_parts.word_pieces_of(case, words)
    config, small = glip_parts.config_of(case), {"short_side": 80, "long_side": 133}
    with pytest.raises(ValueError, match=r"glip.pth needs the word pieces of bert-base-uncased"):
        GlipDetector(file, variant=config)
    detector = GlipDetector(file, vocab=words / "vocab.txt", variant=config, **small)
    expected = glip_parts.detector_of("fused", tmp_path)
    assert_same(detector.detect(*inputs()), expected.detect(*inputs()))
    with pytest.raises(ValueError, match=r"is not a glip_tiny: .*of another shape: \d+"):
        GlipDetector(file, vocab=words / "vocab.txt")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\ndog")
    with pytest.raises(ValueError, match=r"has 5 word pieces, but fused has 43"):
        GlipDetector(file, variant=config)


def test_the_fingerprint_follows_what_changes_numbers(tmp_path: Path) -> None:
    case = glip_parts.FOLDER / "io_fused.safetensors"
    file = tmp_path / "glip.pth"
    weights = glip_parts.weights_of(case)
    torch.save(weights, file)
    glip_parts.word_pieces_of(case, tmp_path)

    def fingerprint(**options: Any) -> str:
        return GlipDetector(file, variant=glip_parts.config_of(case), **options).fingerprint

    prints = [fingerprint(), fingerprint(short_side=600), fingerprint(precision="bf16")]
    assert fingerprint(batch=2, threads=1) == prints[0]
    weights["rpn.head.bias0"] += 1
    torch.save(weights, file)
    prints.append(fingerprint())
    assert len(set(prints)) == 4
    assert all(len(each) == 64 for each in prints)


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    detector = glip_parts.detector_of("fused", tmp_path)
    assert detector.name == (
        "fused short_side=80 long_side=133 fp32 score_threshold=0.05 pre_nms_top_k=1000 "
        "nms_iou=0.6 max_detections=100"
    )
    assert detector.languages == {"en"}
    assert detector.upsamples(100, 79)
    assert not detector.upsamples(100, 80)
    assert not detector.upsamples(300, 60)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"short_side": 0}, "short_side 0"),
        ({"short_side": 900, "long_side": 800}, "long_side 800"),
        ({"batch": 0}, "batch 0"),
        ({"precision": "fp16"}, "fp32 or bf16, not in 'fp16'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**options)


def test_as_many_captions_as_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 images, 0 captions and 0 lists of spans"):
        glip_parts.detector_of("fused", tmp_path).detect(inputs()[0][:1], [], [])
