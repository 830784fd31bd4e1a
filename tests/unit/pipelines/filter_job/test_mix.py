"""Who stands for a URL, what is dropped for whom, and how shards are cut, bucket by bucket."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from helpers.pipelines.corpora import comparable, read_dropped, read_plan
from helpers.pipelines.reference_job import RANKS, mix, place, preference
from helpers.shards.reference_identity import identify
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.filter_job.items import MixItem, Segment
from pipelines.filter_job.mix_item import MixConfig
from pipelines.harness import buckets
from pipelines.harness.leases import Running
from pipelines.metadata.sources import SOURCES
from shards.files.commit import ItemId
from shards.files.store import Store
from shards.schema import CANONICAL, KEPT, TOMBSTONE

Row = dict[str, Any]

SHARD_ROWS = 3


def kept(url: str, caption: str, source: str = "laion400m", **changes: Any) -> Row:
    """Return a kept row."""
    ids = identify(url, caption)
    values = dict.fromkeys(CANONICAL.names) | {
        "url": url,
        "caption": caption,
        "source": source,
        "source_file": "part-0.parquet",
        "source_row": 0,
        "similarity_scorer": SOURCES[source].scorer,
    }
    row = values | {"key": ids["key"], "url_hash": ids["url_hash"], "deferred": []} | changes
    return {name: row[name] for name in KEPT.names}


def run_mix(
    folder: Path,
    parts: list[list[Row]],
    tombstones: list[list[tuple[bytes, str]]] | None = None,
    num_buckets: int = 1,
    scope: str = "url",
) -> tuple[list[list[Row]], list[Row]]:
    """Write parts as bucket segments, mix every bucket, and return shards and dropped rows."""
    store = Store(str(folder))
    config = MixConfig(
        ranks={name: source.rank for name, source in SOURCES.items()},
        shard_size=SHARD_ROWS,
        seed=0,
        safety_scope=scope,
    )
    segments: list[list[Segment]] = [[] for _ in range(num_buckets)]
    for number, rows in enumerate(parts):
        name = f"buckets/part-{number:05d}.arrows"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        graves = tombstones[number] if tombstones else []
        with path.open("wb") as file:
            sizes = buckets.append_run(
                file,
                pa.Table.from_pylist(rows, KEPT).to_batches() if rows else [],
                [grave_batch(graves)] if graves else [],
                num_buckets,
                0,
            )
        offset = 0
        for bucket, (rows_bytes, tombstone_bytes) in enumerate(sizes):
            segments[bucket].append(
                Segment(
                    file=name,
                    offset=offset,
                    rows_bytes=rows_bytes,
                    tombstones_bytes=tombstone_bytes,
                )
            )
            offset += rows_bytes + tombstone_bytes
    for bucket, mine in enumerate(segments):
        item = MixItem(name=f"bucket-{bucket:04d}", segments=tuple(s for s in mine))
        running = Running(ItemId("mix", item.name))
        config.process(store, item.to_json(), running)
    return read_plan(folder), read_dropped(folder)


def grave_batch(graves: list[tuple[bytes, str]]) -> pa.RecordBatch:
    rows = [{"url_hash": url_hash, "reason": reason} for url_hash, reason in graves]
    return pa.RecordBatch.from_pylist(rows, TOMBSTONE)


URL = "http://a.com/1"


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (kept(URL, "b", "laion2b_en_joined"), kept(URL, "a", "coyo700m")),
        (
            kept(URL, "b", "coyo700m", similarity=0.125),
            kept(URL, "a", "laion400m", similarity=0.875),
        ),
        (kept(URL, "a", similarity=0.5), kept(URL, "b", similarity=0.25)),
        (kept(URL, "b", similarity=0.5), kept(URL, "a", similarity=0.25)),
        (kept(URL, "a", similarity=-0.5), kept(URL, "b", similarity=None)),
        (kept(URL, "b", similarity=0.125), kept(URL, "a", similarity=math.nan)),
        (
            kept(URL, "same", width=10),
            kept(URL, "same", width=10, source_file="part-1.parquet"),
        ),
        (kept(URL, "same", width=10), kept(URL, "same", width=10, source_row=1)),
    ],
)
def test_the_better_row_wins_in_any_order(better: Row, worse: Row, tmp_path: Path) -> None:
    for number, rows in enumerate(itertools.permutations([better, worse])):
        shards, dropped = run_mix(tmp_path / str(number), [[row] for row in rows])
        assert comparable(shards[0], "shard_row") == comparable([better])
        assert [(place(row), row["reason"], row["winner"]) for row in dropped] == [
            (place(worse), "duplicate_url", better["key"])
        ]


@pytest.mark.parametrize("a", [0.25, None, math.nan])
def test_equal_similarities_are_decided_by_key(a: float | None, tmp_path: Path) -> None:
    rows = [kept(URL, text, similarity=a) for text in "abcdef"]
    smallest = min(row["key"] for row in rows)
    shards, dropped = run_mix(tmp_path, [rows])
    assert [row["key"] for row in shards[0]] == [smallest]
    assert {row["winner"] for row in dropped} == {smallest}


def test_null_and_nan_similarities_count_the_same(tmp_path: Path) -> None:
    rows = [kept(URL, t, similarity=s) for t, s in zip("abcd", [None, math.nan] * 2, strict=True)]
    shards, _ = run_mix(tmp_path, [rows])
    assert shards[0][0]["key"] == min(row["key"] for row in rows)


def test_only_the_scheme_may_differ(tmp_path: Path) -> None:
    rows = [kept(url, "x") for url in ("http://a.com/", "https://a.com", "//A.com/#top")]
    shards, dropped = run_mix(tmp_path, [rows])
    assert (len(shards[0]), len(dropped)) == (1, 2)


def test_a_tombstone_takes_every_row_of_its_url(tmp_path: Path) -> None:
    rows = [kept(URL, "a"), kept(URL, "b"), kept("http://a.com/2", "c")]
    graves = [[], [(rows[0]["url_hash"], "nsfw"), (b"\0" * 16, "nsfw")]]
    shards, dropped = run_mix(tmp_path / "url", [rows, []], graves)
    assert [row["caption"] for row in shards[0]] == ["c"]
    assert [(row["reason"], row["winner"]) for row in dropped] == [("unsafe_elsewhere", None)] * 2
    shards, dropped = run_mix(tmp_path / "row", [rows, []], graves, scope="row")
    assert len(shards[0]) == 2
    assert [row["reason"] for row in dropped] == ["duplicate_url"]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_an_unsafe_url_may_stand_anywhere(position: int, tmp_path: Path) -> None:
    rows = [kept(f"http://a.com/{number}", "a") for number in range(3)]
    shards, _ = run_mix(tmp_path, [rows], [[(rows[position]["url_hash"], "nsfw")]])
    assert {row["url"] for row in shards[0]} == {
        row["url"] for number, row in enumerate(rows) if number != position
    }


def test_nothing_at_all_is_a_plan_too(tmp_path: Path) -> None:
    assert run_mix(tmp_path, [[]]) == ([], [])


def corpus(number: int, seed: int) -> list[Row]:
    """Rows of a few sources that often share URLs, scores and whole contents."""
    draw = random.Random(seed)
    return [
        kept(
            f"http://a.com/{draw.randrange(number // 2)}",
            draw.choice(["a cat", "a dog", "a cow"]),
            draw.choice(["laion400m", "coyo700m", "generic"]),
            similarity=draw.choice([None, math.nan, 0.25, 0.5]),
            width=draw.choice([None, 10, 20]),
            source_row=row,
        )
        for row in range(number)
    ]


@pytest.mark.parametrize("num_buckets", [1, 2, 8])
def test_mix_equals_the_reference(num_buckets: int, tmp_path: Path) -> None:
    rows = corpus(120, seed=num_buckets)
    graves = [(rows[i]["url_hash"], "nsfw") for i in range(0, 30, 5)]
    parts = [rows[:50], rows[50:51], rows[51:]]
    shards, dropped = run_mix(tmp_path, parts, [graves, [], []], num_buckets)
    expected = mix(rows, graves, shard_size=SHARD_ROWS, num_buckets=num_buckets)
    assert list(map(comparable, shards)) == list(map(comparable, expected.shards))
    assert {place(row): (row["reason"], row["winner"]) for row in dropped} == expected.dropped
    assert sum(map(len, shards)) + len(dropped) == len(rows)
    order = [(row["key"], place(row)) for row in dropped]
    if num_buckets == 1:
        assert order == sorted(order)


@settings(max_examples=12)
@given(st.randoms(use_true_random=False))
def test_layout_changes_only_the_provenance(
    tmp_path_factory: pytest.TempPathFactory, draw: random.Random
) -> None:
    rows = corpus(40, seed=1)
    whole, _ = run_mix(tmp_path_factory.mktemp("whole"), [rows])
    draw.shuffle(rows)
    cuts = sorted(draw.randrange(len(rows)) for _ in range(3))
    parts = [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    moved = [
        [row | {"source_file": f"f{n}", "source_row": i} for i, row in enumerate(part)]
        for n, part in enumerate(parts)
    ]
    other, _ = run_mix(tmp_path_factory.mktemp("cut"), moved)
    provenance = ("source_file", "source_row")
    assert [comparable(shard, *provenance) for shard in other] == [
        comparable(shard, *provenance) for shard in whole
    ]


def test_the_preference_is_a_total_order() -> None:
    rows = corpus(60, seed=3)
    order = [preference(row, RANKS) for row in rows]
    assert len(set(order)) == len(rows)
