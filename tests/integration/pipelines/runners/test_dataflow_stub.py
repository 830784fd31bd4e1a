"""The stub takes a job from the real DataflowRunner and runs it from what was staged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.pipelines import worker_env
from helpers.pipelines.dataflow_stub import DataflowStub

LAUNCHER = """
import sys
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
import tinyworker

output, *options = sys.argv[1:]
with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
    numbers = pipeline | beam.Create([1, 2, 3]) | beam.Reshuffle()
    numbers | beam.Map(tinyworker.work, output)
"""
WORKER = """
import os
def work(number, output):
    if os.path.basename(output) == "broken":
        raise ValueError(f"number {number} is out of luck")
    with open(os.path.join(output, str(number)), "w") as file:
        file.write(__file__)
"""
SETUP = "from setuptools import setup\nsetup(name='tiny', version='1', py_modules=[{modules}])\n"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A folder with a launcher, the module its workers need and a setup.py that stages it."""
    (tmp_path / "launch.py").write_text(LAUNCHER)
    (tmp_path / "tinyworker.py").write_text(WORKER)
    (tmp_path / "setup.py").write_text(SETUP.format(modules="'tinyworker'"))
    return tmp_path


def launch(job: Path, stub: DataflowStub, name: str) -> subprocess.CompletedProcess[str]:
    """Run the launcher in a process of its own; its output folder is `name`."""
    (job / name).mkdir()
    return subprocess.run(
        [sys.executable, "launch.py", str(job / name), *stub.options(), "--setup_file=./setup.py"],
        cwd=job,
        env={**os.environ, **stub.environment()},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_recorded_graph_runs_from_what_was_staged(job: Path) -> None:
    with DataflowStub(worker_env.worker_python()) as stub:
        done = launch(job, stub, "good")
        assert done.returncode == 0, done.stderr[-3000:] + stub.runs[0].log_tail()
        assert [run.state for run in stub.runs] == ["DONE"]
    written = {path.name: path.read_text() for path in (job / "good").iterdir()}
    assert written.keys() == {"1", "2", "3"}
    assert all("groundwork-job-" in text for text in written.values()), "not the staged module"
    assert {name.rpartition("/")[2] for name in stub.staged} >= {"pipeline.pb", "workflow.tar.gz"}
    (body,) = stub.jobs
    assert body["environment"]["sdkPipelineOptions"]["options"]["project"] == "groundwork-test"


def test_a_failing_graph_fails_the_launcher_with_its_reason(job: Path) -> None:
    with DataflowStub(worker_env.worker_python()) as stub:
        done = launch(job, stub, "broken")
        assert [run.state for run in stub.runs] == ["FAILED"]
    assert done.returncode != 0
    assert "is out of luck" in done.stderr


def test_a_module_that_is_not_staged_fails_the_job(job: Path) -> None:
    (job / "setup.py").write_text(SETUP.format(modules=""))
    with DataflowStub(worker_env.worker_python()) as stub:
        done = launch(job, stub, "unstaged")
    assert done.returncode != 0
    assert "No module named 'tinyworker'" in done.stderr


def test_without_a_worker_jobs_are_only_recorded(job: Path) -> None:
    with DataflowStub() as stub:
        done = launch(job, stub, "recorded")
        assert done.returncode == 0, done.stderr[-3000:]
    assert len(stub.jobs) == 1
    assert list((job / "recorded").iterdir()) == []


def test_the_worker_environment_has_core_and_beam_only() -> None:
    code = (
        "import importlib.util as u, sys;"
        "print([n for n in sys.argv[1].split() if u.find_spec(n)]);"
        "import apache_beam, gcsfs, pyarrow, pycurl, simplejpeg, xxhash, idna, PIL, certifi"
    )
    absent = "torch spacy rich pytest tyro matplotlib s3fs transformers shards"
    done = subprocess.run(
        [worker_env.worker_python(), "-P", "-s", "-c", code, absent],
        capture_output=True,
        text=True,
        timeout=60,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        cwd="/",
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
