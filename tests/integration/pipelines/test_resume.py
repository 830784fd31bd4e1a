"""Promise 2: the same bytes with any workers, after any kill, continued by any command."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.pipelines import jobs

from pipelines.harness import transforms, worker
from pipelines.harness.worker import Work

Bytes = dict[str, str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[jobs.World]:
    with jobs.world(tmp_path_factory.mktemp("web")) as made:
        yield made


@pytest.fixture(scope="module")
def expected(world: jobs.World, tmp_path_factory: pytest.TempPathFactory) -> Bytes:
    """Return what one uninterrupted run with one worker writes."""
    output = tmp_path_factory.mktemp("expected") / "run"
    assert jobs.run(world.flags(output))[0] == 0
    return jobs.covered(output)


@pytest.fixture
def slow(world: jobs.World) -> Iterator[None]:
    world.pages.delay_s = 0.3
    yield
    world.pages.delay_s = 0.0


def test_the_world_has_several_items_in_every_stage(world: jobs.World, tmp_path: Path) -> None:
    assert jobs.run(world.flags(tmp_path))[0] == 0
    markers = {stage: jobs.markers(tmp_path, stage) for stage in ("filter", "mix", "download")}
    assert {stage: len(found) > 3 for stage, found in markers.items()} == dict.fromkeys(
        markers, True
    )
    counts = jobs.counts(tmp_path)
    assert counts["mix"]["left_out"] == {"duplicate_url": 6, "unsafe_elsewhere": 2}
    assert counts["download"]["left_out"] == {"http_not_found": 6}
    assert counts["download"]["out"] == 46


@pytest.mark.parametrize(
    "flags",
    [
        ("--workers=2", "--worker_mode=threads"),
        ("--workers=2", "--worker_mode=threads", "--items_per_process=1", "--connections=3"),
        ("--runner=FnApiRunner", "--num_tasks=2", "--task_index=1"),
    ],
)
def test_how_it_runs_changes_nothing(
    world: jobs.World, expected: Bytes, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    assert jobs.run(world.flags(tmp_path, *flags))[0] == 0
    assert jobs.covered(tmp_path) == expected


def test_a_bundle_that_runs_twice_changes_nothing(
    world: jobs.World, expected: Bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beam may repeat work at any time; its own flag for that reaches it."""
    done: Counter[str | None] = Counter()

    def do_item(work: Work, index: int) -> str | None:
        name = worker.do_item(work, index)
        done[name] += 1
        return name

    monkeypatch.setattr(transforms, "do_item", do_item)
    assert jobs.run(world.flags(tmp_path, "--direct_runner_bundle_repeat=2"))[0] == 0
    assert min(done.values()) >= 2
    assert jobs.covered(tmp_path) == expected


@pytest.mark.slow
def test_two_worker_processes_change_nothing(
    world: jobs.World, expected: Bytes, tmp_path: Path
) -> None:
    with jobs.start(world.flags(tmp_path / "run", "--workers=2"), tmp_path / "log") as child:
        assert child.wait() == 0, child.errors()
    assert jobs.covered(tmp_path / "run") == expected


def test_a_finished_run_again_changes_no_file(world: jobs.World, tmp_path: Path) -> None:
    assert jobs.run(world.flags(tmp_path))[0] == 0
    before, asked = _times(tmp_path), world.pages.asked.total()
    assert jobs.run(world.flags(tmp_path))[0] == 0
    assert world.pages.asked.total() == asked
    after = _times(tmp_path)
    rewritten = {name for name in before if before[name] != after.get(name)}
    assert rewritten <= {"manifest.json", "README.md"}


