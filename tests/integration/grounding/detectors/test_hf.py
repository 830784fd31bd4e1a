"""Tiny random models of every family, loaded as a user's folder is."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.grounding import tiny_detectors
from helpers.grounding.tiny_detectors import FAMILIES

from grounding.detectors import hf

CAPTIONS = [
    "a red circle, and a container",
    "containernumber container",
    "Two dogs!  and a dog's sign",
    "a red circle",
    "the big sign",
    "dog. a dog next to a dog",
]
SPANS = [
    [(18, 29), (0, 12)],
    [(0, 15), (16, 25), (0, 9)],
    [(0, 8), (15, 20), (15, 27)],
    [(0, 12)],
    [],
    [(5, 10), (19, 24)],
]
SIZES_PX = [(80, 50), (60, 120), (64, 64), (80, 50), (90, 200), (40, 3)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {family: tiny_detectors.save(root / family, family) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def detector(request, folders):
    return hf.load(str(folders[request.param]), batch=4)


@pytest.fixture
def load(folders):
    return lambda family, **options: hf.load(str(folders[family]), **options)


def noise(sizes_px=SIZES_PX):
    dice = np.random.default_rng(7)
    return [dice.integers(0, 256, (h, w, 3), dtype=np.uint8) for w, h in sizes_px]


def same(one, other, tolerance=1e-4):
    return len(one) == len(other) and all(
        np.allclose(a, b, atol=tolerance)
        for a, b in ((one.boxes_xyxy, other.boxes_xyxy), (one.scores, other.scores))
    )


def test_every_span_has_a_detection_within_the_image(detector):
    found = detector.detect(noise(), CAPTIONS, SPANS)
    assert [len(each) for each in found] == [len(each) for each in SPANS]
    detections = [each for image in found for each in image]
    assert sum(len(each) for each in detections) > len(detections)
    for each in detections:
        assert each.boxes_xyxy.dtype == each.scores.dtype == np.float32
        assert each.boxes_xyxy.shape == (len(each), 4)
        assert (each.boxes_xyxy >= 0).all() and (each.boxes_xyxy <= 1).all()
        assert (each.boxes_xyxy[:, :2] < each.boxes_xyxy[:, 2:]).all()
        assert (each.scores >= hf.FLOOR).all() and (each.scores <= 1).all()
        assert list(each.scores) == sorted(each.scores, reverse=True)


def test_a_batch_of_mixed_sizes_equals_one_by_one(detector):
    together = detector.detect(noise(), CAPTIONS, SPANS)
    for number, image in enumerate(noise()):
        alone = detector.detect([image], CAPTIONS[number : number + 1], SPANS[number : number + 1])
        for one, other in zip(together[number], alone[0], strict=True):
            assert same(one, other)


def test_spans_answer_in_their_order(detector):
    images = noise()[:1]
    spans = [(18, 29), (0, 12), (2, 5)]
    straight = detector.detect(images, CAPTIONS[:1], [spans])[0]
    turned = detector.detect(images, CAPTIONS[:1], [spans[::-1]])[0]
    # OmDet-Turbo reads the list of phrases too, so its numbers depend on their order.
    if "omdet" not in detector.name:
        assert all(same(a, b) for a, b in zip(straight, turned[::-1], strict=True))
        assert not same(straight[0], straight[1])
    repeated = detector.detect(images, CAPTIONS[:1], [[spans[0], spans[1], spans[0]]])[0]
    assert same(repeated[0], repeated[2]) and not same(repeated[0], repeated[1])


def test_no_text_is_decoded(detector, monkeypatch):
    def never(*_, **__):
        raise AssertionError("phrases are found by column, not by text")

    tokenizer = type(detector._family._tokenizer)
    for name in ("decode", "batch_decode", "_decode", "convert_ids_to_tokens"):
        monkeypatch.setattr(tokenizer, name, never)
    assert detector.detect(noise(), CAPTIONS, SPANS)[0]


def test_a_batch_that_does_not_fit_is_halved(detector, monkeypatch):
    images, captions, spans = noise([(80, 50)] * 6), CAPTIONS[:1] * 6, SPANS[:1] * 6
    expected = detector.detect(images, captions, spans)
    run, sizes = detector._family.run, []

    def small(items):
        sizes.append(len(items))
        if len(items) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return run(items)

    monkeypatch.setattr(detector._family, "run", small)
    found = detector.detect(images, captions, spans)
    assert sizes == [4, 2, 1, 1, 1, 1, 1, 1]
    for one, other in zip(found, expected, strict=True):
        assert all(same(a, b) for a, b in zip(one, other, strict=True))
    monkeypatch.setattr(detector._family, "run", lambda items: small([*items, *items]))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        detector.detect(images, captions, spans)


@pytest.mark.parametrize("size_px", [(80, 40), (40, 80), (64, 64), (200, 30)])
def test_boxes_are_of_the_decoded_image(detector, size_px, monkeypatch):
    """The model is replaced by one that boxes the bright part of what it is shown."""
    width, height = size_px
    image = np.zeros((height, width, 3), np.uint8)
    true = [width // 4, height // 5, width, height * 4 // 5]
    image[true[1] : true[3], true[0] : true[2]] = 255
    monkeypatch.setattr(detector._family, "_model", _BrightBox(detector._family._model))
    found = detector.detect([image], ["a dog"], [[(0, 5)]])[0][0]
    expected = np.array(true) / np.array([width, height, width, height])
    assert found.boxes_xyxy.shape == (1, 4)
    assert np.abs(found.boxes_xyxy[0] - expected).max() < 0.06
    assert found.boxes_xyxy[0, 2] > 0.97


@pytest.mark.parametrize(
    ("caption", "phrase", "nth", "expected"),
    [
        ("a red circle, and a dog", "a red circle", 0, "a red circle"),
        ("a red circle, and a dog", "a dog", 0, "a dog"),
        ("Two DOGS!", "Two DOGS", 0, "two dogs"),
        ("a dog's sign", "a dog's sign", 0, "a dog ' s sign"),
        ("a dog next to a dog", "a dog", 1, "a dog"),
        ("containernumber container", "container", 0, "container"),
        ("containernumber container", "containernumber", 0, "container ##number"),
        ("containernumber container", "container", 1, "container"),
        ("a big-biggest sign", "biggest", 0, "big ##gest"),
        ("a  dog ", " dog ", 0, "dog"),
        ("dog. a dog? dog", "dog", 2, "dog"),
    ],
)
def test_a_span_has_the_columns_of_its_own_tokens(load, caption, phrase, nth, expected):
    start = [at for at in range(len(caption)) if caption.startswith(phrase, at)][nth]
    item = load("grounding-dino")._family.item(
        noise()[0], caption, [(0, len(caption)), (start, start + len(phrase))]
    )
    vocabulary = tiny_detectors.bert_tokenizer().get_vocab()
    assert [item.token_ids[at] for at in item.columns[1]] == [
        vocabulary[piece] for piece in expected.split()
    ]
    assert item.columns[1][0] > 0 and set(item.columns[1]) <= set(item.columns[0])
    before = len(tiny_detectors.bert_tokenizer().tokenize(caption[:start]))
    assert item.columns[1][0] == 1 + before


def test_an_image_three_pixels_high_is_not_turned(detector, monkeypatch):
    image = np.zeros((3, 60, 3), np.uint8)
    image[:, 30:] = 255
    monkeypatch.setattr(detector._family, "_model", _BrightBox(detector._family._model))
    found = detector.detect([image], ["a dog"], [[(0, 5)]])[0][0]
    assert np.abs(found.boxes_xyxy[0] - [0.5, 0, 1, 1]).max() < 0.1


def test_a_token_score_is_the_mean_over_the_columns_of_the_span(load, monkeypatch):
    detector = load("grounding-dino")

    def logits(**inputs):
        columns = torch.full((1, 1, 256), -torch.inf)
        count = inputs["input_ids"].shape[1]
        columns[..., :count] = torch.logit(torch.arange(count) / 16)
        return SimpleNamespace(logits=columns, pred_boxes=torch.tensor([[[0.5, 0.5, 1, 1]]]))

    monkeypatch.setattr(detector._family, "_model", _Stub(detector._family._model, logits))
    caption = "a red circle, and containernumber"  # [CLS] a red circle , and container ##number
    spans = [(0, 12), (2, 5), (18, 33), (18, 27)]
    found = detector.detect(noise()[:1], [caption], [spans])[0]
    assert [each.scores.tolist() for each in found] == [
        pytest.approx([value]) for value in (2 / 16, 2 / 16, 6.5 / 16, 6 / 16)
    ]


def test_special_tokens_in_a_caption_are_text(load):
    item = load("grounding-dino")._family.item(noise()[0], "a [SEP] dog", [(8, 11)])
    assert item.token_ids.count(102) == 1 and item.columns == [[5]]
    owl = load("owlv2")._family
    ids, _ = owl._tokens(["a <|endoftext|> b"])
    assert ids[0].tolist().count(513) == 1


def test_what_is_no_number_is_counted(load, monkeypatch):
    detector = load("owlv2")
    run = detector._family.run

    def broken(items):
        first, *others = run(items)
        first.boxes_xyxy[0, 0] = np.nan
        return [first, *others]

    monkeypatch.setattr(detector._family, "run", broken)
    found = detector.detect(noise(SIZES_PX[:2]), ["a dog"] * 2, [[(0, 5)]] * 2)
    assert len(found[0][0]) == 0 < len(found[1][0])
    assert detector.problems == {"output_not_finite": 1}


def test_what_grounding_dino_reads_always_ends_a_sentence(load):
    family = load("grounding-dino")._family
    for caption, stops in (("a dog", 1), ("a dog.", 1), ("a dog?", 1), ("a dog. a", 2)):
        ids = family.item(noise()[0], caption, [(0, 5)]).token_ids
        assert ids[0] == 101 and ids[-2] in (1012, 1029) and ids[-1] == 102
        assert sum(token in (1012, 1029) for token in ids) == stops


def test_spans_beyond_the_text_get_no_boxes(load):
    for family in ("grounding-dino", "mm-grounding-dino"):
        caption = "a dog " * 200
        spans = [(0, 5), (5, 1199), (1194, 1199)]
        found = load(family).detect(noise()[:1], [caption], [spans])[0]
        assert len(found[0]) > 0 and [len(each) for each in found[1:]] == [0, 0]


def test_a_phrase_beyond_the_text_is_cut(load):
    for family in ("owlv2", "owlvit", "omdet-turbo"):
        caption = "a dog " * 40
        assert len(load(family).detect(noise()[:1], [caption], [[(0, 239)]])[0]) == 1


def test_spans_of_nothing_get_no_boxes(detector):
    found = detector.detect(noise()[:2], ["a  dog", ""], [[(1, 3), (2, 2)], [(0, 0)]])
    assert [[len(each) for each in image] for image in found] == [[0, 0], [0]]
    assert detector.detect([], [], []) == []


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_finds_finite_boxes(folders, precision):
    for family in FAMILIES:
        detector = hf.load(str(folders[family]), precision=precision)
        found = detector.detect(noise()[:2], CAPTIONS[:2], SPANS[:2])
        assert all(np.isfinite(each.scores).all() for image in found for each in image)
        assert precision in detector.name


@pytest.mark.parametrize(
    ("family", "size_px", "expected"),
    [
        ("grounding-dino", (63, 80), True),
        ("grounding-dino", (64, 80), False),
        ("grounding-dino", (20, 96), False),
        ("owlv2", (63, 20), True),
        ("owlv2", (64, 20), False),
        ("owlvit", (64, 20), True),
        ("omdet-turbo", (64, 64), False),
    ],
)
def test_small_images_are_enlarged(load, family, size_px, expected):
    assert load(family).upsamples(*size_px) is expected


def test_name_and_fingerprint(load, folders, tmp_path):
    detector = load("owlv2")
    assert detector.name == "hf:owlv2 (owlv2; floor 0.05, nms 0.6, fp32)"
    assert detector.fingerprint == load("owlv2", batch=1).fingerprint
    assert detector.fingerprint != load("owlv2", precision="bf16").fingerprint
    other = tiny_detectors.save(tmp_path / "owlv2", "owlv2", seed=1)
    assert detector.fingerprint != hf.load(str(other)).fingerprint


def test_a_folder_that_holds_no_detector_is_refused(tmp_path, folders):
    with pytest.raises(ValueError, match="no transformers model"):
        hf.load(str(tmp_path))
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match="no transformers model"):
        hf.load(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"'bert'; known .*: grounding-dino, .*omdet-turbo"):
        hf.load(str(tmp_path))
    for family in FAMILIES:
        (tmp_path / "config.json").write_text((folders[family] / "config.json").read_text())
        with pytest.raises(ValueError, match="is not a whole model"):
            hf.load(str(tmp_path))


def test_weights_that_lack_some_are_refused(tmp_path, folders):
    from safetensors.torch import load_file, save_file

    for path in folders["owlv2"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["box_head.dense0.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 1 of the model's, such as box_head.dense0.weight"):
        hf.load(str(tmp_path))


def test_a_download_that_fails_tells_how_to_fetch(monkeypatch):
    import huggingface_hub

    def fails(*_, **__):
        raise OSError("no route to host\nand a long story")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    with pytest.raises(ValueError, match=r"\(no route to host\).*hf download some/model") as caught:
        hf.load("some/model")
    assert "\n" not in str(caught.value)
    for name in ("/no/such/folder", "nothing", "./some/model", "../model"):
        with pytest.raises(ValueError, match="is neither a folder nor a hub id"):
            hf.load(name)


@pytest.mark.parametrize("error", [TypeError, AttributeError, AssertionError])
def test_a_fault_of_a_program_stays_what_it_is(monkeypatch, folders, error):
    import huggingface_hub
    import transformers

    def fails(*_, **__):
        raise error("ours")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", fails)
    for model in ("some/model", str(folders["owlv2"])):
        with pytest.raises(error, match="ours"):
            hf.load(model)


def test_broken_weights_are_refused(tmp_path, folders):
    for path in folders["owlv2"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="is not a whole model"):
        hf.load(str(tmp_path))


class _Stub:
    """A model whose forward is a function."""

    def __init__(self, model, forward):
        self.config, self.device, self._forward = model.config, model.device, forward

    def __call__(self, **inputs):
        return self._forward(**inputs)


class _BrightBox(_Stub):
    def __init__(self, model):
        super().__init__(model, self.box)

    def box(self, pixel_values, **_):
        values = pixel_values[0, 0]
        rows, columns = torch.nonzero(values > (values.min() + values.max()) / 2).T
        height, width = values.shape
        low = torch.stack([columns.min() / width, rows.min() / height])
        high = torch.stack([(columns.max() + 1) / width, (rows.max() + 1) / height])
        boxes = torch.cat([(low + high) / 2, high - low])[None, None]
        logits = torch.zeros(1, 1, 256)
        return SimpleNamespace(
            logits=logits,
            pred_boxes=boxes,
            decoder_class_logits=logits,
            decoder_coord_logits=boxes,
        )
