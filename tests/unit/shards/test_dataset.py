"""What can be opened, what it is counted as, and what the message says where it cannot."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from helpers.shards.toy_shards import BY_LEVEL, captioned, select, texts, write_run

from shards import manifest
from shards.dataset import open_dataset
from shards.files.store import Store
from shards.lint import lint
from shards.schema import LEVELS


@pytest.mark.parametrize("level", LEVELS)
def test_every_level(level: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", BY_LEVEL[level](10), level=level, shard_size=4)
    dataset = open_dataset(run)
    assert dataset.level == level
    assert dataset.shards == ("000000", "000001", "000002")
    assert dataset.counts == (4, 4, 2) and dataset.samples == 10
    assert dataset.spec == str(run)


@pytest.mark.parametrize("level", ["image_text", "grounded"])
def test_toy_runs_keep_the_contract(level: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", BY_LEVEL[level](12), level=level, shard_size=4, uneven=True)
    assert list(lint(Store(run))) == []
    assert open_dataset(run).counts == (4, 1, 0, 2, 4, 1)


def test_a_manifest_without_level_is_image_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", captioned(2))
    values = json.loads((run / "manifest.json").read_text())
    del values["level"]
    (run / "manifest.json").write_text(json.dumps(values))
    assert open_dataset(run).level == "image_text"
    (run / "manifest.json").write_text(json.dumps({**values, "level": "video"}))
    with pytest.raises(ValueError, match="level 'video' is not one of image_text"):
        open_dataset(run)


def test_the_fingerprint_follows_manifest_and_selection(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", captioned(12), shard_size=4)
    same = write_run(tmp_path / "same", captioned(12), shard_size=4)
    other = write_run(tmp_path / "other", captioned(12, seed=1), shard_size=4)
    assert open_dataset(run).fingerprint == open_dataset(same).fingerprint
    select(run, "half", 2)
    select(run, "third", 3)
    specs = (str(run), str(other), f"{run}@half", f"{run}@third")
    assert len({open_dataset(spec).fingerprint for spec in specs}) == len(specs)
    assert open_dataset(f"{run}@half").counts == (2, 2, 2)


def test_it_is_small_when_pickled(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", texts(300), level="text", shard_size=1)
    dataset = open_dataset(run)
    data = pickle.dumps(dataset)
    assert pickle.loads(data) == dataset
    assert len(data) < 20 * len(dataset.shards)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(ValueError, match="neither a run"):
        open_dataset(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="not finished; run the command that began it"):
        open_dataset(tmp_path)
    with pytest.raises(ValueError, match="no row passed"):
        open_dataset(write_run(tmp_path / "empty", []))


def test_a_run_that_stopped_early_says_how_to_go_on(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", captioned(2))
    found = manifest.read(Store(run))
    stopped = manifest.Manifest(**{**vars(found), "stage": "mix", "shards": ()})
    manifest.write(Store(run), stopped)
    with pytest.raises(ValueError, match=r"stopped after 'mix'.*pipelines\.download --output"):
        open_dataset(run)


def test_runs_without_samples(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", captioned(3))
    found = manifest.read(Store(run))
    none = manifest.ShardEntry(**{**vars(found.shards[0]), "samples": 0})
    select(run, "nothing", 99)
    with pytest.raises(ValueError, match="no finished selection"):
        open_dataset(f"{run}@other")
    manifest.write(Store(run), manifest.Manifest(**{**vars(found), "shards": (none,)}))
    with pytest.raises(ValueError, match="without a single sample"):
        open_dataset(run)
