"""Real photos with real captions, from a server to shards, every field and byte checked."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.pipelines.corpora import LOOPBACK, counts, run_filter
from helpers.pipelines.reference_job import canonical_row, filter_rows, mix
from helpers.shards.pictures import encoded, photo
from helpers.shared_data import shared_data
from PIL import Image

import shards.reading.reader
from examples.web import Page, serve
from shards.files.store import Store
from shards.image import PROFILES, ImageError, Stored, store
from shards.manifest import Manifest
from shards.manifest import read as read_manifest
from shards.outcomes import Outcome
from shards.reading.reader import read_sidecar
from shards.sample import FLOAT_FIELDS, JSON_FIELDS

DATA = shared_data()
needs_data = pytest.mark.skipif(DATA is None, reason="the real sample data is not here")

Row = dict[str, Any]

ALLOWED = {"allow_addresses": ("127.0.0.1/32",)}
PARAMETERS = {
    "nsfw.present": {"on_missing": "keep"},
    "url.host": ALLOWED,
    "url.port": ALLOWED,
}
SHARD_SIZE = 50


@dataclass
class Job:
    """A finished run, what was served, and what the reference planned."""

    run: Path
    bodies: Mapping[str, bytes]  # url -> body
    planned: list[list[Row]]

    @property
    def manifest(self) -> Manifest:
        return read_manifest(Store(str(self.run)))

    def sidecars(self) -> list[list[Row]]:
        where = Store(str(self.run))
        return [read_sidecar(where, shard).to_pylist() for shard in self.manifest.shards]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    assert DATA is not None
    folder = tmp_path_factory.mktemp("coco")
    lines = (DATA / "photos" / "coco" / "captions_boxes.jsonl").read_text("utf-8").splitlines()
    pages: dict[str, Page] = {}
    rows = []
    with serve(pages) as base:
        for each in map(json.loads, lines):
            body = (DATA / "photos" / "coco" / each["image"]).read_bytes()
            for number, caption in enumerate(each["captions"][:2]):
                path = f"/{each['image']}?caption={number}"
                pages[path] = Page(body)
                rows.append((base + path, caption))
        urls, captions = zip(*rows, strict=True)
        metadata = folder / "photos.parquet"
        pq.write_table(pa.table({"url": urls, "caption": captions}), metadata)
        run = run_filter(
            folder / "out",
            f"--input={metadata}",
            "--nsfw_missing=keep",
            "--store=stage1",
            f"--shard_size={SHARD_SIZE}",
            *LOOPBACK,
        )
    filtered = filter_rows(
        (
            canonical_row(
                {"url": url.encode(), "caption": text.encode()}, "generic", metadata.name, n
            )
            for n, (url, text) in enumerate(rows)
        ),
        PARAMETERS,
    )
    planned = mix(filtered.kept, filtered.tombstones, shard_size=SHARD_SIZE).shards
    bodies = {base + path: page.body for path, page in pages.items()}
    assert len(lines) == 84
    return Job(run, bodies, planned)


def expected_image(body: bytes) -> Stored | Outcome:
    try:
        return store(body, PROFILES["stage1"])
    except ImageError as error:
        return error.outcome


@needs_data
def test_every_photo_is_a_sample(job: Job) -> None:
    line = counts(job.run)["download"]
    assert line["in"] == sum(map(len, job.planned)) > 160
    assert line["out"] == line["in"]


@needs_data
def test_shards_hold_what_was_planned_in_key_order(job: Job) -> None:
    assert [shard.name for shard in job.manifest.shards] == [
        f"{number:06d}" for number in range(len(job.planned))
    ]
    for shard, rows in zip(job.sidecars(), job.planned, strict=True):
        assert [row["key"] for row in shard] == [row["key"] for row in rows]
        assert [row["key"] for row in shard] == sorted(row["key"] for row in shard)


@needs_data
def test_every_sample(job: Job) -> None:
    planned = {row["key"]: row for shard in job.planned for row in shard}
    records = list(shards.reading.reader.read(job.run))
    assert len(records) == len(planned)
    for record in records:
        sample, row = record.sample, planned[record.sample.key]
        assert record.text == row["caption"].encode() == sample.caption.encode()
        stored = expected_image(job.bodies[row["url"]])
        assert isinstance(stored, Stored)
        assert record.image == stored.data
        expected = {name: row[name] for name in JSON_FIELDS if name in row} | {
            "width": stored.width,
            "height": stored.height,
            "original_width": stored.original_width,
            "original_height": stored.original_height,
            "sha256": hashlib.sha256(job.bodies[row["url"]]).hexdigest(),
            "contract_version": 1,
        }
        assert {name: getattr(sample, name) for name in JSON_FIELDS} == expected


@needs_data
def test_stored_pixels_are_the_photos_pixels(job: Job) -> None:
    for record in list(shards.reading.reader.read(job.run))[::5]:
        assert record.sample.url is not None
        stored = Image.open(io.BytesIO(record.image))
        assert (stored.size, stored.mode) == ((record.sample.width, record.sample.height), "RGB")
        assert min(stored.size) == 256
        original = Image.open(io.BytesIO(job.bodies[record.sample.url])).convert("RGB")
        wanted = original.resize(stored.size, Image.Resampling.BICUBIC)
        difference = np.asarray(stored, float) - np.asarray(wanted, float)
        assert 10 * np.log10(255**2 / (difference**2).mean()) > 26


@needs_data
def test_every_sidecar_row(job: Job) -> None:
    for shard, rows, planned in zip(job.manifest.shards, job.sidecars(), job.planned, strict=True):
        tar = (job.run / shard.tar).read_bytes()
        for row, plan in zip(rows, planned, strict=True):
            same = ("key", "url", "caption", "source", "source_file", "source_row")
            assert {name: row[name] for name in same} == {name: plan[name] for name in same}
            assert (row["status"], row["outcome"], row["error_message"]) == (
                "success",
                "success",
                None,
            )
            assert row["exif"] is None
            piece = tar[row["tar_offset"] : row["tar_offset"] + row["tar_size"]]
            with tarfile.open(fileobj=io.BytesIO(piece + bytes(1024))) as alone:
                members = {m.name: alone.extractfile(m).read() for m in alone}  # type: ignore[union-attr]
            assert list(members) == [f"{row['key']}.{e}" for e in ("jpg", "txt", "json")]
            values = json.loads(members[f"{row['key']}.json"])
            assert list(values) == list(JSON_FIELDS)
            sizes = ("width", "height", "original_width", "original_height", "sha256")
            assert {name: row[name] for name in sizes} == {name: values[name] for name in sizes}
            assert all(values[name] is None for name in FLOAT_FIELDS)


@needs_data
def test_the_manifest_describes_the_files(job: Job) -> None:
    for shard, rows in zip(job.manifest.shards, job.sidecars(), strict=True):
        for name, size, digest in (
            (shard.tar, shard.tar_size, shard.tar_sha256),
            (shard.sidecar, shard.sidecar_size, shard.sidecar_sha256),
        ):
            data = (job.run / name).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest)
        successes = sum(row["outcome"] == "success" for row in rows)
        assert (shard.planned, shard.samples) == (len(rows), successes)


@needs_data
def test_odd_files_all_end_somewhere(tmp_path: Path) -> None:
    """Bombs, broken and exotic files: a sample or an outcome each, and nothing raised."""
    assert DATA is not None
    files = {f"/odd-{p.name}": p.read_bytes() for p in sorted((DATA / "oddfiles").iterdir())}
    with serve({path: Page(body) for path, body in files.items()}) as base:
        urls = [base + path for path in files]
        metadata = tmp_path / "odd.parquet"
        pq.write_table(pa.table({"url": urls, "caption": ["an odd file"] * len(urls)}), metadata)
        run = run_filter(
            tmp_path / "out", f"--input={metadata}", "--preset=none", "--store=stage1", *LOOPBACK
        )
    finished = Job(run, {}, [])
    actual = {row["url"]: row for shard in finished.sidecars() for row in shard}
    assert actual.keys() == set(urls)
    for path, body in files.items():
        row, stored = actual[base + path], expected_image(body)
        assert row["outcome"] == ("success" if isinstance(stored, Stored) else stored), path
        assert row["outcome"] in Outcome.__members__.values()
        assert (row["tar_offset"] is None) == (row["outcome"] != "success")
    line = counts(run)["download"]
    assert line["in"] == len(files) == line["out"] + sum(line["left_out"].values())
    assert {record.sample.url for record in shards.reading.reader.read(run)} == {
        url for url, row in actual.items() if row["outcome"] == "success"
    }


def test_a_row_without_a_caption_is_a_sample_with_an_empty_one(tmp_path: Path) -> None:
    with serve({f"/{name}": Page(encoded(photo(), "PNG")) for name in "ab"}) as base:
        captions = pa.array([None, " "], pa.string())
        metadata = tmp_path / "bare.parquet"
        pq.write_table(pa.table({"url": [base + "/a", base + "/b"], "caption": captions}), metadata)
        run = run_filter(tmp_path / "out", f"--input={metadata}", "--preset=none", *LOOPBACK)
    records = list(shards.reading.reader.read(run))
    assert [(record.text, record.sample.caption) for record in records] == [(b"", "")] * 2
