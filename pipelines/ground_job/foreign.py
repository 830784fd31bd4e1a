"""Samples of any input as samples of ours: identity of images, and the fields of the contract."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from shards import sample
from shards.access import RawSample
from shards.identity import canonical_urls, image_key, keys
from shards.image import probe

IMG2DATASET = "img2dataset"


def image_hash(fields: Mapping[str, Any], image: bytes) -> bytes:
    """Return 16 bytes that the same image gives: of the fetched body where that is known."""
    sha256 = fields.get("sha256")
    if isinstance(sha256, str) and len(sha256) == 64:
        return bytes.fromhex(sha256)[:16]
    return hashlib.sha256(image).digest()[:16]


def contract_fields(raw: RawSample, kind: str, row: int) -> dict[str, Any]:
    """Return the JSON of a sample with every field of the contract.

    A run's sample has them already. Of an img2dataset sample the URL, the caption and the sizes
    are taken over, its key is kept as `source_key`, and the key is the contract's.
    """
    fields = raw.fields()
    if kind == "run":
        return fields
    caption, url = raw.text.decode(), fields.get("url")
    head = probe(raw.images[0])
    known: dict[str, Any] = {
        "key": _key(url, caption, raw.images[0]),
        "url": url,
        "caption": caption,
        "width": head.width if head else fields.get("width"),
        "height": head.height if head else fields.get("height"),
        "original_width": fields.get("original_width") or fields.get("width"),
        "original_height": fields.get("original_height") or fields.get("height"),
        "sha256": fields.get("sha256") or hashlib.sha256(raw.images[0]).hexdigest(),
        "source": IMG2DATASET,
        "source_file": raw.shard,
        "source_row": row,
        "source_key": raw.key,
    }
    return sample.contract_fields(known)


def _key(url: str | None, caption: str, image: bytes) -> str:
    if not url:
        return image_key(hashlib.sha256(image).hexdigest(), caption)
    urls = pa.array([url], pa.string())
    key: str = keys(urls, canonical_urls(urls), pa.array([caption], pa.string()))[0].as_py()
    return key
