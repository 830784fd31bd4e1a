"""A run whose labels number kept phrases only, as all did before format 2, resumes and reads right.

The archive holds such a run, killed after half of its labels, its input, and the sha256 of what the
code that began it made of both without a kill. It may be retired when the contract's version rises.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.paths import GOLDEN

from examples.scenes import scene
from grounding.label_files import open_labels
from grounding.samples import open_grounded, samples
from pipelines.ground import main
from shards.files.store import Store
from shards.lint import lint

FLAGS = ("--input=pairs", "--detector=blobs", "--spacy_model=lexicon", "--shard_size=4")
OLD, NEW = "labels/000000-00.parquet", "labels/000001-00.parquet"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with tarfile.open(GOLDEN / "labels_before_format_2.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "ground_started"


def resume(run: Path) -> None:
    flags = ("--policy=fill_single", "--allow_library_change", f"--output={run.name}")
    assert main([*FLAGS, *flags]) == 0


def boxed(captions: dict[str, str]) -> dict[str, set[str]]:
    """Return the words that have boxes in the labels of the run, by key."""
    return {
        key: {captions[key][row.start : row.end] for row in grounding.noun_chunks}
        for key, grounding in open_labels("ground_started").read()
    }


def shown(caption: str) -> set[str]:
    """Return the phrases of the shapes that the picture shows: `It is … scene 7 with them`."""
    number = int(caption.rpartition("scene ")[2].partition(" ")[0])
    return {shape.phrase for shape in scene(number, (96, 96)).shapes}


def test_boxes_are_of_the_phrases_that_they_show(run: Path) -> None:
    tables = [pq.read_table(file) for file in sorted(Path("pairs/shards").glob("*.parquet"))]
    captions = {row["key"]: row["caption"] for table in tables for row in table.to_pylist()}
    of_old = boxed(captions)
    assert of_old and of_old == {key: shown(captions[key]) for key in of_old}
    resume(run)
    of_both = boxed(captions)
    assert len(of_both) > len(of_old)
    assert of_both == {key: shown(captions[key]) for key in of_both}


def test_it_ends_as_it_would_have_ended(run: Path) -> None:
    before = (run / OLD).read_bytes()
    resume(run)
    assert (run / OLD).read_bytes() == before
    assert pq.read_schema(run / OLD).metadata is None
    assert pq.read_schema(run / NEW).metadata == {b"format": b"2"}
    assert [str(finding) for finding in lint(Store(run))] == []
    assert all(sample.grounding.phrases[0].drop_reason for sample in samples(open_grounded(run)))
    expected = json.loads(Path("expected.json").read_text())
    same_libraries = all(
        importlib.metadata.version(name) == version
        for name, version in expected["libraries"].items()
    )
    # Another version of Arrow may write other parquet bytes; tars are ours.
    for name, sha256 in expected["files"].items():
        if same_libraries or name.endswith(".tar"):
            assert hashlib.sha256((run / name).read_bytes()).hexdigest() == sha256, name
