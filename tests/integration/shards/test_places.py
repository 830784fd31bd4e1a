"""The same samples from an object store as from disk, and from an img2dataset folder in place."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from helpers.shards.emulators import gs_emulator, s3_emulator
from helpers.shards.toy_shards import captioned, select, write_run

import shards
from shards import adapters, selection
from shards.access import SampleError, SampleReader
from shards.dataset import Dataset, open_dataset
from shards.files.store import Store


@pytest.fixture(scope="module", params=["gs", "s3"])
def bucket(request: pytest.FixtureRequest) -> Iterator[str]:
    with (gs_emulator if request.param == "gs" else s3_emulator)() as url:
        yield url


def upload(folder: Path, url: str) -> str:
    store = Store(url)
    for path in folder.rglob("*"):
        if path.is_file():
            store.write(str(path.relative_to(folder)), path.read_bytes())
    return url


def places(dataset: Dataset) -> list[tuple[int, int]]:
    return [(shard, row) for shard, count in enumerate(dataset.counts) for row in range(count)]


def contents(found: object) -> tuple[object, ...]:
    assert isinstance(found, shards.RawSample), found
    return found.key, found.images, found.text, found.json, found.shard


def test_an_object_store(bucket: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", captioned(40), shard_size=20, uneven=True)
    select(run)
    url = upload(run, f"{bucket}/run")
    for at in ("", "@half"):
        here, there = (SampleReader(open_dataset(f"{root}{at}"), threads=3) for root in (run, url))
        assert there.dataset.counts == here.dataset.counts
        assert there.dataset.fingerprint == here.dataset.fingerprint
        order = places(here.dataset)
        expected = [contents(found) for found in here.read_many(order)]
        assert [contents(found) for found in there.read_many(order)] == expected
        assert contents(there.read(0, 1)) == contents(here.read(0, 1))
        random.Random(0).shuffle(order)
        assert [contents(found) for found in there.read_many(iter(order))] == [
            contents(found) for found in here.read_many(order)
        ]
    keys = [sample["__key__"] for sample in adapters.webdataset(f"{url}@half")]
    assert sorted(keys) == sorted(r.sample.key for r in shards.read(f"{url}@half"))


def test_damage_in_an_object_store(bucket: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", captioned(12), shard_size=6)
    tar = run / "shards/000000.tar"
    tar.write_bytes(tar.read_bytes()[:10_000])
    (run / "shards/000001.tar").unlink()
    there = SampleReader(open_dataset(upload(run, f"{bucket}/damaged")))
    found = list(there.read_many(places(there.dataset)))
    good = [not isinstance(each, SampleError) for each in found]
    assert good[0] and not good[5] and not any(good[6:])
    for error in (each for each in found if isinstance(each, SampleError)):
        assert error.reason == "tar_damaged" and error.key
    # A reader that stops half-way leaves nothing running.
    some = there.read_many(places(there.dataset))
    next(some)
    some.close()


def img2dataset_folder(folder: Path) -> Path:
    """Write what img2dataset does: its writer's tars, parquet of all rows, statistics."""
    folder.mkdir()
    samples = captioned(10)
    for shard in range(2):
        part = samples[shard * 5 : shard * 5 + 5]
        rows = []
        with webdataset.TarWriter(str(folder / f"{shard:05d}.tar"), encoder=False) as tar:
            order = [3, 0, 4, 1, 2]  # as its threads happen to finish
            for number in order:
                key = f"{shard:05d}{number:04d}"
                values = {"key": key, "caption": part[number].caption, "status": "success"}
                values |= {"url": part[number].url, "width": 64, "height": 64, "exif": "{}"}
                rows.append(values)
                tar.write(
                    {
                        "__key__": key,
                        "jpg": part[number].images[0],
                        "json": json.dumps(values, indent=4).encode(),
                        "txt": part[number].caption.encode(),
                    }
                )
        rows.append({"key": f"{shard:05d}0005", "status": "failed_to_download"})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard:05d}.parquet")
        stats = {"count": 6, "successes": 5, "failed_to_download": 1}
        (folder / f"{shard:05d}_stats.json").write_text(json.dumps(stats, indent=4))
    (folder / "00002.tar").write_bytes(b"one that is being written")
    return folder


