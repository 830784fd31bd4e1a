"""Several launchers share one output: the bytes of one, and nothing is fetched twice."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from helpers.pipelines import jobs

from pipelines.harness import worker
from pipelines.harness.leases import LeaseKeeper, Running, held_by_others
from shards.files.commit import Attempt, ItemId, Result, commit
from shards.files.store import Store

LEASE_S = 1.0
ITEM = ItemId("download", "000000")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[jobs.World]:
    with jobs.world(tmp_path_factory.mktemp("web")) as made:
        yield made


@pytest.mark.slow
def test_three_launchers_of_which_one_is_killed(world: jobs.World, tmp_path: Path) -> None:
    assert jobs.run(world.flags(tmp_path / "expected"))[0] == 0
    world.pages.asked.clear()
    world.pages.delay_s = 0.4
    output, lost = tmp_path / "run", set[str]()
    with ExitStack() as stack:
        launchers = [stack.enter_context(_launcher(world, output, i)) for i in range(3)]
        assert jobs.until(lambda: _held(output, "task-1"))
        launchers[1].kill()
        lost = _held(output, "task-1")
        for index in (0, 2):
            assert launchers[index].wait() == 0, launchers[index].errors()
    world.pages.delay_s = 0.0

    assert jobs.covered(output) == jobs.covered(tmp_path / "expected")
    fetched = {
        name: max(world.pages.asked[path] for path in jobs.paths_of(output, name))
        for name in jobs.items(output, "download")
    }
    assert {name for name, times in fetched.items() if times > 1} <= lost
    assert set(fetched.values()) <= {1, 2}


def test_a_launcher_helps_with_the_share_of_one_that_never_came(
    world: jobs.World, tmp_path: Path
) -> None:
    flags = ("--num_tasks=3", "--task_index=2", "--lease_s=1")
    assert jobs.run(world.flags(tmp_path / "run", *flags))[0] == 0
    assert jobs.run(world.flags(tmp_path / "expected"))[0] == 0
    assert jobs.covered(tmp_path / "run") == jobs.covered(tmp_path / "expected")


def test_two_whole_launchers_at_once_are_welcome(world: jobs.World, tmp_path: Path) -> None:
    """Neither was told of the other: work is done twice, bytes are the same."""
    assert jobs.run(world.flags(tmp_path / "expected"))[0] == 0
    output = tmp_path / "run"
    with ExitStack() as stack:
        pair = [
            stack.enter_context(jobs.start(world.flags(output), tmp_path / f"log{i}"))
            for i in range(2)
        ]
        assert [each.wait() for each in pair] == [0, 0], "".join(each.errors() for each in pair)
    assert jobs.covered(output) == jobs.covered(tmp_path / "expected")


def test_one_of_many_takes_a_lease(tmp_path: Path) -> None:
    store, start = Store(tmp_path), threading.Barrier(8)
    end = threading.Event()

    def hold(number: int) -> bool:
        keeper = LeaseKeeper(store, f"task-{number}", LEASE_S)
        start.wait(10)
        with keeper.hold(ITEM, True) as running:
            if running is not None:
                end.wait(0.5)
            return running is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(hold, range(8))) == 1
    assert not store.exists(ITEM.lease)


@pytest.mark.parametrize(
    ("holder", "age_s", "taken"),
    [
        ("task-1", 0.0, False),  # alive
        ("task-1", 3.5, True),  # three intervals without a sign
        ("task-0", 0.0, True),  # its own, from before a restart
    ],
)
def test_whose_lease_can_be_taken_over(
    tmp_path: Path, holder: str, age_s: float, taken: bool
) -> None:
    store = Store(tmp_path)
    store.write(ITEM.lease, json.dumps({"holder": holder, "rows_done": 0}).encode())
    _age(tmp_path / ITEM.lease, age_s)
    with LeaseKeeper(store, "task-0", LEASE_S).hold(ITEM, True) as running:
        assert (running is not None) == taken
    assert store.exists(ITEM.lease) == (not taken)


def test_a_lease_is_kept_alive(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with LeaseKeeper(store, "task-1", 0.1).hold(ITEM, True) as running:
        assert running is not None
        running.rows_done = 7
        time.sleep(0.5)
        assert held_by_others(store, ITEM.stage, "task-0", 0.1) == {ITEM.item}
        assert json.loads(store.read(ITEM.lease))["rows_done"] == 7
    assert held_by_others(store, ITEM.stage, "task-0", 0.1) == set()


def test_an_item_that_was_finished_while_we_waited_is_not_done_again(tmp_path: Path) -> None:
    """The last holder ends between our look at the marker and our look at the lease."""
    store, config = Store(tmp_path), _Counting()
    store.write("_items/download/00000.json", b'[{"name": "000000"}]')
    work = worker.Work(
        root=store.root,
        config=config,
        plan="download",
        per_file=1,
        fingerprint=store.root,
        respect_leases=True,
    )
    gate = threading.BoundedSemaphore(1)
    gate.acquire()  # this process is busy with another item
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(worker.do_item, work, 0, gate)
        time.sleep(0.2)
        config.process(store, {}, Running(ITEM))  # the other launcher
        gate.release()
        assert waiting.result(10) == "000000"
    assert config.done == 1


class _Counting:
    stage = "download"
    done = 0

    def process(self, store: Store, record: dict[str, str], running: Running) -> Result:
        self.done += 1
        with Attempt(store, running.item) as attempt:
            Path(attempt.path("shards/000000.tar")).write_bytes(b"tar")
            return commit(attempt, {}, claimed=True, run={})


def _launcher(world: jobs.World, output: Path, index: int) -> AbstractContextManager[jobs.Child]:
    flags = ("--num_tasks=3", f"--task_index={index}", f"--lease_s={LEASE_S}")
    more = ("--items_per_process=1", "--gc_min_age_s=3600")
    return jobs.start(world.flags(output, *flags, *more), output.parent / f"log{index}")


def _held(output: Path, holder: str) -> set[str]:
    """Return the shards that a launcher works on, from its leases."""
    held = set()
    for path in (output / "leases" / "download").glob("[!.]*.json"):
        try:
            held |= {path.stem} if json.loads(path.read_text())["holder"] == holder else set()
        except FileNotFoundError:
            continue
    return held


def _age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))
