"""Which rows a run looks at and which rejects it shows: limit, sample, mode of the funnel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.pipelines import laion_like
from helpers.pipelines.corpora import comparable, counts, read_parts, read_results, run_filter
from helpers.pipelines.reference_job import canonical_row, place, read_rows
from helpers.shards.reference_identity import choice

from pipelines.filter_job.rejects import PER_REASON

Row = dict[str, Any]
Key = tuple[str, str, int]

SOURCES = ("laion2b_en_joined", "laion400m")
FILES, ROWS, SEED = 3, 1500, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("corpus")
    for number, source in enumerate(SOURCES):
        laion_like.write(made / source, source, ROWS, FILES, seed=number, row_group=200)
    return made


Run = Callable[..., Path]


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    def job(*flags: str) -> Path:
        inputs = [f"--input={source}={folder / source}" for source in SOURCES]
        output = tmp_path_factory.mktemp("run") / "out"
        return run_filter(output, *inputs, "--stop_after=filter", f"--seed={SEED}", *flags)

    return job


@pytest.fixture(scope="module")
def everything(run: Run) -> Path:
    return run("--rejects=all")


@pytest.fixture(scope="module")
def numbers(folder: Path) -> dict[Key, int]:
    """Every row's 128-bit number, by which choices about it are made."""
    found = {}
    for source in SOURCES:
        for path in sorted((folder / source).iterdir()):
            for i, raw in enumerate(read_rows(path)):
                row = canonical_row(raw, source, path.name, i)
                url_hash = row["url_hash"]
                found[place(row)] = i if url_hash is None else int.from_bytes(url_hash)
    assert len(found) == ROWS * len(SOURCES)
    return found


def places(run: Path) -> set[Key]:
    return {place(row) for folder in ("kept", "rejects") for row in read_parts(run, folder)}


def test_the_mode_of_the_funnel_changes_no_owner(run: Run, everything: Path) -> None:
    first = run("--rejects=all", "--funnel=first")
    assert comparable(read_parts(first, "kept")) == comparable(read_parts(everything, "kept"))
    short, full = (comparable(read_parts(each, "rejects")) for each in (first, everything))
    assert [row | {"reasons": None} for row in short] == [row | {"reasons": None} for row in full]
    assert all(set(a["reasons"]) <= set(b["reasons"]) for a, b in zip(short, full, strict=True))
    assert comparable(read_parts(first, "tombstones")) == comparable(
        read_parts(everything, "tombstones")
    )
    assert counts(first)["filter"] == counts(everything)["filter"]
    assert {result["counts"]["alone"] for result in read_results(first, "filter")} == {None}


def test_rejects_are_sampled_by_hash(run: Run, everything: Path, numbers: dict[Key, int]) -> None:
    by_reason: dict[tuple[str, str], list[Row]] = {}
    for row in read_parts(everything, "rejects"):
        by_reason.setdefault((row["source"], row["reason"]), []).append(row)
    expected = set()
    for rows in by_reason.values():
        rows.sort(key=lambda row: choice("reject_sample", SEED, numbers[place(row)]))
        expected |= {place(row) for row in rows[:PER_REASON]}
    sampled = run()
    actual = read_parts(sampled, "rejects")
    assert {place(row) for row in actual} == expected
    assert max(map(len, by_reason.values())) > PER_REASON
    assert counts(sampled)["filter"] == counts(everything)["filter"]


def test_no_rejects(run: Run, everything: Path) -> None:
    without = run("--rejects=none")
    assert read_parts(without, "rejects") == []
    assert counts(without)["filter"] == counts(everything)["filter"]


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_sample_is_chosen_by_url(share: float, run: Run, numbers: dict[Key, int]) -> None:
    sampled = run("--rejects=all", f"--sample={share}")
    expected = {
        row
        for row, number in numbers.items()
        if choice("sample", SEED, number) < int(share * 2**64)
    }
    assert places(sampled) == expected
    assert counts(sampled)["filter"]["in"] == len(expected)
    assert abs(len(expected) / len(numbers) - share) < 0.05


@pytest.mark.parametrize("limit", [1, 450, 777, 10_000])
def test_the_limit_takes_the_first_rows_of_every_source(limit: int, run: Run, folder: Path) -> None:
    expected = {}
    for source in SOURCES:
        rows = [
            (source, path.name, i)
            for path in sorted((folder / source).iterdir())
            for i in range(len(read_rows(path)))
        ]
        expected[source] = rows[:limit]
    actual = places(run("--rejects=all", f"--limit={limit}"))
    assert actual == {row for rows in expected.values() for row in rows}
    assert Counter(source for source, _, _ in actual) == dict.fromkeys(SOURCES, min(limit, ROWS))
