"""Runs that were begun before the packages had rooms go on, and end as they would have ended.

The archive holds two runs that were killed, their inputs, and the sha256 of what the code of before
made of them without a kill. It may be retired when the contract's version rises.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import GOLDEN

ARCHIVE = GOLDEN / "runs_before_rooms.tar.xz"
MADE_AT = "/data/before"
"""Where the runs were begun; plans name their inputs by full path."""

FILTER = (
    *(f"--input={name}=metadata/{name}.parquet" for name in ("coyo700m", "generic")),
    "--input=laion2b_en_joined=metadata/laion2b_en_joined.parquet",
    *("--shard_size=8", "--set=coyo700m.nsfw.score.threshold=0.5", "--stop_after=mix"),
)
GROUND = ("--input=pairs", "--detector=blobs", "--spacy_model=lexicon", "--shard_size=4")


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    for file in (*tmp_path.glob("*/_items/**/*.json"), *tmp_path.glob("*/run.json")):
        file.write_text(file.read_text().replace(MADE_AT, str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resume(job: str, *flags: str) -> None:
    main = importlib.import_module(f"pipelines.{job}").main
    assert main([*flags, f"--output={job}_started", "--allow_library_change"]) == 0


def ended_as_before(before: Path, job: str) -> None:
    expected: dict[str, Any] = json.loads((before / "expected.json").read_text())
    run = before / f"{job}_started"
    files = sha256_of(run, {name.partition("/")[0] for name in expected[job]})
    assert files.keys() == expected[job].keys()
    same_libraries = all(
        importlib.metadata.version(name) == version
        for name, version in expected["libraries"].items()
    )
    # Another version of Arrow may write other parquet bytes; tars are ours.
    compared = [name for name in files if same_libraries or name.endswith(".tar")]
    assert [name for name in compared if files[name] != expected[job][name]] == []
    assert json.loads((run / "manifest.json").read_text())["counts"] == expected["counts"][job]


def sha256_of(run: Path, folders: Sequence[str] | set[str]) -> dict[str, str]:
    paths = [path for folder in folders for path in (run / folder).rglob("[!.]*")]
    return {
        os.fspath(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.is_file()
    }


def test_a_metadata_run_goes_on(before: Path) -> None:
    assert not (before / "filter_started" / "plan").exists()
    resume("filter", *FILTER)
    ended_as_before(before, "filter")


def test_a_grounding_run_goes_on(before: Path) -> None:
    labels = before / "ground_started" / "labels"
    written_before = sorted(path.name for path in labels.iterdir())
    assert len(written_before) == 3  # of four: the last one is labelled by this code
    resume("ground", *GROUND)
    ended_as_before(before, "ground")


def test_the_other_jobs_run_is_refused(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module("pipelines.filter").main
    assert main([*FILTER, "--output=ground_started"]) == 2
    assert "holds a run of pipelines.ground, not of pipelines.filter" in capsys.readouterr().err
