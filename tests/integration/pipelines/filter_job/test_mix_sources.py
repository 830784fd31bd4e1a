"""Sources that share URLs leave one row per URL, and the same one whatever the layout."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.pipelines.corpora import (
    comparable,
    counts,
    read_dropped,
    read_parts,
    read_plan,
    run_filter,
)
from helpers.pipelines.reference_job import Mixed, canonical_row, filter_rows, mix, place

from pipelines.filter_job import filter_item, items

Row = dict[str, Any]

NUM_URLS = 120
ROWS_EACH = 260
SHARD_SIZE = 8
PROVENANCE = ("source_file", "source_row")

SCHEMAS = {
    "laion2b_en_joined": pa.schema(
        [
            *[(name, pa.string()) for name in ("URL", "TEXT")],
            *[(name, pa.int32()) for name in ("WIDTH", "HEIGHT")],
            ("similarity", pa.float32()),
            ("punsafe", pa.float32()),
        ]
    ),
    "coyo700m": pa.schema(
        [
            *[(name, pa.string()) for name in ("url", "text")],
            *[(name, pa.int32()) for name in ("width", "height")],
            ("clip_similarity_vitb32", pa.float32()),
            ("nsfw_score_opennsfw2", pa.float32()),
        ]
    ),
}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make several items, runs and buckets out of a few hundred rows."""
    monkeypatch.setattr(items, "ROWS_PER_ITEM", 90)
    monkeypatch.setattr(items, "ROWS_PER_BUCKET", 140)
    monkeypatch.setattr(filter_item, "ROWS_PER_RUN", 50)


def rows_of(source: str) -> list[list[Any]]:
    """Rows over one pool of URLs: other captions, equal and missing scores, whole duplicates."""
    draw = random.Random(source)
    rows: list[list[Any]] = []
    for _ in range(ROWS_EACH):
        if rows and draw.random() < 0.1:
            again = list(draw.choice(rows))
            again[2] = draw.choice([again[2], 320, None])
            rows.append(again)
            continue
        number = draw.randrange(NUM_URLS)
        scheme = draw.choice(["http", "https", "HTTPS"])
        url = f"{scheme}://site-{number % 7}.com/picture/{number}.jpg"
        what = draw.choice(["red bicycle", "wooden table", "small &amp; old house", "green door"])
        score = draw.choice([0.25, 0.25, 0.5, None, math.nan])
        unsafe = 0.9 if draw.random() < 0.06 else 0.01
        rows.append([url, f"a {what} in the evening light", 640, 480, score, unsafe])
    return rows


def write(folder: Path, source: str, parts: Sequence[Sequence[list[Any]]], group: int) -> str:
    """Write parts as files of a folder; returns the flag that reads them."""
    folder.mkdir(parents=True)
    schema = SCHEMAS[source]
    for number, rows in enumerate(parts):
        columns = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(schema)]
        table = pa.Table.from_arrays(columns, schema=schema)
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=group)
    return f"--input={source}={folder}"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("one")
    return [
        write(folder / source, source, [rows_of(source)[:150], rows_of(source)[150:]], 60)
        for source in SCHEMAS
    ]


def run_mix(output: Path, *flags: str) -> Path:
    return run_filter(output, *flags, f"--shard_size={SHARD_SIZE}", "--stop_after=mix")


def expected_mix(scope: str = "url") -> tuple[Mixed, int]:
    rows = [
        canonical_row(
            {
                name: value.encode() if isinstance(value, str) else value
                for name, value in zip(SCHEMAS[source].names, row, strict=True)
            },
            source,
            f"part-{number >= 150:d}.parquet",
            number - 150 * (number >= 150),
            COLUMNS[source],
        )
        for source in SCHEMAS
        for number, row in enumerate(rows_of(source))
    ]
    filtered = filter_rows(rows)
    mixed = mix(
        filtered.kept,
        filtered.tombstones,
        shard_size=SHARD_SIZE,
        num_buckets=4,  # 520 rows, 140 per bucket
        safety_scope=scope,
        ranks={"laion2b_en_joined": 0, "coyo700m": 1},
    )
    return mixed, len(filtered.kept)


_OURS = ["url", "caption", "width", "height", "similarity", "nsfw_score"]
COLUMNS = {
    source: {ours: [name] for ours, name in zip(_OURS, schema.names, strict=True)}
    for source, schema in SCHEMAS.items()
}


