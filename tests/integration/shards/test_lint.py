"""Lint finds each breach of the contract, and nothing in a run that keeps it."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from examples.scenes import scene
from examples.web import Page, serve
from pipelines import filter as filter_job
from shards import manifest
from shards.files import parquet
from shards.files.store import Store
from shards.files.tar import TarWriter
from shards.lint import lint
from shards.reading.reader import Record, read_shard
from shards.sample import ImageSample, members
from shards.schema import SIDECAR


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lint")
    pages = {}
    for seed in range(4):
        buffer = io.BytesIO()
        scene(seed).image().save(buffer, "JPEG")
        pages[f"/{seed}.jpg"] = Page(buffer.getvalue())
    with serve(pages) as base:
        urls = [f"{base}/{seed}.jpg" for seed in range(5)]  # the last is a 404
        captions = [f" {scene(seed).caption}" for seed in range(5)]
        table = pa.table({"url": urls, "caption": captions, "nsfw_score": [0.1] * 5})
        pq.write_table(table, folder / "meta.parquet")
        arguments = [f"--input={folder}/meta.parquet", f"--output={folder}/run"]
        assert filter_job.main([*arguments, "--allow_address=127.0.0.1/32"]) == 0
    return folder / "run"


def test_a_good_run_has_no_findings(good_run: Path) -> None:
    assert list(lint(Store(good_run))) == []


Rewrite = Callable[[list[Record]], list[Record]]


def _sample(change: Callable[[ImageSample], ImageSample]) -> Rewrite:
    return lambda records: [
        dataclasses.replace(records[0], sample=change(records[0].sample)),
        *records[1:],
    ]


def _text(records: list[Record]) -> list[Record]:
    return [dataclasses.replace(records[0], text=b"other words"), *records[1:]]


def _image(save: Callable[[Image.Image, io.BytesIO], None]) -> Rewrite:
    def rewrite(records: list[Record]) -> list[Record]:
        buffer = io.BytesIO()
        save(Image.open(io.BytesIO(records[0].image)), buffer)
        return [dataclasses.replace(records[0], image=buffer.getvalue()), *records[1:]]

    return rewrite


def _turned(image: Image.Image, buffer: io.BytesIO) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(buffer, "JPEG", exif=exif)


BREACHES: dict[str, tuple[Rewrite, str]] = {
    "text": (_text, ".txt and the caption of .json differ"),
    "caption": (
        _sample(lambda s: dataclasses.replace(s, caption="something else")),
        "captions of .json and sidecar differ",
    ),
    "raw caption": (
        _sample(lambda s: dataclasses.replace(s, caption_raw=None)),
        "the key is not that of its URL and caption",
    ),
    "size": (_sample(lambda s: dataclasses.replace(s, width=1)), "its JSON says otherwise"),
    "orientation": (_image(_turned), "carries EXIF"),
    "format": (_image(lambda i, b: i.save(b, "PNG")), "a PNG under .jpg"),
    "broken image": (
        lambda records: [dataclasses.replace(records[0], image=b"\xff\xd8\xff"), *records[1:]],
        "does not decode",
    ),
    "order": (lambda records: records[::-1], "not in key order"),
    "missing": (lambda records: records[1:], "not both"),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_in_the_tar_is_found(name: str, good_run: Path, tmp_path: Path) -> None:
    rewrite, expected = BREACHES[name]
    store = _copy(good_run, tmp_path)
    (shard,) = manifest.read(store).shards
    records = rewrite(list(read_shard(store, shard)))
    buffer = io.BytesIO()
    tar = TarWriter(buffer)
    places = {}
    for record in records:
        parts = {**members(record.sample, record.image, "jpg"), "txt": record.text}
        if name == "caption":
            parts["txt"] = record.sample.caption.encode()
        places[record.sample.key] = tar.add(record.sample.key, parts)
    tar.close()
    _replace(store, tar=buffer.getvalue(), places=places)

    assert any(expected in str(finding) for finding in lint(store)), list(lint(store))


def test_a_changed_byte_is_found(good_run: Path, tmp_path: Path) -> None:
    store = _copy(good_run, tmp_path)
    data = bytearray(store.read("shards/000000.tar"))
    data[700] ^= 1
    store.write("shards/000000.tar", bytes(data))
    assert [str(f) for f in lint(store)] == ["shards/000000.tar: its sha256 is not the manifest's"]


def test_a_wrong_offset_is_found(good_run: Path, tmp_path: Path) -> None:
    store = _copy(good_run, tmp_path)
    (shard,) = manifest.read(store).shards
    records = list(read_shard(store, shard))
    table = pq.read_table(store.url(shard.sidecar))
    first = next(r for r in table.to_pylist() if r["key"] == records[0].sample.key)
    wrong = {records[1].sample.key: (first["tar_offset"], first["tar_size"])}
    _replace(store, tar=store.read(shard.tar), places=wrong)
    assert any("its offset leads to" in str(finding) for finding in lint(store))


def test_a_lost_shard_and_a_wrong_sum_are_found(good_run: Path, tmp_path: Path) -> None:
    store = _copy(good_run, tmp_path)
    store.delete("shards/000000.tar")
    found = manifest.read(store)
    counts = {name: dict(line) for name, line in found.counts.items()}
    counts["mix"]["out"] += 1
    manifest.write(store, dataclasses.replace(found, counts=counts))
    findings = [str(finding) for finding in lint(store)]
    assert any("absent instead of" in finding for finding in findings)
    assert any(finding.startswith("manifest.json: mix:") for finding in findings)


def _copy(run: Path, tmp_path: Path) -> Store:
    shutil.copytree(run, tmp_path / "run")
    return Store(tmp_path / "run")


def _replace(store: Store, *, tar: bytes, places: dict[str, tuple[int, int]]) -> None:
    """Put another tar and other offsets in place, with checksums that fit."""
    found = manifest.read(store)
    (shard,) = found.shards
    store.write(shard.tar, tar)
    table = pq.read_table(store.url(shard.sidecar))
    for name, part in (("tar_offset", 0), ("tar_size", 1)):
        values = [
            places.get(row["key"], (row["tar_offset"], row["tar_size"]))[part]
            for row in table.to_pylist()
        ]
        table = table.set_column(
            table.schema.get_field_index(name), name, pa.array(values, pa.int64())
        )
    assert pc.all(pc.is_valid(table["key"])).as_py()
    parquet.write(store.url(shard.sidecar), [table], SIDECAR)
    sidecar = store.read(shard.sidecar)
    entry = dataclasses.replace(
        shard,
        tar_size=len(tar),
        tar_sha256=hashlib.sha256(tar).hexdigest(),
        sidecar_size=len(sidecar),
        sidecar_sha256=hashlib.sha256(sidecar).hexdigest(),
    )
    manifest.write(store, dataclasses.replace(found, shards=(entry,)))
