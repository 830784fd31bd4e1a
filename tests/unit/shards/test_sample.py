"""A sample's JSON: every field every time, floats as floats, never NaN."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from shards.sample import FLOAT_FIELDS, JSON_FIELDS, ImageSample, decode_json, encode_json, members

SAMPLE = ImageSample(
    key="0" * 32,
    url="https://example.com/ü.jpg",
    caption='a "quoted" café \u2028 木',
    caption_raw=None,
    width=512,
    height=384,
    original_width=1024,
    original_height=768,
    sha256="f" * 64,
    similarity=float(np.float32(0.3)),
    similarity_scorer="clip-vit-b-32",
    nsfw_score=0.0,
    nsfw_tag=None,
    watermark_score=1.0,
    aesthetic_score=None,
    language=None,
    license="?",
    source="laion400m",
    source_file="part-0.parquet",
    source_row=7,
    source_key=None,
)


def test_round_trip() -> None:
    expected = replace(SAMPLE, similarity=0.3)
    assert decode_json(encode_json(SAMPLE)) == expected
    assert encode_json(expected) == encode_json(SAMPLE)


def test_every_field_is_there_in_order_also_where_null() -> None:
    assert tuple(json.loads(encode_json(SAMPLE))) == JSON_FIELDS


@pytest.mark.parametrize("name", sorted(FLOAT_FIELDS))
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0.0"),
        (1.0, "1.0"),
        (float(np.float32(0.1)), "0.1"),
        (float(np.float32(1e-8)), "1e-08"),
        (math.nan, "null"),
        (math.inf, "null"),
        (None, "null"),
    ],
)
def test_floats(name: str, value: float | None, expected: str) -> None:
    text = encode_json(replace(SAMPLE, **{name: value})).decode()
    assert f'"{name}":{expected},' in text


def test_the_caption_is_the_same_bytes_in_both_places() -> None:
    made = members(SAMPLE, b"image", "jpg")
    assert list(made) == ["jpg", "txt", "json"]
    assert made["txt"] == SAMPLE.caption.encode()
    assert json.loads(made["json"])["caption"].encode() == made["txt"]
    assert "café".encode() in made["json"]


def test_fields_of_later_stages_are_ignored() -> None:
    later = json.loads(encode_json(SAMPLE)) | {"noun_chunks": [[0, 1]]}
    assert decode_json(json.dumps(later).encode()).key == SAMPLE.key
