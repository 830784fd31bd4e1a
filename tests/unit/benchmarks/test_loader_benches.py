"""The benches of the loader at toy size: they run through, and their numbers make sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import data_wait, loader_step, loader_vs_webdataset, training_data
from shards.dataset import open_dataset


@pytest.fixture(scope="module")
def shard(tmp_path_factory) -> Path:
    return training_data.make(tmp_path_factory.mktemp("bench") / "scenes", "scenes", 40, 40)


@pytest.mark.slow
def test_the_loader_bench_gives_costs_and_ratios(tmp_path: Path):
    found = {each.name: each for each in loader_vs_webdataset.figures(tmp_path, 4, 1)}
    assert all(each.value > 0 for each in found.values())
    with_goals = [name for name, each in found.items() if each.goal]
    assert with_goals == [
        "ours : open_clip style",
        "cost of ours : floor",
        "ours : webdataset, reading alone",
    ]


def test_every_pass_goes_through_the_whole_shard(shard: Path):
    passes = (
        loader_step.ours,
        loader_step.webdataset_pipeline,
        loader_step.floor,
        loader_step.read,
        loader_step.webdataset_read,
    )
    lengths = {each.__name__: sum(1 for _ in each(shard)()) for each in passes}
    assert lengths == dict.fromkeys(lengths, open_dataset(shard).samples)


def test_other_pixels_or_tokens_are_no_comparison(shard: Path):
    passes = {
        "ours": loader_step.ours(shard),
        "webdataset": lambda: reversed([*loader_step.webdataset_pipeline(shard)()]),
    }
    with pytest.raises(ValueError, match="sample 0"):
        loader_step.compare(shard, passes)


@pytest.mark.slow
def test_the_data_wait_is_a_share_of_the_logged_time(tmp_path: Path):
    found = {each.name: each for each in data_wait.figures(tmp_path, steps=6, samples=32)}
    share = found["waiting for data"]
    assert 0 <= share.value <= 100
    assert share.met == (share.value < data_wait.SHARE_PERCENT)
    assert found["samples"].value > 0
