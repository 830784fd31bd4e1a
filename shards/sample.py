"""One sample of a shard: `<key>.jpg`, `<key>.txt`, `<key>.json`, always in that order."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from shards.schema import CONTRACT_VERSION


@dataclass(frozen=True, kw_only=True)
class ImageSample:
    """What is known about one stored image: the fields of its JSON, each present every time."""

    key: str  # 32 hex digits
    url: str | None  # as the source had it
    caption: str  # the bytes of .txt
    caption_raw: str | None  # null where cleaning changed nothing
    width: int  # stored image, pixels
    height: int
    original_width: int  # fetched image, oriented, pixels
    original_height: int
    sha256: str  # of the fetched body, hex
    similarity: float | None
    similarity_scorer: str | None
    nsfw_score: float | None
    nsfw_tag: str | None
    watermark_score: float | None
    aesthetic_score: float | None
    language: str | None
    license: str | None
    source: str
    source_file: str
    source_row: int
    source_key: str | None
    contract_version: int = CONTRACT_VERSION


JSON_FIELDS = tuple(field.name for field in fields(ImageSample))
FLOAT_FIELDS = frozenset({"similarity", "nsfw_score", "watermark_score", "aesthetic_score"})


def compact_json(values: Any) -> str:
    """Return JSON in the one form that samples have: no blanks, text unescaped, never NaN.

    Raises:
        ValueError: There is a NaN or an infinity in it.
    """
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def contract_fields(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return every field of the contract in order; what is not known is null."""
    return {**{name: known.get(name) for name in JSON_FIELDS}, "contract_version": CONTRACT_VERSION}


def json_fields(sample: ImageSample) -> dict[str, Any]:
    """Return the fields of the sample's JSON: in fixed order, floats as floats, never NaN."""
    return {
        name: _float(getattr(sample, name)) if name in FLOAT_FIELDS else getattr(sample, name)
        for name in JSON_FIELDS
    }


def encode_json(sample: ImageSample) -> bytes:
    """Return the sample's JSON."""
    return compact_json(json_fields(sample)).encode()


def decode_json(data: bytes) -> ImageSample:
    """Read back what `encode_json` wrote; fields of later stages are ignored here."""
    values: dict[str, Any] = json.loads(data)
    return ImageSample(**{name: values[name] for name in JSON_FIELDS})


def members(sample: ImageSample, image: bytes, extension: str) -> Mapping[str, bytes]:
    """Return a sample's tar members in order: extension to content."""
    return {extension: image, "txt": sample.caption.encode(), "json": encode_json(sample)}


def _float(value: float | None) -> float | None:
    if value is None or math.isnan(value) or math.isinf(value):
        return None
    # The shortest decimal that is the stored float32, not its widening to a double.
    return float(str(np.float32(value)))
