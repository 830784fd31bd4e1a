"""The dataset card: features in full, data files by name, counts that read well."""

from __future__ import annotations

from dataclasses import fields

import datasets
import pytest
import yaml

from shards.card import render
from shards.manifest import Manifest, ShardEntry
from shards.sample import FLOAT_FIELDS, ImageSample
from shards.schema import LEVELS

SHARD = ShardEntry(
    name="000000",
    generation=0,
    planned=5,
    samples=3,
    tar_size=10240,
    tar_sha256="0" * 64,
    sidecar_size=100,
    sidecar_sha256="1" * 64,
)
MANIFEST = Manifest(
    stage="download",
    extension="jpg",
    counts={"download": {"in": 5, "out": 3, "left_out": {"http_not_found": 2, "timeout": 0}}},
    fingerprints={},
    shards=(SHARD,),
)


def front_matter(manifest: Manifest) -> dict:
    _, front, _ = render(manifest).split("---\n", 2)
    return yaml.safe_load(front)


def test_data_files_are_the_tars() -> None:
    (config,) = front_matter(MANIFEST)["configs"]
    assert config["data_files"] == [{"split": "train", "path": "shards/*.tar"}]


def test_every_field_of_a_sample_is_declared_with_its_type() -> None:
    declared = datasets.Features._from_yaml_list(front_matter(MANIFEST)["dataset_info"]["features"])
    assert list(declared) == ["jpg", "txt", "json", "__key__", "__url__"]
    whole = {f.name for f in fields(ImageSample) if str(f.type).startswith("int")}
    expected = {
        f.name: "float64" if f.name in FLOAT_FIELDS else "int64" if f.name in whole else "string"
        for f in fields(ImageSample)
    }
    assert {name: value.dtype for name, value in declared["json"].items()} == expected


def test_the_image_column_has_the_runs_format() -> None:
    png = Manifest(**{**vars(MANIFEST), "extension": "png"})
    assert front_matter(png)["dataset_info"]["features"][0] == {"name": "png", "dtype": "image"}


def test_counts() -> None:
    assert front_matter(MANIFEST)["dataset_info"]["splits"] == [
        {"name": "train", "num_examples": 3}
    ]
    assert "| download | 5 | 3 | http_not_found 2 |" in render(MANIFEST)


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_declares_its_members_and_fields(level: str) -> None:
    made = Manifest(**{**vars(MANIFEST), "level": level, "stage": "pack", "counts": {}})
    declared = datasets.Features._from_yaml_list(front_matter(made)["dataset_info"]["features"])
    several = [f"{number}.jpg" for number in range(6)] if level in ("dialogue", "document") else []
    assert [name for name in declared if name.endswith("jpg")] == (
        [] if level == "text" else ["jpg", *several]
    )
    more = {
        "image_text": {"image_id"},
        "grounded": {
            *("noun_chunks", "ref_exps", "phrases"),
            *("detector", "score_threshold", "image_id"),
        },
        "dialogue": {"conversations", "answers", "choices", "image_id"},
        "document": {"items", "image_id"},
        "text": set(),
    }
    added = {*declared["json"]} - {f.name for f in fields(ImageSample)}
    assert added == more[level]
