"""Plans: every row in one item, the same items whatever the order, numbers without gaps."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.filter_job import items
from pipelines.filter_job.items import FilterItem, MixItem, Segment
from pipelines.filter_job.run import _mix_items, _packed_segments
from pipelines.harness import planfile
from pipelines.harness.fingerprint import Fingerprint, differences, only_libraries
from pipelines.harness.items import PlannedShard, planned_shards
from pipelines.harness.launch import Done, Launch, check_fingerprint, plan_stage
from pipelines.metadata.files import Extent, InputFile
from shards.files.store import Store

ROWS = items.ROWS_PER_ITEM


def parquet(name: str, groups: list[int], source: str = "generic") -> InputFile:
    """Describe a parquet file with row groups of so many rows."""
    extents = tuple(Extent(rows, i, i + 1) for i, rows in enumerate(groups))
    return InputFile(source, name, f"/data/{name}", 1000, "hash", extents, ("url", "caption"))


def text(name: str, size: int) -> InputFile:
    """Describe a text file, whose rows nobody has counted."""
    extents = (Extent(None, 10, None),)
    return InputFile("generic", name, f"/data/{name}", size, "changed 1", extents, ("0", "1"))


FILES = st.lists(st.lists(st.integers(0, 2 * ROWS), max_size=6), max_size=6).map(
    lambda groups: [parquet(f"{i:02}.parquet", each) for i, each in enumerate(groups)]
)


@given(FILES, st.none() | st.integers(1, 4 * ROWS), st.randoms(use_true_random=False))
def test_every_row_is_in_one_item(
    files: list[InputFile], limit: int | None, dice: random.Random
) -> None:
    planned = items.filter_items(files, limit)
    total = sum(file.rows or 0 for file in files)
    assert sum(item.rows for item in planned) == (total if limit is None else min(limit, total))
    assert [item.name for item in planned] == [f"part-{i:05d}" for i in range(len(planned))]

    ends = dict.fromkeys((file.name for file in files), (0, 0))  # rows, row groups
    for piece in (piece for item in planned for piece in item.pieces):
        assert (piece.first_row, piece.start) == ends[piece.name]
        ends[piece.name] = (piece.first_row + (piece.rows or 0), piece.end or 0)

    shuffled = list(files)
    dice.shuffle(shuffled)
    assert items.filter_items(shuffled, limit) == planned


@given(FILES)
def test_items_are_no_larger_than_they_must_be(files: list[InputFile]) -> None:
    for item in items.filter_items(files, None):
        one_group = len(item.pieces) == 1 and item.pieces[0].end == item.pieces[0].start + 1
        assert item.rows <= ROWS or one_group


def test_a_limit_counts_each_source_alone() -> None:
    files = [parquet("a", [5, 5], "coyo700m"), parquet("b", [5]), parquet("c", [5])]
    planned = items.filter_items(files, 7)
    pieces = [(p.source, p.name, p.rows) for item in planned for p in item.pieces]
    assert pieces == [("coyo700m", "a", 7), ("generic", "b", 5), ("generic", "c", 2)]


def test_sources_never_share_an_item() -> None:
    planned = items.filter_items([parquet("a", [5], "coyo700m"), parquet("b", [5])], None)
    assert [item.source for item in planned] == ["coyo700m", "generic"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], 1),
        ([parquet("a", [0])], 1),
        ([parquet("a", [2_000_000])], 1),
        ([parquet("a", [2_000_001])], 2),
        ([parquet("a", [4_000_000]), parquet("b", [4_000_000])], 4),
        ([parquet("a", [4_000_000]), parquet("b", [4_000_001])], 8),
        ([text("a.csv", 600_000_000)], 2),  # 200 bytes a row are a guess
    ],
)
def test_buckets_hold_two_million_input_rows(files: list[InputFile], expected: int) -> None:
    assert items.num_buckets(files) == expected


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 9))
def test_shards_are_numbered_through_the_buckets(planned: list[int], shard_rows: int) -> None:
    names = [f"bucket-{i:04d}" for i in range(len(planned))]
    shards = list(planned_shards(zip(names, planned, strict=True), shard_rows))
    assert [shard.name for shard in shards] == [f"{i:06d}" for i in range(len(shards))]
    assert all(0 < shard.rows <= shard_rows for shard in shards)
    for name, rows in zip(names, planned, strict=True):
        mine = [shard for shard in shards if shard.plan == f"plan/{name}.parquet"]
        assert sum(shard.rows for shard in mine) == rows
        assert [shard.row_group for shard in mine] == list(range(len(mine)))


SIZES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=4, max_size=4)


@given(st.lists(st.lists(SIZES, max_size=3), min_size=1, max_size=4))
def test_segments_lie_behind_one_another_in_their_file(
    parts: list[list[list[tuple[int, int]]]],
) -> None:
    done = [_part(f"part-{i:05d}", runs) for i, runs in enumerate(parts)]
    planned = list(_mix_items(done))
    assert [item.name for item in planned] == [f"bucket-{i:04d}" for i in range(4)]
    by_file: dict[str, list[tuple[int, int]]] = {}
    for item in planned:
        for s in item.segments:
            assert s.rows_bytes + s.tombstones_bytes > 0
            by_file.setdefault(s.file, []).append((s.offset, s.rows_bytes + s.tombstones_bytes))
    for part in done:
        at = 0
        for offset, size in sorted(by_file.get(f"buckets/{part.name}.arrows", [])):
            assert offset == at
            at += size
        assert at == sum(int(sizes.sum()) for _, sizes in part.result["runs"])


def test_without_parts_there_is_one_empty_bucket() -> None:
    assert list(_mix_items([])) == [MixItem(name="bucket-0000", segments=())]


ITEMS = [
    *items.filter_items([parquet("a", [5, 6]), text("b.csv", 100)], None),
    replace(items.filter_items([parquet("a", [5])], None)[0], name="part-00009"),
    MixItem(
        name="bucket-0000",
        segments=(Segment(file="f", offset=1, rows_bytes=2, tombstones_bytes=3),),
    ),
    PlannedShard(name="000000", plan="plan/bucket-0000.parquet", row_group=0, rows=5),
]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: f"{type(item).__name__} {item.name}")
def test_items_survive_their_file(item: Any, tmp_path: Path) -> None:
    store = Store(tmp_path)
    planfile.write(store, "stage", "print", {}, [item], 1)
    assert type(item).from_json(planfile.read_one(store, "stage", 0, 1, "print")) == item


def test_a_plan_of_many_files_is_read_one_by_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = [PlannedShard(name=f"{i:06d}", plan="p", row_group=i, rows=1) for i in range(10)]
    planfile.write(store, "download", "many", {"--seed": 0}, iter(plan), 4)
    assert planfile.read_head(store, "download") == {
        "fingerprint": "many",
        "facts": {"--seed": 0},
        "names": [item.name for item in plan],
        "per_file": 4,
    }
    assert [r["name"] for r in planfile.read_all(store, "download")] == [i.name for i in plan]
    one_by_one = [planfile.read_one(store, "download", i, 4, "many")["name"] for i in range(10)]
    assert one_by_one == [item.name for item in plan]
    assert planfile.read_head(store, "mix") is None


WAS = Fingerprint("filter", {"--seed": 0, "input generic a": "10 bytes", "libraries.numpy": "2.0"})


@pytest.mark.parametrize(
    ("changed", "libraries_only"),
    [
        ({"libraries.numpy": "2.1"}, True),
        ({"libraries.torch": "2.9"}, True),
        ({"--seed": 1}, False),
        ({"--seed": 1, "libraries.numpy": "2.1"}, False),
        ({"input generic b": "5 bytes"}, False),
        ({"input generic libraries.parquet": "5 bytes"}, False),  # a file may be called anything
    ],
)
def test_what_a_restart_may_change(
    tmp_path: Path, changed: dict[str, Any], libraries_only: bool
) -> None:
    store, now = Store(tmp_path), Fingerprint("filter", {**WAS.facts, **changed})
    plan_stage(store, WAS, items.filter_items([parquet("a", [5])], None))
    assert check_fingerprint(store, WAS, False) == []
    assert only_libraries(differences(WAS.facts, now.facts)) == libraries_only
    with pytest.raises(ValueError, match="holds another run") as error:
        check_fingerprint(store, now, False)
    name, value = next(iter(changed.items()))
    assert f"{name}: was {WAS.facts.get(name)!r}, now {value!r}" in str(error.value)
    assert "--overwrite" in str(error.value) and "another --output" in str(error.value)
    assert ("--allow_library_change" in str(error.value)) == libraries_only
    if libraries_only:
        assert check_fingerprint(store, now, True) == [
            f"{name}: was {WAS.facts.get(name)!r}, now {value!r}"
        ]
    else:
        with pytest.raises(ValueError, match="holds another run"):
            check_fingerprint(store, now, True)


def test_a_recorded_plan_stays_in_force(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert plan_stage(store, WAS, items.filter_items([parquet("a", [5])], None)) == WAS.digest
    assert plan_stage(store, Fingerprint("filter", {}), None) == WAS.digest


def test_a_holder_keeps_its_name_over_restarts(tmp_path: Path) -> None:
    first, again = (Launch(store=Store(tmp_path), num_tasks=3, task_index=1) for _ in range(2))
    assert first.holder == again.holder == "task-1"


def _part(name: str, runs: list[list[tuple[int, int]]]) -> Done:
    recorded, offset = [], 0
    for sizes in runs:
        recorded.append({"offset": offset, "sizes": [list(pair) for pair in sizes]})
        offset += sum(map(sum, sizes))
    return Done(name, _packed_segments({"num_buckets": 4, "runs": recorded}), {})


def test_filter_items_know_their_rows() -> None:
    (item,) = items.filter_items([text("a.csv", 100)], None)
    assert isinstance(item, FilterItem)
    assert item.rows == 0  # only parsing tells
