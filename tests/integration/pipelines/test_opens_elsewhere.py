"""What the job writes opens unchanged in `webdataset` and in Hugging Face's `datasets`."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import webdataset
from helpers.pipelines.corpora import LOOPBACK, joined, read_plan, run_filter, write_joined
from helpers.shards.pictures import encoded, photo
from PIL import Image

import shards.reading.reader
from examples.web import Page, serve
from shards.files.store import Store
from shards.manifest import read as read_manifest

NUM_PHOTOS = 16
SHARD_SIZE = 4
NULLABLE = {"similarity": None, "WIDTH": None, "HEIGHT": None, "punsafe": None}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose first shard is empty and whose first samples lack every optional value."""
    folder = tmp_path_factory.mktemp("elsewhere")
    paths = [f"/{number}.jpg" for number in range(NUM_PHOTOS)]
    pages: dict[str, Page] = {}
    with serve(pages) as base:
        plan = read_plan(run_job(folder / "plan", base, paths, set(paths), "--stop_after=mix"))
        shards_of_paths = [[row["url"].removeprefix(base) for row in shard] for shard in plan]
        gone, *middle, _ = shards_of_paths
        for number, path in enumerate(paths):
            if path not in gone:
                pages[path] = Page(encoded(photo(seed=number), "JPEG", quality=95))
        run = run_job(folder / "run", base, paths, {p for shard in (gone, *middle) for p in shard})
    samples = [shard.samples for shard in read_manifest(Store(str(run))).shards]
    assert samples == [0, *[SHARD_SIZE] * (len(middle) + 1)]
    return run


def run_job(folder: Path, base: str, paths: list[str], bare: set[str], *flags: str) -> Path:
    caption = "picture {} of many smooth colours &amp; café"
    rows = [
        joined(base + path, caption.format(path[1:-4]), **(NULLABLE if path in bare else {}))
        for path in paths
    ]
    metadata = write_joined(folder / "metadata.parquet", rows)
    return run_filter(
        folder / "out",
        f"--input=laion2b_en_joined={metadata}",
        "--set=*.nsfw.present.on_missing=keep",
        f"--shard_size={SHARD_SIZE}",
        *LOOPBACK,
        *flags,
    )


@pytest.fixture(scope="module")
def expected(run: Path) -> dict[str, shards.reading.reader.Record]:
    found = {record.sample.key: record for record in shards.reading.reader.read(run)}
    assert len(found) == NUM_PHOTOS - SHARD_SIZE
    values = [record.sample.similarity for record in found.values()]
    assert values[0] is None and any(value is not None for value in values)
    return found


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_webdataset(run: Path, expected: Mapping[str, shards.reading.reader.Record]) -> None:
    tars = sorted(map(str, (run / "shards").glob("*.tar")))
    found = list(
        webdataset.WebDataset(tars, shardshuffle=False, handler=webdataset.reraise_exception)
    )
    assert [sample["__key__"] for sample in found] == list(expected)
    for sample in found:
        record = expected[sample["__key__"]]
        assert sample["jpg"] == record.image
        assert sample["txt"] == record.text
        assert json.loads(sample["json"]) == asdict(record.sample)


def test_webdataset_decodes(
    run: Path, expected: Mapping[str, shards.reading.reader.Record]
) -> None:
    tars = sorted(map(str, (run / "shards").glob("*.tar")))
    dataset = (
        webdataset.WebDataset(tars, shardshuffle=False)
        .decode("rgb8")
        .to_tuple("jpg", "txt", "json")
    )
    for (image, text, values), record in zip(dataset, expected.values(), strict=True):
        assert (image == pixels(record.image)).all()
        assert text == record.sample.caption == values["caption"]


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets(
    streaming: bool, run: Path, expected: Mapping[str, shards.reading.reader.Record], tmp_path: Path
) -> None:
    dataset = datasets.load_dataset(
        str(run), split="train", streaming=streaming, cache_dir=str(tmp_path)
    )
    found = list(dataset)
    assert [sample["__key__"] for sample in found] == list(expected)
    for sample in found:
        record = expected[sample["__key__"]]
        assert sample["txt"] == record.sample.caption
        assert sample["json"] == asdict(record.sample)
        assert (np.asarray(sample["jpg"]) == pixels(record.image)).all()


def test_datasets_knows_types_and_count_without_reading(run: Path, tmp_path: Path) -> None:
    builder = datasets.load_dataset_builder(str(run), cache_dir=str(tmp_path))
    assert builder.info.features["json"]["similarity"].dtype == "float64"
    assert builder.info.splits["train"].num_examples == NUM_PHOTOS - SHARD_SIZE