def test_an_img2dataset_folder_is_read_in_place(tmp_path: Path) -> None:
    folder = img2dataset_folder(tmp_path / "laion")
    before = sorted(folder.rglob("*"))
    dataset = open_dataset(folder)
    assert (dataset.kind, dataset.level) == ("img2dataset", "image_text")
    assert (dataset.shards, dataset.counts) == (("00000", "00001"), (5, 5))
    found = [contents(each) for each in SampleReader(dataset).read_many(places(dataset))]
    samples = captioned(10)
    assert [each[0] for each in found] == [f"{s:05d}{n:04d}" for s in range(2) for n in range(5)]
    assert [each[1] for each in found] == [sample.images for sample in samples]
    assert [each[2] for each in found] == [sample.caption.encode() for sample in samples]
    rows = list(adapters.huggingface(folder))
    assert [row["caption"] for row in rows] == [sample.caption for sample in samples]
    assert rows[0]["url"] == samples[0].url
    assert len(list(adapters.webdataset(folder).decode("pil").to_tuple("jpg", "txt"))) == 10
    assert sorted(folder.rglob("*")) == before


def test_an_img2dataset_folder_with_a_selection(tmp_path: Path) -> None:
    folder = img2dataset_folder(tmp_path / "laion")
    for shard in ("00000", "00001"):
        table = pq.read_table(folder / f"{shard}.parquet", columns=["key"])
        keep = [key.endswith("3") for key in table.column("key").to_pylist()]
        table = table.append_column("keep", pa.array(keep))
        table = table.append_column("reason", pa.nulls(len(keep), pa.string()))
        selection.write(Store(folder), "threes", shard, table)
    selection.finish(Store(folder), "threes")
    dataset = open_dataset(f"{folder}@threes")
    found = SampleReader(dataset).read_many(places(dataset))
    assert [contents(each)[0] for each in found] == ["000000003", "000010003"]


def test_img2dataset_in_an_object_store(bucket: str, tmp_path: Path) -> None:
    folder = img2dataset_folder(tmp_path / "laion")
    here = SampleReader(open_dataset(folder))
    there = SampleReader(open_dataset(upload(folder, f"{bucket}/laion")))
    order = places(here.dataset)
    assert [contents(found) for found in there.read_many(order)] == [
        contents(found) for found in here.read_many(order)
    ]


def test_img2dataset_folders_that_cannot_be_used(tmp_path: Path) -> None:
    folder = img2dataset_folder(tmp_path / "laion")
    first = open_dataset(folder).fingerprint
    for name in ("00001_stats.json", "00001.tar"):
        shutil.copytree(folder, tmp_path / name)
    (tmp_path / "00001_stats.json" / "00001_stats.json").unlink()
    assert open_dataset(tmp_path / "00001_stats.json").counts == (5,)
    assert open_dataset(tmp_path / "00001_stats.json").fingerprint != first
    (tmp_path / "00001.tar" / "00001.tar").unlink()
    with pytest.raises(ValueError, match="output_format=webdataset"):
        open_dataset(tmp_path / "00001.tar")

    tar = folder / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:9000])
    reader = SampleReader(open_dataset(folder))
    errors = [error for error in reader.iterate(0) if isinstance(error, SampleError)]
    assert len(errors) == 5 and {error.reason for error in errors} == {"tar_damaged"}
    assert len([contents(found) for found in reader.iterate(1)]) == 5
    (folder / "00000_stats.json").write_text("{}")
    with pytest.raises(ValueError, match=r"00000_stats\.json: not img2dataset's statistics"):
        open_dataset(folder)
