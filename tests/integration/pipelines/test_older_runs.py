"""A run directory that this release cannot read is refused in one line that says what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.pipelines import jobs
from helpers.shards import toy_shards

RUN: dict[str, Any] = {
    "contract_version": 1,
    "command": ["--output=run"],
    "options": {},
    "library_changes": [],
    "unreadable_inputs": {},
    "rule_settings": {},
}
JOBS = {"filter": "filter", "download": "filter", "ground": "ground", "pack": "pack"}
MANIFEST = {"stage": "filter", "extension": None, "counts": {}, "fingerprints": {}, "shards": []}


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return what each command needs to get as far as its output."""
    folder = tmp_path_factory.mktemp("inputs")
    pq.write_table(pa.table({"url": ["http://a.org/"], "caption": ["a"]}), folder / "a.parquet")
    pairs = toy_shards.write_run(folder / "pairs", toy_shards.captioned(2, size=64))
    (folder / "texts.jsonl").write_text('{"inputs": "a question", "targets": "an answer"}\n')
    return {
        "filter": [f"--input={folder}/a.parquet", "--nsfw_missing=keep"],
        "download": [],
        "ground": [f"--input={pairs}", "--detector=blobs", "--spacy_model=lexicon"],
        "pack": [f"--input={folder}/texts.jsonl", "--format=flan"],
    }


def refused(module: str, argv: list[str]) -> str:
    code, errors = jobs.run(argv, f"pipelines.{module}")
    (line,) = errors.splitlines()
    assert code == 2 and line.startswith("error: "), errors
    return line


def written(folder: Path, name: str, content: object) -> Path:
    folder.mkdir()
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("module", JOBS)
@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"contract_version": 0}, "contract version 0, this release writes version 1; use the"),
        ({"job": "sort"}, "does not know the job 'sort'; use the release that wrote the run"),
        ({"job": None}, "does not know the job None; use the release that wrote the run"),
        ({"command": None}, "has no field 'command'; remove this run, or start again"),
        ({"options": None}, "is not the record of a run; remove this run, or start again"),
    ],
)
def test_run_json_of_another_release(
    module: str, change: dict[str, Any], line: str, flags: dict[str, list[str]], tmp_path: Path
) -> None:
    run = written(tmp_path / "run", "run.json", {**RUN, "job": JOBS[module], **change})
    assert line in refused(module, [*flags[module], f"--output={run}"])
    assert os.listdir(run) == ["run.json"]


@pytest.mark.parametrize("module", JOBS)
@pytest.mark.parametrize("content", ["", '{"job": "fil', "[]", "\x00"])
def test_a_damaged_run_json(
    module: str, content: str, flags: dict[str, list[str]], tmp_path: Path
) -> None:
    run = written(tmp_path / "run", "run.json", content)
    line = refused(module, [*flags[module], f"--output={run}"])
    assert f"{run}/run.json is not" in line and "start again with another --output" in line


def test_download_names_the_option_that_a_run_lacks(tmp_path: Path) -> None:
    run = written(tmp_path / "run", "run.json", {**RUN, "job": "filter"})
    line = refused("download", [f"--output={run}"])
    assert f"{run}/run.json has no value for store, image_size" in line and "resume with" in line
    del (facts := {**RUN, "job": "filter"})["rule_settings"]
    (run / "run.json").write_text(json.dumps(facts))
    assert "has no field 'rule_settings'; remove this run" in refused(
        "download", [f"--output={run}"]
    )


def test_overwrite_takes_a_run_of_an_older_contract(
    flags: dict[str, list[str]], tmp_path: Path
) -> None:
    older = {**RUN, "job": "filter", "contract_version": 0}
    run = written(tmp_path / "run", "run.json", older)
    argv = [*flags["filter"], f"--output={run}", "--stop_after=filter"]
    assert jobs.run([*argv, "--overwrite"])[0] == 0
    assert json.loads((run / "run.json").read_text())["contract_version"] == 1


@pytest.mark.parametrize("module", ["report", "lint"])
@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({**MANIFEST, "contract_version": 0}, "contract version 0, this is version 1; use the"),
        (MANIFEST, "contract version None, this is version 1; use the release that wrote it"),
        ({"contract_version": 1}, "another layout ('shards'); use the release that wrote it"),
        ({**MANIFEST, "contract_version": 1, "parts": 3}, "'parts'); use the release that wrote"),
        ('{"stage"', "is not JSON"),
        ("[]", "contract version None"),
    ],
)
def test_a_manifest_of_another_release(
    module: str, content: object, line: str, tmp_path: Path
) -> None:
    run = written(tmp_path / "run", "manifest.json", content)
    assert line in refused(module, [str(run)])


def test_report_refuses_a_run_json_of_another_release(tmp_path: Path) -> None:
    run = written(tmp_path / "run", "manifest.json", {**MANIFEST, "contract_version": 1})
    for change, line in (
        ({"contract_version": 0}, "contract version 0"),
        ({"job": "sort"}, "does not know the job 'sort'"),
        ({"options": 3}, "is not the record of a run"),
    ):
        (run / "run.json").write_text(json.dumps({**RUN, "job": "filter", **change}))
        assert line in refused("report", [str(run)])