@pytest.mark.parametrize("stage", ["filter", "mix"])
def test_a_stopped_run_goes_on(
    world: jobs.World, expected: Bytes, tmp_path: Path, stage: str
) -> None:
    assert jobs.run(world.flags(tmp_path, f"--stop_after={stage}"))[0] == 0
    assert "download" not in jobs.counts(tmp_path)
    output = f"--output={tmp_path}"
    assert jobs.run([output, "--host_rate=127.0.0.1=2000"], "pipelines.download")[0] == 0
    assert jobs.covered(tmp_path) == expected


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_of_the_launcher(
    world: jobs.World, expected: Bytes, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    output, moment = tmp_path / "run", dice.randrange(20)
    with jobs.start(world.flags(output), tmp_path / "log") as child:
        assert jobs.until(lambda: len(jobs.markers(output)) >= moment)
        time.sleep(dice.random() / 50)
        child.kill()
    assert jobs.run(world.flags(output))[0] == 0
    assert jobs.covered(output) == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_kill_9_between_two_steps_again_and_again(
    world: jobs.World, expected: Bytes, tmp_path: Path, seed: int
) -> None:
    """Every start dies just before or just after a change that it makes to the run."""
    dice = random.Random(seed)
    output, died = tmp_path / "run", 0
    for _ in range(7):
        step = dice.choice(("publish", "publish", "create", "write", "put", "delete_tree"))
        place = (step, dice.randrange(1, 9), dice.choice((True, False)))
        flags = world.flags(output)
        with jobs.start(flags, tmp_path / "log", patch=die_at, patch_args=place) as child:
            died += child.wait() == -signal.SIGKILL
    assert died > 3
    assert jobs.run(world.flags(output))[0] == 0
    assert jobs.covered(output) == expected


@pytest.mark.parametrize("moment", [1, 2])
def test_kill_9_between_the_two_files_of_a_shard(
    world: jobs.World, expected: Bytes, tmp_path: Path, moment: int
) -> None:
    output = tmp_path / "run"
    assert jobs.run(world.flags(output, "--stop_after=mix"))[0] == 0
    place = ("publish", moment, True)
    flags = world.flags(output, "--items_per_process=1")
    with jobs.start(flags, tmp_path / "log", patch=die_at, patch_args=place) as child:
        assert child.wait() == -signal.SIGKILL
    files = sorted(path.name for path in (output / "shards").iterdir())
    assert len(files) == moment
    assert not jobs.markers(output, "download")
    world.pages.asked.clear()
    assert jobs.run(world.flags(output))[0] == 0
    assert jobs.covered(output) == expected
    claimed = [jobs.paths_of(output, name) for name in jobs.items(output, "download")]
    untouched = sum(all(world.pages.asked[path] == 0 for path in paths) for paths in claimed)
    assert untouched >= 1  # the claim fixed its outcomes: nothing of it is fetched again


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_workers_do_not_outlive_their_killed_launcher(
    world: jobs.World, expected: Bytes, tmp_path: Path, seed: int, slow: None
) -> None:
    """Killed while its workers start (0), killed while they fetch (1)."""
    output = tmp_path / "run"
    assert jobs.run(world.flags(output, "--stop_after=mix"))[0] == 0
    flags = world.flags(output, "--workers=2", "--items_per_process=1")
    with jobs.start(flags, tmp_path / "log") as child:
        if seed:
            assert jobs.until(lambda: jobs.markers(output, "download"))
        assert jobs.until(lambda: len(child.workers()) == 2)
        time.sleep(random.Random(seed).random() / 2)
        child.kill()
        assert jobs.until(lambda: not child.processes(), 10), child.processes()
        before = _times(output)
        time.sleep(1)
        assert _times(output) == before
    world.pages.delay_s = 0.0
    assert jobs.run(world.flags(output))[0] == 0
    assert jobs.covered(output) == expected


@pytest.mark.parametrize("call", [1, 2, 6])
def test_kill_9_while_a_run_is_overwritten(
    world: jobs.World, expected: Bytes, tmp_path: Path, call: int
) -> None:
    """What is left of the old run must not look done."""
    output = tmp_path / "run"
    assert jobs.run(world.flags(output))[0] == 0
    flags, place = world.flags(output, "--overwrite"), ("delete_tree", call, True)
    with jobs.start(flags, tmp_path / "log", patch=die_at, patch_args=place) as child:
        assert child.wait() == -signal.SIGKILL
    assert jobs.run(world.flags(output))[0] == 0
    assert jobs.covered(output) == expected


@pytest.mark.slow
@pytest.mark.parametrize("items_done", [0, 1])
def test_a_killed_worker_ends_the_run(
    world: jobs.World, expected: Bytes, tmp_path: Path, slow: None, items_done: int
) -> None:
    """Killed while it starts, killed while it fetches."""
    output = tmp_path / "run"
    assert jobs.run(world.flags(output, "--stop_after=mix"))[0] == 0
    flags = world.flags(output, "--workers=2", "--items_per_process=1")
    with jobs.start(flags, tmp_path / "log", patch=no_grace) as child:
        assert jobs.until(lambda: len(child.workers()) == 2)
        assert jobs.until(lambda: len(jobs.markers(output, "download")) >= items_done)
        os.kill(random.Random(0).choice(child.workers()), signal.SIGKILL)
        assert child.wait(20) == 3
        # A worker that is killed at once may die before the watchdog has seen it.
        died = r"worker process(?: \d+ died|es died as they started)"
        told = died + r"; ended\. .* run the same command again"
        assert re.search(told, child.errors())
        assert jobs.until(lambda: not child.processes(), 10)
    world.pages.delay_s = 0.0
    assert jobs.run(world.flags(output))[0] == 0
    assert jobs.covered(output) == expected


def test_a_run_that_stands_still_is_ended(world: jobs.World, tmp_path: Path) -> None:
    output = tmp_path / "run"
    world.pages.delay_s = 10.0
    try:
        flags = world.flags(output, "--stall_timeout_s=2", "--lease_s=0.2")
        with jobs.start(flags, tmp_path / "log") as child:
            assert child.wait(20) == 3
            assert "no row and no item finished for 2 s" in child.errors()
    finally:
        world.pages.delay_s = 0.0


def die_at(method: str, call: int, after: bool) -> None:
    """Kill this process before or after the given call of a store's method."""
    from shards.files.store import Store

    original = getattr(Store, method)
    lock, calls = threading.Lock(), iter(range(1, 1_000_000))

    def dying(self: Store, *arguments: Any) -> Any:
        with lock:
            now = next(calls) == call
        if now and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(self, *arguments)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(Store, method, dying)


def no_grace() -> None:
    """Let the watchdog act at once when a worker died."""
    from pipelines.harness import runners

    runners._GRACE_S, runners._POLL_S = 0.05, 0.01


def _times(root: Path) -> dict[str, int]:
    return {
        str(path.relative_to(root)): path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file()
    }
