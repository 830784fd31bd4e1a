"""The job on Beam's portable path: submitted to a job service, pickled, done elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.pipelines import jobs
from helpers.pipelines.portable import portable_options
from helpers.pipelines.remote_jobs import broken_input


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[jobs.World]:
    with jobs.world(tmp_path_factory.mktemp("web")) as made:
        yield made


def test_the_bytes_are_the_local_runs(world: jobs.World, tmp_path: Path) -> None:
    local, portable = tmp_path / "local", tmp_path / "portable"
    assert jobs.run(world.flags(local))[0] == 0
    assert jobs.run(world.flags(portable, *portable_options()))[0] == 0
    assert jobs.covered(portable) == jobs.covered(local)
    assert len([name for name in jobs.covered(portable) if name.endswith(".tar")]) >= 3


def test_a_local_run_goes_on_there(world: jobs.World, tmp_path: Path) -> None:
    assert jobs.run(world.flags(tmp_path, "--stop_after=mix"))[0] == 0
    asked = world.pages.asked.total()
    assert jobs.run(world.flags(tmp_path, *portable_options()))[0] == 0
    assert jobs.counts(tmp_path)["download"]["out"] > 0
    assert world.pages.asked.total() > asked


def test_a_failing_job_says_what_to_do(world: jobs.World, tmp_path: Path) -> None:
    flag, broken = broken_input(world, tmp_path)
    flags = [each for each in world.flags(tmp_path / "run") if not each.startswith("--input")]
    code, errors = jobs.run([*flags, flag, *portable_options()])
    last = errors.splitlines()[-1]
    assert (code, last.startswith(f"error: {broken}: ")) == (2, True), last
    assert "--max_unreadable" in last


def test_local_workers_are_refused_there(world: jobs.World, tmp_path: Path) -> None:
    code, errors = jobs.run(world.flags(tmp_path, "--workers=2", *portable_options()))
    assert (code, errors.count("\n")) == (2, 1)
    assert "--workers is for local runs; PortableRunner" in errors
    assert not list(tmp_path.iterdir())
