"""The job on Dataflow's API: three graphs, done by workers that have Beam, core and the sdist.

The command runs as users type it, in a process of its own where the entry module is
`__main__`; the stub runs each graph before it answers DONE, so the next stage's plan is
made from that one's markers.
"""

from __future__ import annotations

import base64
import bz2
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.pipelines import jobs, worker_env
from helpers.pipelines.dataflow_stub import DataflowStub
from helpers.pipelines.remote_jobs import broken_input
from packaging.utils import canonicalize_name

from scripts.worker_requirements import ROOT, closure, core_requirements

pytestmark = pytest.mark.slow

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-s3-0c2f",
    "HF_TOKEN": "a-secret-of-a-hub-91ab",
    "HTTPS_PROXY_PASSWORD": "a-secret-of-a-proxy-77de",
}

# `python -m pipelines.filter` with several items in every stage: planning's constants.
COMMAND = f"""
import runpy
from pipelines.filter_job import items
items.ROWS_PER_ITEM, items.ROWS_PER_BUCKET = {jobs.ROWS_PER_ITEM}, {jobs.ROWS_PER_BUCKET}
runpy.run_module("pipelines.filter", run_name="__main__", alter_sys=True)
"""


@dataclass
class Launched:
    """A command that has ended, and the service that it used."""

    stub: DataflowStub
    code: int
    errors: str
    output: Path


def launch(flags: Sequence[str], output: Path) -> Launched:
    """Run the command against a stub of its own."""
    with DataflowStub(worker_env.worker_python()) as stub:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *flags, *stub.options(), "--setup_file=./setup.py"],
            cwd=ROOT,
            env={**os.environ, **stub.environment(), **SECRETS},
            capture_output=True,
            text=True,
            timeout=240,
        )
    return Launched(stub, done.returncode, done.stderr, output)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[jobs.World]:
    with jobs.world(tmp_path_factory.mktemp("web")) as made:
        yield made


@pytest.fixture(scope="module")
def launched(world: jobs.World, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """One whole job."""
    output = tmp_path_factory.mktemp("dataflow") / "run"
    found = launch(world.flags(output), output)
    assert found.code == 0, found.errors + "".join(run.log_tail() for run in found.stub.runs)
    return found


def test_the_bytes_are_the_local_runs(
    world: jobs.World, launched: Launched, tmp_path: Path
) -> None:
    assert jobs.run(world.flags(tmp_path))[0] == 0
    expected = jobs.covered(tmp_path)
    assert jobs.covered(launched.output) == expected
    assert len([name for name in expected if name.endswith(".tar")]) >= 3


def test_every_stage_is_a_job_of_its_own(launched: Launched) -> None:
    names = [body["name"].split("-")[:2] for body in launched.stub.jobs]
    assert names == [["groundwork", stage] for stage in ("filter", "mix", "download")]
    assert [run.state for run in launched.stub.runs] == ["DONE"] * 3
    for stage in ("filter", "mix", "download"):
        assert len(jobs.markers(launched.output, stage)) == len(jobs.items(launched.output, stage))
        assert len(jobs.items(launched.output, stage)) > 1


def test_job_bodies_hold_no_secret_and_no_path(launched: Launched) -> None:
    for body in launched.stub.jobs:
        text = json.dumps(body)
        for unwanted in (*SECRETS.values(), str(ROOT), sys.prefix, str(launched.output)):
            assert unwanted not in text
        options = body["environment"]["sdkPipelineOptions"]["options"]
        assert options["setup_file"] == "./setup.py"
        assert options["save_main_session"] is False


def test_nothing_that_is_staged_holds_a_secret(launched: Launched) -> None:
    blobs = [*launched.stub.staged.values(), *_all_pickles(launched)]
    for secret in SECRETS.values():
        assert not [blob for blob in blobs if secret.encode() in blob]


def test_graphs_need_nothing_of_main(launched: Launched) -> None:
    pickles = _all_pickles(launched)
    ours = [each for each in pickles if b"pipelines.harness.transforms" in each]
    assert len(ours) == 3
    for stage, each in zip(("Filter", "Mix", "Download"), ours, strict=True):
        assert f"{stage}Config".encode() in each and b"_DoItem" in each
    assert not [each for each in pickles if b"__main__" in each]


def test_workers_have_core_beam_and_no_more() -> None:
    code = (
        "import importlib.util as u, json, sys; from importlib import metadata as m;"
        "have = [d.metadata['Name'] for d in m.distributions()];"
        "print(json.dumps([have, [n for n in sys.argv[1:] if u.find_spec(n)]]))"
    )
    absent = [
        "torch",
        "spacy",
        "rich",
        "jinja2",
        "matplotlib",
        "transformers",
        "s3fs",
        "pytest",
        "shards",
        "pipelines",
    ]
    done = subprocess.run(
        [worker_env.worker_python(), "-P", "-s", "-c", code, *absent],
        cwd="/",
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    have, present = json.loads(done.stdout)
    assert present == []
    assert {canonicalize_name(name) for name in have} == closure(core_requirements())


def test_a_failing_job_ends_the_command_with_its_reason(world: jobs.World, tmp_path: Path) -> None:
    flag, broken = broken_input(world, tmp_path)
    output = tmp_path / "run"
    flags = [each for each in world.flags(output) if not each.startswith("--input")]
    found = launch([*flags, flag], output)
    last = found.errors.splitlines()[-1]
    assert (found.code, [run.state for run in found.stub.runs]) == (2, ["FAILED"]), found.errors
    assert last.startswith(f"error: {broken}: ") and "--max_unreadable" in last
    assert not (output / "plan").exists(), "a stage begins when the one before is done"


def _all_pickles(launched: Launched) -> list[bytes]:
    """Return what the graphs carry for workers to unpickle, decompressed, in job order."""
    return [
        bz2.decompress(base64.b64decode(payload))
        for name, data in launched.stub.staged.items()
        if name.endswith("/pipeline.pb")
        for payload in _payloads(data)
        if payload.startswith(b"QlpoO")  # bz2's magic number in base64
    ]


def _payloads(graph: bytes) -> Iterator[bytes]:
    """Yield every payload of a graph that Beam's Python worker would unpickle."""
    from apache_beam.portability.api import beam_runner_api_pb2 as api
    from apache_beam.portability.common_urns import primitives

    components = api.Pipeline.FromString(graph).components
    for transform in components.transforms.values():
        if transform.spec.urn == primitives.PAR_DO.urn:
            yield api.ParDoPayload.FromString(transform.spec.payload).do_fn.payload
    for holder in (components.coders, components.windowing_strategies):
        for each in holder.values():
            yield (each.spec if hasattr(each, "spec") else each.window_fn).payload
