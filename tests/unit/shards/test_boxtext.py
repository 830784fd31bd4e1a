"""Boxes become `[[x0,y0,x1,y1]]` and come back within half a bin; nothing is half-read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.paths import GOLDEN
from hypothesis import given
from hypothesis import strategies as st

from shards.boxtext import decode, encode, find

GOLDEN = json.loads((GOLDEN / "grounding" / "box_text_cases.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["text"])
def test_golden(case: dict) -> None:
    size = np.array([case["width"], case["height"]] * 2)
    box = np.array(case["box_xyxy_px"]) / size
    assert encode([box]) == (case["text"] if case["kept"] else "")
    np.testing.assert_allclose(np.array(decode(case["text"])) * size, [case["decoded_px"]])


def test_several_boxes_are_joined() -> None:
    example = GOLDEN["multi_example"]
    boxes = [decode(f"[[{text}]]")[0] for text in example["texts"]]
    assert encode(boxes) == example["joined"]
    assert decode(example["joined"]) == boxes


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([], ""),
        (np.empty((0, 4)), ""),
        ([(0.0005, 0.0015, 0.0025, 1)], "[[001,002,003,999]]"),  # half up, not half to even
        ([(-0.1, -5, 1.1, 7)], "[[000,000,999,999]]"),
        ([(0.5, 0, 0.5004, 1)], ""),
        ([(0, 0.9991, 1, 1)], ""),
        ([(0.9, 0, 0.1, 1)], ""),
        ([(0.5, 0, 0.5, 1), (0.1, 0.2, 0.3, 0.4)], "[[100,200,300,400]]"),
    ],
)
def test_encode(boxes: list, expected: str) -> None:
    assert encode(boxes) == expected


@pytest.mark.parametrize(
    "boxes", [(0, 0, 1, 1), [(0, 0, 1)], [[[0, 0, 1, 1]]], [(0, 0, float("nan"), 1)]]
)
def test_encode_refuses(boxes: list) -> None:
    with pytest.raises(ValueError, match="four finite numbers"):
        encode(boxes)


MALFORMED = [
    "[[]]",
    "[[086,540,400]]",
    "[[086,540,400,760,100]]",
    "[[086,540,400,760;]]",
    "[[086,540,400,760;212,498,787]]",
    "[[086,540,400,760;x]]",
    "[[86,540,400,760]]",
    "[[086,540,400,1000]]",
    "[[086,540,400,-76]]",
    "[[0 86,540,400,760]]",
    "[[086;540;400;760]]",
    "[[٠٨٦,540,400,760]]",
    "[[086,540,400,760]",
    "[[086,540,4",
    "[[400,540,086,760]]",
    "[[086,540,086,760]]",
    "[[086,540,400,760;212,498,787,498]]",
]


@pytest.mark.parametrize("text", [*MALFORMED, "", "[086,540,400,760]", "a [[086,540,400,760]]"])
def test_decode_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        decode(text)


@pytest.mark.parametrize("text", MALFORMED)
def test_find_reports_malformed_text(text: str) -> None:
    start = len("a cat ")
    good = "[[212,498,787,564]]"
    found = find(f"a cat {text} on a mat {good}.")
    assert [each.boxes for each in found] == [None, [(0.212, 0.498, 0.787, 0.564)]]
    assert found[0].start == start


@pytest.mark.parametrize("text", ["", "a cat", "[1] and [2]", "086,540,400,760", "a]] b"])
def test_find_finds_nothing(text: str) -> None:
    assert find(text) == []


COORDINATES = st.floats(0, 1)
BOXES = st.lists(st.tuples(*[COORDINATES] * 4), max_size=4)
# Boxes that have an area in bins, so none is dropped.
CORNERS = st.tuples(st.floats(0, 0.99), st.floats(0.002, 0.5)).map(
    lambda pair: (pair[0], min(1.0, pair[0] + pair[1]))
)
KEPT = st.lists(
    st.tuples(CORNERS, CORNERS).map(lambda xy: (xy[0][0], xy[1][0], xy[0][1], xy[1][1])),
    min_size=1,
    max_size=4,
)
BLANK = st.sampled_from(["", " ", "  ", "\n", "\t"])


@given(KEPT)
def test_a_round_trip_stays_within_half_a_bin(boxes: list) -> None:
    error = np.array(boxes) - np.array(decode(encode(boxes)))
    assert error.min() >= -0.0005 - 1e-9
    assert error[np.array(boxes) < 0.9995].max(initial=0) <= 0.0005 + 1e-9
    assert error.max() <= 0.001 + 1e-9


@given(BOXES)
def test_text_of_decoded_text_is_the_same(boxes: list) -> None:
    text = encode(boxes)
    assert text == "" or encode(decode(text)) == text


@given(KEPT, st.data())
def test_spaces_change_nothing(boxes: list, data: st.DataObject) -> None:
    text = encode(boxes)
    tokens = text.replace(",", " , ").replace(";", " ; ").replace("[[", "[ [ ").split()
    tokens = [part for token in tokens for part in token.replace("]", " ] ").split()]
    spaced = "".join(data.draw(BLANK) + token for token in tokens) + data.draw(BLANK)
    assert decode(spaced) == decode(text)


PROSE = st.text(st.characters(exclude_characters="[]"), max_size=8)


@given(st.lists(st.tuples(PROSE, KEPT), max_size=4), PROSE)
def test_find_finds_every_box_text(parts: list, tail: str) -> None:
    texts = [encode(boxes) for _, boxes in parts]
    whole = "".join(prose + text for (prose, _), text in zip(parts, texts, strict=True)) + tail
    found = find(whole)
    assert [whole[each.start : each.end] for each in found] == texts
    assert [each.boxes for each in found] == [decode(text) for text in texts]


@given(st.text("[]0123,; a", max_size=60))
def test_find_reports_each_opening_once(text: str) -> None:
    ends = [0]
    for start, end, boxes in find(text):
        assert ends[-1] <= start < end <= len(text)
        assert boxes is None or boxes == decode(text[start:end])
        ends.append(end)
