"""The job on gs:// and s3://: inputs found by glob there, the run written there, same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.pipelines import jobs
from helpers.pipelines.remote_jobs import fetched_copy, flags_elsewhere
from helpers.shards.emulators import gs_emulator, s3_emulator

import shards
from shards.files.store import Store

EMULATORS = {"gs": gs_emulator, "s3": s3_emulator}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[jobs.World]:
    with jobs.world(tmp_path_factory.mktemp("web")) as made:
        yield made


@pytest.fixture(scope="module")
def expected(world: jobs.World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what a local run writes."""
    output = tmp_path_factory.mktemp("local") / "run"
    assert jobs.run(world.flags(output))[0] == 0
    return jobs.covered(output)


@pytest.fixture(scope="module", params=EMULATORS)
def bucket(request: pytest.FixtureRequest) -> Iterator[str]:
    """One server for the module: a process keeps its connections, and they keep the port."""
    with EMULATORS[request.param]() as url:
        yield url


@pytest.fixture
def home(bucket: str, request: pytest.FixtureRequest) -> str:
    """A folder in the bucket for one test."""
    return f"{bucket}/{request.node.originalname}"


def test_the_bytes_are_the_local_runs(
    world: jobs.World, expected: dict[str, str], home: str, tmp_path: Path
) -> None:
    flags = flags_elsewhere(world, home)
    assert sum(f"={home}/metadata/" in flag and "*" in flag for flag in flags) == 3
    assert jobs.run(flags)[0] == 0
    copy = fetched_copy(f"{home}/run", tmp_path / "copy")
    assert jobs.covered(copy) == expected
    assert len([name for name in expected if name.endswith(".tar")]) >= 3

    asked = world.pages.asked.total()
    code, errors = jobs.run(flags)
    assert (code, world.pages.asked.total()) == (0, asked), errors
    assert jobs.covered(fetched_copy(f"{home}/run", tmp_path / "again")) == expected

    keys = [record.sample.key for record in shards.read(f"{home}/run")]
    assert len(set(keys)) == len(keys) == jobs.counts(copy)["download"]["out"]
    assert jobs.run([f"{home}/run"], "pipelines.lint")[0] == 0
    assert jobs.run([f"{home}/run"], "pipelines.report")[0] == 0
    page = Store(f"{home}/run").read("report.html").decode()
    assert "Every row has one place" in page and "does not hold" not in page


@pytest.mark.slow
def test_a_run_stopped_there_goes_on_and_is_an_input(
    world: jobs.World, expected: dict[str, str], home: str, tmp_path: Path
) -> None:
    flags = flags_elsewhere(world, home)
    assert jobs.run([*flags, "--stop_after=filter"])[0] == 0
    goes_on = [f"--output={home}/run", "--num_tasks=2", "--host_rate=127.0.0.1=2000"]
    assert jobs.run(goes_on, "pipelines.download")[0] == 0
    assert jobs.covered(fetched_copy(f"{home}/run", tmp_path / "copy")) == expected
    second = [f"--input=run={home}/run", f"--output={home}/second", "--stop_after=mix"]
    assert jobs.run([*second, "--allow_address=127.0.0.1/32"])[0] == 0
    counts = jobs.counts(fetched_copy(f"{home}/second", tmp_path / "second"))
    assert counts["mix"]["left_out"] == {"duplicate_url": 6, "unsafe_elsewhere": 2}


def test_a_bucket_that_is_not_there_is_one_line(
    world: jobs.World, bucket: str, tmp_path: Path
) -> None:
    absent = bucket.replace("groundwork-test", "nobody-has-this")
    cases = [
        ([*world.flags(tmp_path), f"--output={absent}/run"], f"there is no bucket {absent}"),
        ([*world.flags(tmp_path), f"--input={absent}/*.parquet"], "no such file"),
        ([*world.flags(tmp_path), f"--input={bucket}/none/*.parquet"], "no such file"),
    ]
    for flags, expected in cases:
        code, errors = jobs.run(flags)
        assert (code, expected in errors.splitlines()[-1]) == (2, True), errors