@pytest.mark.parametrize("scope", ["url", "row"])
def test_plan_equals_the_reference(scope: str, inputs: list[str], tmp_path: Path) -> None:
    run = run_mix(tmp_path / "out", *inputs, f"--safety_scope={scope}")
    expected, num_kept = expected_mix(scope)
    shards, dropped = read_plan(run), read_dropped(run)
    assert list(map(comparable, shards)) == list(map(comparable, expected.shards))
    assert {place(row): (row["reason"], row["winner"]) for row in dropped} == expected.dropped
    line = counts(run)["mix"]
    reasons = [reason for reason, _ in expected.dropped.values()]
    assert line == {
        "in": num_kept,
        "out": sum(map(len, shards)),
        "left_out": {name: reasons.count(name) for name in ("duplicate_url", "unsafe_elsewhere")},
    }
    assert (reasons.count("unsafe_elsewhere") > 20) == (scope == "url")
    hashes = [row["url_hash"] for shard in shards for row in shard]
    assert len(set(hashes)) == len(hashes) > 5 * SHARD_SIZE
    buried = {row["url_hash"] for row in read_parts(run, "tombstones")}
    assert len(buried & set(hashes)) == 0 or scope == "row"
    assert len({row["source"] for shard in shards for row in shard}) == 2


@pytest.fixture(scope="module")
def plan(inputs: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[list[Row]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(items, "ROWS_PER_BUCKET", 140)
        return read_plan(run_mix(tmp_path_factory.mktemp("plan") / "out", *inputs))


def without_provenance(shards: list[list[Row]]) -> list[list[Row]]:
    return [comparable(shard, *PROVENANCE) for shard in shards]


def test_the_order_of_flags_changes_nothing(
    plan: list[list[Row]], inputs: list[str], tmp_path: Path
) -> None:
    found = read_plan(run_mix(tmp_path / "out", *inputs[::-1]))
    assert list(map(comparable, found)) == list(map(comparable, plan))


@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_workers_change_nothing(
    mode: str, plan: list[list[Row]], inputs: list[str], tmp_path: Path
) -> None:
    flags = ["--workers=2", f"--worker_mode={mode}"]
    found = read_plan(run_mix(tmp_path / "out", *inputs, *flags))
    assert list(map(comparable, found)) == list(map(comparable, plan))


@pytest.mark.parametrize(("files", "group"), [(1, 1000), (3, 17), (5, 100)])
def test_layout_changes_only_the_provenance(
    files: int, group: int, plan: list[list[Row]], tmp_path: Path
) -> None:
    flags = []
    for source in SCHEMAS:
        rows = rows_of(source)
        random.Random(files).shuffle(rows)
        parts = [rows[number::files] for number in range(files)]
        flags.append(write(tmp_path / source, source, parts, group))
    found = read_plan(run_mix(tmp_path / "out", *flags))
    assert without_provenance(found) == without_provenance(plan)


def test_the_number_of_buckets_does_not_change_the_rows(
    plan: list[list[Row]], inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "ROWS_PER_BUCKET", 10**6)
    run = run_mix(tmp_path / "out", *inputs)
    assert len(list((run / "plan").glob("*.dropped.parquet"))) == 1
    found = read_plan(run)
    assert by_key(found) == by_key(plan)


def by_key(shards: list[list[Row]]) -> list[Row]:
    rows = [row for shard in shards for row in shard]
    return comparable(sorted(rows, key=lambda row: row["key"]), "shard_row")


def test_source_rank_decides_who_wins(inputs: list[str], tmp_path: Path) -> None:
    def winners(name: str, *flags: str) -> dict[bytes, str]:
        shards = read_plan(run_mix(tmp_path / name, *inputs, *flags))
        return {row["url_hash"]: row["source"] for shard in shards for row in shard}

    declared = winners("a")
    turned = winners("b", "--source_rank=coyo700m,laion2b_en_joined")
    assert declared.keys() == turned.keys()
    changed = {(declared[url], turned[url]) for url in declared if declared[url] != turned[url]}
    assert changed == {("laion2b_en_joined", "coyo700m")}


@pytest.mark.parametrize("first", [0, 1])
def test_another_run_brings_its_rows_and_its_tombstones(
    first: int, plan: list[list[Row]], inputs: list[str], tmp_path: Path
) -> None:
    other = run_filter(tmp_path / "other", inputs[first], "--stop_after=filter")
    run = run_mix(tmp_path / "out", f"--input=run={other}", inputs[1 - first])
    assert by_key(read_plan(run)) == by_key(plan)
    assert counts(run)["mix"]["left_out"]["unsafe_elsewhere"] > 20


@pytest.mark.parametrize(("flags", "expected"), [(["--nsfw_missing=keep"], 3), ([], 0)])
def test_unscored_rows_of_another_run(flags: list[str], expected: int, tmp_path: Path) -> None:
    urls = [f"http://site.com/{number}.jpg" for number in range(3)]
    table = pa.table({"url": urls, "caption": ["a red bicycle in the evening light"] * 3})
    pq.write_table(table, tmp_path / "bare.parquet")
    bare = f"--input={tmp_path / 'bare.parquet'}"
    other = run_filter(tmp_path / "other", bare, "--nsfw_missing=keep", "--stop_after=filter")
    run = run_mix(tmp_path / "out", f"--input=run={other}", *flags)
    line = counts(run)["filter"]
    assert (line["out"], line["left_out"]["nsfw_missing"]) == (expected, 3 - expected)
