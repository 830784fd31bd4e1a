"""Checks that a run keeps the contract: files, counts, checksums, captions, boxes, images, offsets.

Goes in: a finished run. Comes out: findings, each naming shard and key. No finding means
that every reader of the contract may rely on it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from PIL import Image

from shards import manifest
from shards.files.parquet import storage_schema
from shards.files.store import Store
from shards.identity import canonical_urls, image_key, keys
from shards.image import ImageError, decode
from shards.lint.grounded import grounded_breaches
from shards.lint.levels import LevelRecord, breaches, read_level_shard
from shards.manifest import Manifest, ShardEntry
from shards.outcomes import Outcome
from shards.reading.reader import CorruptShardError, Record, read_shard, read_sidecar
from shards.schema import SIDECAR

_LAST = ("download", "pack")  # stages whose samples are those of the shards
_PICTURED = ("image_text", "grounded")  # levels of one image and its caption
_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


@dataclass(frozen=True)
class Finding:
    """One breach of the contract."""

    where: str  # file, or file and key
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def lint(store: Store) -> Iterator[Finding]:
    """Yield every breach in a finished run.

    Raises:
        ValueError: The run has no manifest, or of another contract version.
    """
    run_manifest = manifest.read(store)
    for shard in run_manifest.shards:
        yield from lint_shard(store, shard, run_manifest.extension or "jpg", run_manifest.level)
    yield from _totals(run_manifest)


def _totals(run_manifest: Manifest) -> Iterator[Finding]:
    for stage, line in run_manifest.counts.items():
        left_out = sum(line["left_out"].values())
        if line["in"] != line["out"] + left_out:
            what = f"{stage}: {line['in']} in, {line['out']} out, {left_out} left out"
            yield Finding(manifest.NAME, what)
    if (
        run_manifest.stage in _LAST
        and run_manifest.counts[run_manifest.stage]["out"] != run_manifest.samples
    ):
        what = f"the samples of the shards do not add up to the {run_manifest.stage}'s"
        yield Finding(manifest.NAME, what)


def lint_shard(
    store: Store, shard: ShardEntry, extension: str, level: str = "image_text"
) -> Iterator[Finding]:
    """Yield every breach in one shard."""
    broken = [
        *_checksum(store, shard.tar, shard.tar_size, shard.tar_sha256),
        *_checksum(store, shard.sidecar, shard.sidecar_size, shard.sidecar_sha256),
    ]
    yield from broken
    if broken:
        return
    sidecar = read_sidecar(store, shard)
    yield from _sidecar_findings(shard, sidecar)
    pictured = level in _PICTURED
    records: dict[str, Any]
    try:
        records = (
            {record.sample.key: record for record in read_shard(store, shard)}
            if pictured
            else dict(read_level_shard(store, shard))
        )
    except CorruptShardError as error:
        yield Finding(shard.tar, str(error))
        return
    if list(records) != sorted(records):
        yield Finding(shard.tar, "samples are not in key order")
    rows = {row["key"]: row for row in sidecar.to_pylist() if row["outcome"] == Outcome.SUCCESS}
    for key in rows.keys() ^ records.keys():
        yield Finding(f"{shard.tar} {key}", "in the tar or among the sidecar's successes, not both")
    for key in rows.keys() & records.keys():
        where = f"{shard.tar} {key}"
        broken_rules = (
            _sample(records[key], rows[key], level, extension)
            if pictured
            else _of_level(records[key], rows[key], level, extension)
        )
        yield from (Finding(where, what) for what in broken_rules)
    yield from _places(store, shard, rows)


def _checksum(store: Store, name: str, size: int, sha256: str) -> Iterator[Finding]:
    entry = store.stat(name)
    if entry is None or entry.size != size:
        yield Finding(name, f"{'absent' if entry is None else entry.size} instead of {size} bytes")
    elif hashlib.sha256(store.read(name)).hexdigest() != sha256:
        yield Finding(name, "its sha256 is not the manifest's")


def _sidecar_findings(shard: ShardEntry, sidecar: pa.Table) -> Iterator[Finding]:
    if sidecar.schema != storage_schema(SIDECAR):
        yield Finding(shard.sidecar, "columns are not the contract's")
    if sidecar.num_rows != shard.planned:
        yield Finding(shard.sidecar, f"{sidecar.num_rows} rows for {shard.planned} planned")
    key_list = sidecar.column("key").to_pylist()
    if key_list != sorted(set(key_list)):
        yield Finding(shard.sidecar, "keys are not unique and in order")


def _sample(record: Record, row: dict[str, Any], level: str, extension: str) -> Iterator[str]:
    sample = record.sample
    if record.text != sample.caption.encode():
        yield ".txt and the caption of .json differ"
    if sample.caption != row["caption"]:
        yield "the captions of .json and sidecar differ"
    raw = sample.caption if sample.caption_raw is None else sample.caption_raw
    if sample.url is not None and _key(sample.url, raw) != sample.key:
        yield "the key is not that of its URL and caption"
    if level == "grounded":
        yield from grounded_breaches(json.loads(record.json), sample.caption)
    yield from _stored_image(record.image, (sample.width, sample.height), extension)


def _of_level(
    record: LevelRecord, row: dict[str, Any], level: str, extension: str
) -> Iterator[str]:
    fields = record.fields
    caption = fields.get("caption")
    if not isinstance(caption, str) or record.text != caption.encode():
        yield ".txt and the caption of .json differ"
    if fields.get("key") != row["key"]:
        yield f"its JSON has the key {fields.get('key')}"
    if caption != row["caption"]:
        yield "the captions of .json and sidecar differ"
    if (
        fields.get("url") is None
        and image_key(str(fields.get("sha256")), str(caption)) != row["key"]
    ):
        yield "the key is not that of its images and text"
    yield from breaches(record, level, extension)
    alone = len(record.images) == 1
    for _, data in record.images:
        size = (fields.get("width"), fields.get("height")) if alone else None
        yield from _stored_image(data, size, extension)


def _key(url: str, caption_raw: str) -> str:
    urls = pa.array([url], pa.string())
    key: str = keys(urls, canonical_urls(urls), pa.array([caption_raw], pa.string()))[0].as_py()
    return key


def _stored_image(data: bytes, stated: tuple[Any, Any] | None, extension: str) -> Iterator[str]:
    """Yield what is wrong with an image; `stated` is its size where the JSON has one."""
    try:
        height, width = decode(data).shape[:2]
    except ImageError as error:
        yield f"the image does not decode: {error.detail}"
        return
    if stated is not None and (width, height) != stated:
        yield f"the image is {width} x {height}, its JSON says otherwise"
    with Image.open(io.BytesIO(data)) as image:
        if image.format != _FORMATS[extension]:
            yield f"a {image.format} under .{extension}"
        if image.getexif() or "exif" in image.info or "xmp" in image.info:
            yield "the image carries EXIF or XMP"


def _places(store: Store, shard: ShardEntry, rows: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    for key, row in rows.items():
        data = store.read_range(shard.tar, row["tar_offset"], row["tar_size"])
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            stems = {name.partition(".")[0] for name in tar.getnames()}
        if stems != {key}:
            yield Finding(f"{shard.sidecar} {key}", f"its offset leads to {sorted(stems)}")
