"""Runs in the real `webdataset` and `datasets`: every kept sample once, over nodes and workers."""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets.distributed import split_dataset_by_node
from helpers.shards.toy_shards import BY_LEVEL, captioned, select, write_run
from torch.utils.data import DataLoader

from shards import adapters
from shards.access import RawSample, SampleError, SampleReader
from shards.dataset import open_dataset
from shards.sample import ImageSample

NODES, WORKERS = 2, 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("adapters")
    made = write_run(folder / "run", captioned(40), shard_size=6, uneven=True)
    select(made)
    return f"{made}@half"


def kept(spec: str) -> list[RawSample]:
    reader = SampleReader(open_dataset(spec))
    numbers = range(len(reader.dataset.shards))
    found = list(itertools.chain.from_iterable(reader.iterate(number) for number in numbers))
    assert 10 < len(found) == reader.dataset.samples
    return found


@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_webdataset_on_two_nodes_with_two_workers(
    start: str, seed: int | None, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(NODES))
    seen: Counter[str] = Counter()
    for node in range(NODES):
        monkeypatch.setenv("RANK", str(node))
        pipeline = adapters.webdataset(run, shuffle_shards=seed)
        loader = DataLoader(
            pipeline, batch_size=None, num_workers=WORKERS, multiprocessing_context=start
        )
        found = [sample["__key__"] for sample in loader]
        assert found
        seen.update(found)
    assert seen == Counter(sample.key for sample in kept(run))


def test_webdataset_yields_the_stored_bytes_and_decodes(run: str) -> None:
    expected = kept(run)
    for found, sample in zip(adapters.webdataset(run), expected, strict=True):
        assert set(found) == {"__key__", "__url__", "jpg", "txt", "json"}
        assert (found["jpg"],) == sample.images
        assert (found["txt"], found["json"]) == (sample.text, sample.json)
        assert Path(found["__url__"]).name == f"{sample.shard}.tar"
    decoded = adapters.webdataset(run).decode("pil").to_tuple("jpg", "txt")
    for (image, text), sample in zip(decoded, expected, strict=True):
        assert image.size == (64, 64) and text == sample.text.decode()


def test_webdataset_shuffles_shards_by_seed_and_epoch(run: str) -> None:
    orders = []
    for seed in (1, 1, 2):
        pipeline = adapters.webdataset(run, shuffle_shards=seed)
        orders += [[sample["__key__"] for sample in pipeline] for _ in range(2)]
    assert orders[:2] == orders[2:4]
    assert len(set(map(tuple, orders))) == 4
    assert len(set(map(frozenset, orders))) == 1


def test_a_damaged_sample_is_raised(tmp_path: Path) -> None:
    made = write_run(tmp_path / "run", captioned(3))
    tar = made / "shards/000000.tar"
    tar.write_bytes(tar.read_bytes()[:6000])
    with pytest.raises(SampleError, match="000000"):
        list(adapters.webdataset(made))
    with pytest.raises(SampleError, match="000000"):
        list(adapters.huggingface(made))


def test_huggingface_on_two_nodes_with_two_workers(run: str) -> None:
    expected = kept(run)
    whole = adapters.huggingface(run)
    assert whole.num_shards == len(open_dataset(run).shards)
    seen: Counter[str] = Counter()
    for node in range(NODES):
        part = split_dataset_by_node(whole, node, NODES).select_columns(["key", "caption"])
        loader = DataLoader(part, batch_size=None, num_workers=WORKERS)
        seen.update(row["key"] for row in loader)
    assert seen == Counter(sample.key for sample in expected)


def test_huggingface_columns(run: str) -> None:
    whole = adapters.huggingface(run)
    assert list(whole.features)[:3] == ["key", "image", "caption"]
    assert whole.features["image"] == datasets.Image()
    assert set(whole.features) == {"image", *ImageSample.__dataclass_fields__}
    for row, sample in zip(whole, kept(run), strict=True):
        assert np.asarray(row.pop("image")).shape == (64, 64, 3)
        assert row == sample.fields()


@pytest.mark.parametrize("level", ["grounded", "dialogue", "document", "text"])
def test_huggingface_levels(level: str, tmp_path: Path) -> None:
    samples = {sample.key: sample for sample in BY_LEVEL[level](8)}
    made = write_run(tmp_path / "run", list(samples.values()), level=level)
    rows = list(adapters.huggingface(made))
    assert {row["key"] for row in rows} == set(samples)
    for row in rows:
        sample = samples[row["key"]]
        images = row.get("images", [row["image"]] if "image" in row else [])
        assert len(images) == len(sample.images)
        for name, value in sample.fields.items():
            assert _present(row[name]) == json.loads(json.dumps(value))


def _present(value: object) -> object:
    """Leave out the nulls of turns and items, which declared columns have for absent fields."""
    if isinstance(value, list):
        return [_present(each) for each in value]
    if isinstance(value, dict):
        always = "drop_reason"
        return {k: _present(v) for k, v in value.items() if v is not None or k == always}
    return value


@pytest.mark.parametrize("library", ["webdataset", "datasets"])
def test_a_missing_library_is_named(
    library: str, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    adapter = adapters.webdataset if library == "webdataset" else adapters.huggingface
    with pytest.raises(ValueError, match=f"pip install {library}"):
        adapter(run)
