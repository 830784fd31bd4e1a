"""A detector of the user's own: run when the command line names it, not because a run does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.extending import example
from helpers.paths import ROOT
from helpers.pipelines import jobs
from helpers.shards import toy_shards

from grounding.detectors.forms import listed

MODULE = "pipelines.ground"
DETECTOR = "module:my_detectors:make"
CODE = """
from grounding.detectors.blobs import BlobDetector

class Mine(BlobDetector):
    name = "mine"

def make(*, device, precision, batch, options):
    return Mine()
"""


OWN_FILE = (".", "my_detectors", CODE, DETECTOR)
DECLARED = ("grounding/detectors", "whole", example("detector"), "whole")


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the flags of a small run, without a detector."""
    (tmp_path / "my_detectors.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    pairs = toy_shards.write_run(tmp_path / "pairs", toy_shards.captioned(6, size=96), shard_size=6)
    return [
        *(f"--input={pairs}", f"--output={tmp_path / 'out'}", "--spacy_model=lexicon"),
        *("--worker_mode=threads", "--lease_s=1"),
    ]


@pytest.mark.parametrize(("folder", "stem", "code", "detector"), [OWN_FILE, DECLARED])
def test_worker_processes_run_an_added_detector(
    folder: str, stem: str, code: str, detector: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    no_cache = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "grounding", source / "grounding", ignore=no_cache)
    (source / folder / f"{stem}.py").write_text(code, encoding="utf-8")
    pairs = toy_shards.write_run(tmp_path / "pairs", toy_shards.captioned(6, size=96), shard_size=6)
    flags = [f"--input={pairs}", f"--output={tmp_path / 'out'}", f"--detector={detector}"]
    done = subprocess.run(
        [sys.executable, "-m", MODULE, *flags, "--spacy_model=lexicon", "--stop_after=labels"],
        env={**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{ROOT}"},
        cwd=source,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (
        json.loads((tmp_path / "out" / "run.json").read_text())["options"]["detector"] == detector
    )
    assert list((tmp_path / "out" / "labels").iterdir())


def test_a_run_names_no_code_without_allow_code(tmp_path: Path, flags: list[str]) -> None:
    code, errors = jobs.run([*flags, f"--detector={DETECTOR}", "--stop_after=phrases"], MODULE)
    assert code == 0, errors

    code, errors = jobs.run(flags, MODULE)
    assert code == 2 and errors.count("\n") == 1
    assert f"{tmp_path}/out/run.json names the detector {DETECTOR}, which is code" in errors
    assert not (tmp_path / "out" / "labels").exists()

    code, errors = jobs.run([*flags, "--allow_code", "--stop_after=labels"], MODULE)
    assert code == 0, errors
    before = jobs.covered(tmp_path / "out", ("labels",))
    assert before

    code, errors = jobs.run([*flags, f"--detector={DETECTOR}"], MODULE)
    assert code == 0, errors
    assert jobs.covered(tmp_path / "out", ("labels",)) == before


def test_a_run_that_was_begun_keeps_its_detector(tmp_path: Path, flags: list[str]) -> None:
    begun = [*flags, "--detector=blobs", "--second_detector=blobs", "--stop_after=labels"]
    code, errors = jobs.run(begun, MODULE)
    assert code == 0, errors
    code, errors = jobs.run(flags, MODULE)
    assert code == 0, errors
    code, errors = jobs.run([*flags, "--overwrite"], MODULE)
    assert code == 2 and f"--detector is missing; give one of {listed()}" in errors
