"""The GLIP port against what the original code made of the same weights, stage by stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.golden_data import load_case, parameters
from helpers.grounding import glip_parts
from safetensors.torch import load_file
from torch import Tensor

from grounding.glip import preprocess
from grounding.glip.config import PRESETS
from grounding.glip.dyhead import HeadOutput, run_member
from grounding.glip.model import Glip
from grounding.glip.postprocess import Found, candidates, suppress
from grounding.glip.spans import tokens_of

IO = parameters("io_*.safetensors", "meta.json")
KEYS = parameters("official_keys.json")
IMAGES = parameters("preprocess.safetensors", "preprocess.json")

TOWERS, HEAD, BOXES, SCORES = 1e-5, 2e-5, 1e-3, 1e-5
VARIANTS = {"A": "glip_tiny_a", "C": "glip_tiny_c", "L": "glip_large"}

Case = dict[str, Tensor]


def cases(path: Path) -> dict[str, Case]:
    """Return the cases of a file: batches of one and of two."""
    found: dict[str, Case] = {}
    for name, value in load_case(path).items():
        case, _, rest = name.partition(".")
        found.setdefault(case, {})[rest] = value
    return found


def inputs(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    mask_BL = case["input.attention_mask"].bool()
    return case["input.padded_images"], case["input.input_ids"], mask_BL


def check(case: Case, actual: dict[str, Tensor], atol: float) -> int:
    """Compare what the case holds; returns how much that was."""
    held = {name: value for name, value in actual.items() if name in case}
    for name, value in held.items():
        torch.testing.assert_close(
            value, case[name], rtol=0, atol=atol, msg=lambda m, n=name: n + m
        )
    return len(held)


def levels(name: str, values: list[Tensor]) -> dict[str, Tensor]:
    return {f"{name}.p{number}": value for number, value in enumerate(values, 3)}


def by_score(found: Found) -> tuple[Tensor, Tensor, Tensor]:
    order = found.scores_N.argsort(descending=True, stable=True)
    return found.boxes_N4[order], found.scores_N[order], found.phrases_N[order]


def detections(head: HeadOutput, model: Glip, case: Case, path: Path, name: str, of: str) -> list:
    told = glip_parts.meta_of(path)[glip_parts.kind_of(path)][of]["label_to_tokens"]
    tokens = [told[str(label)] for label in range(1, len(told) + 1)]
    map_PL = glip_parts.phrase_map(tokens, head.token_logits[0].shape[-1])
    batch = len(head.token_logits[0])
    post = glip_parts.post_of(path, name)
    anchors = model.rpn.anchor_generator(head.box_deltas)
    sizes = case["input.image_sizes_hw"]
    kept = candidates(head, anchors, map_PL.expand(batch, -1, -1), sizes, post)
    assert kept.is_finite_B.all()
    return [
        by_score(suppress(kept.boxes_BK4[b], kept.scores_BK[b], kept.phrases_BK[b], post))
        for b in range(batch)
    ]


@pytest.mark.parametrize("path", IO)
@torch.inference_mode()
def test_towers(path: Path) -> None:
    model, compared = glip_parts.model_of(path), 0
    for case in cases(path).values():
        images, ids_BL, mask_BL = inputs(case)
        body = model.backbone.body
        maps = body.all_maps(images)
        text_BLE = model.language_backbone(ids_BL, mask_BL)
        actual = {
            "backbone.patch_embed": body.patch_embed(images).permute(0, 3, 1, 2),
            **{f"backbone.c{number}": each for number, each in enumerate(maps, 2)},
            **levels("fpn", model.backbone.fpn(maps[1:])),
            "lang.hidden": text_BLE,
            "lang.embedded": text_BLE * mask_BL[..., None],
        }
        compared += check(case, actual, TOWERS)
    assert compared


@pytest.mark.parametrize("path", IO)
@torch.inference_mode()
def test_tower_members(path: Path) -> None:
    model, compared = glip_parts.model_of(path), 0
    for case in cases(path).values():
        images, ids_BL, mask_BL = inputs(case)
        state, text_BLE = model.backbone(images), model.language_backbone(ids_BL, mask_BL)
        for number, member in enumerate(model.rpn.head.dyhead_tower):
            state, text_BLE = run_member(member, state, text_BLE, mask_BL)
            actual = levels(f"tower.{number}.visual", state)
            actual[f"tower.{number}.lang_hidden"] = text_BLE
            compared += check(case, actual, HEAD)
    assert compared


@pytest.mark.parametrize("path", IO)
@torch.inference_mode()
def test_head(path: Path) -> None:
    model = glip_parts.model_of(path)
    for case in cases(path).values():
        head = model(*inputs(case))
        actual = {
            **levels("head.token_logits", head.token_logits),
            **levels("head.bbox_pred", head.box_deltas),
            **levels("head.centerness", head.centerness),
        }
        assert check(case, actual, HEAD)
        check(case, levels("anchors", model.rpn.anchor_generator(head.box_deltas)), 0)


@pytest.mark.parametrize("name", ["result", "strict"])
@pytest.mark.parametrize("path", IO)
@torch.inference_mode()
def test_detections(path: Path, name: str) -> None:
    model = glip_parts.model_of(path)
    for of, case in cases(path).items():
        found = detections(model(*inputs(case)), model, case, path, name, of)
        for number, (boxes_N4, scores_N, phrases_N) in enumerate(found):
            expected = (case[f"{name}.{number}.{part}"] for part in ("boxes", "scores", "labels"))
            wanted_boxes, wanted_scores, wanted_labels = by_score(Found(*expected))
            assert (phrases_N + 1).tolist() == wanted_labels.tolist()
            torch.testing.assert_close(scores_N, wanted_scores, rtol=0, atol=SCORES)
            torch.testing.assert_close(boxes_N4, wanted_boxes, rtol=0, atol=BOXES)


@pytest.mark.parametrize("path", IO)
@torch.inference_mode()
def test_padding_of_the_text_changes_nothing(path: Path) -> None:
    model = glip_parts.model_of(path)
    for of, case in cases(path).items():
        images, ids_BL, mask_BL = inputs(case)
        length = int(mask_BL.sum(1).max())
        assert length < ids_BL.shape[1]
        padded = model(images, ids_BL, mask_BL)
        trimmed = model(images, ids_BL[:, :length], mask_BL[:, :length])
        real_B1L = mask_BL[:, None, :length]
        for a, b in zip(trimmed.token_logits, padded.token_logits, strict=True):
            difference = (a - b[..., :length]) * real_B1L
            torch.testing.assert_close(difference, torch.zeros_like(difference), rtol=0, atol=HEAD)
        for one, other in zip(
            detections(trimmed, model, case, path, "strict", of),
            detections(padded, model, case, path, "strict", of),
            strict=True,
        ):
            assert one[2].equal(other[2])
            torch.testing.assert_close(one[1], other[1], rtol=0, atol=SCORES)
            torch.testing.assert_close(one[0], other[0], rtol=0, atol=BOXES)


@pytest.mark.parametrize("path", IO)
def test_captions_and_spans(path: Path, tmp_path: Path) -> None:
    told, word_pieces = glip_parts.meta_of(path), glip_parts.word_pieces_of(path, tmp_path)
    for of, case in cases(path).items():
        texts = told[glip_parts.kind_of(path)][of]
        captions = texts.get("captions") or [texts["caption"]]
        for row, caption in enumerate(captions):
            prompt = word_pieces(caption)
            assert prompt.ids == case["input.input_ids"][row, : len(prompt.ids)].tolist()
            assert int(case["input.attention_mask"][row].sum()) == len(prompt.ids)
        if "spans" in texts:
            spans = [[tuple(span) for span in of_phrase] for of_phrase in texts["spans"]]
            tokens = [tokens_of(prompt.offsets, of_phrase) for of_phrase in spans]
            assert tokens == [texts["label_to_tokens"][str(n + 1)] for n in range(len(tokens))]
            expected = case["input.positive_map"]
            actual = glip_parts.phrase_map(tokens, expected.shape[1])
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", IMAGES)
def test_preprocessing(path: Path) -> None:
    tensors = load_file(path)
    for case in json.loads((path.parent / "preprocess.json").read_text()):
        rgb = tensors[f"{case['case']}.rgb_uint8_hwc"].numpy()
        sides = preprocess.resized_hw(
            case["height"], case["width"], case["min_size"], case["max_size"]
        )
        assert sides == tuple(case["out_hw"])
        (padded_3HW,) = preprocess.stack([preprocess.resize(rgb, sides)], "cpu")
        actual = padded_3HW[:, : sides[0], : sides[1]]
        expected = tensors[f"{case['case']}.tensor_chw"]
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-3)
        assert padded_3HW.sum() == pytest.approx(float(actual.sum()), rel=1e-4)


@pytest.mark.parametrize("path", KEYS)
def test_official_keys(path: Path) -> None:
    told = json.loads(path.read_text())
    for title, expected in told.items():
        if title == "note":
            continue
        with torch.device("meta"):
            state = Glip(PRESETS[VARIANTS[title[-1]]]()).state_dict()
        actual = {
            name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
            for name, value in state.items()
        }
        assert actual == {
            name: {"shape": each["shape"], "dtype": each["dtype"]}
            for name, each in expected.items()
        }
