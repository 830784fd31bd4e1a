"""Every row of every source's schema, and of real metadata, ends where the slow reference says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.filters.reference_filters import REFERENCE
from helpers.pipelines import laion_like
from helpers.pipelines.corpora import comparable, counts, read_parts, read_results, run_filter
from helpers.pipelines.laion_schemas import SCHEMAS
from helpers.pipelines.reference_job import (
    COLUMNS,
    Filtered,
    canonical_row,
    filter_rows,
    place,
    read_rows,
)
from helpers.shared_data import shared_data

from filters import build_chain

DATA = shared_data()
needs_data = pytest.mark.skipif(DATA is None, reason="the real sample data is not here")
KEEP_UNSCORED = {"nsfw.present": {"on_missing": "keep"}}
ROWS_PER_FILE = 600


def reference_of(source: str, folder: Path, **columns: list[str]) -> Filtered:
    rows = [
        canonical_row(raw, source, path.name, number, columns or None)
        for path in sorted(folder.iterdir() if folder.is_dir() else [folder])
        for number, raw in enumerate(read_rows(path))
    ]
    bare = not {"nsfw_score", "nsfw_tag"} & (columns or COLUMNS[source]).keys()
    return filter_rows(rows, KEEP_UNSCORED if bare else {})


def assert_equal_rows(run: Path, source: str, expected: Filtered) -> None:
    for folder, rows in (("kept", expected.kept), ("rejects", expected.rejects)):
        actual = [row for row in read_parts(run, folder) if row["source"] == source]
        assert list(map(place, actual)) == list(map(place, rows)), folder
        for one, other in zip(comparable(actual), comparable(rows), strict=True):
            assert one == other


def assert_equal_counts(run: Path, expected: Filtered) -> None:
    """The manifest and the markers count what the reference counted."""
    line = counts(run)["filter"]
    owned = Counter(row["reason"] for row in expected.rejects)
    assert line["in"] == len(expected.verdicts)
    assert line["out"] == len(expected.kept)
    assert {name: n for name, n in line["left_out"].items() if n} == owned
    assert line["in"] == line["out"] + sum(line["left_out"].values())
    results = read_results(run, "filter")
    failed = [set(each) for each in expected.verdicts]
    names = list(REFERENCE)
    alone = {name: sum(each == {name} for each in failed) for name in names}
    overlap = [[sum({a, b} <= each for each in failed) for b in names] for a in names]
    deferred = Counter(name for row in expected.kept for name in row["deferred"])
    parts = [result["counts"] for result in results]
    assert {name: sum(part["alone"][name] for part in parts) for name in names} == alone
    assert overlap == [
        [sum(part["overlap"][i][j] for part in parts) for j in range(len(names))]
        for i in range(len(names))
    ]
    assert Counter({n: sum(p["deferred"][n] for p in parts) for n in names}) == deferred
    assert sum(result["tombstones"] for result in results) == len(expected.tombstones)


def test_the_reference_has_the_presets_rules_in_its_order() -> None:
    assert list(REFERENCE) == [rule.name for rule in build_chain("cogvlm").filters]


# Generated files in every source's schema, every file with types of its own.


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, pa.Table]]:
    """A folder per source and the planted truth of its rows."""
    folder, truths = tmp_path_factory.mktemp("corpus"), {}
    for number, source in enumerate(SCHEMAS):
        (folder / source).mkdir()
        parts = []
        for index, drift in enumerate(laion_like.DRIFTS):
            table, truth = laion_like.rows_with_truth(ROWS_PER_FILE, 10 * number + index, source)
            path = folder / source / f"part-{index}.parquet"
            pq.write_table(drift(table), path, row_group_size=150)
            parts.append(truth)
        truths[source] = pa.concat_tables(parts)
    return folder, truths


@pytest.fixture(scope="module")
def run(corpus: tuple[Path, dict[str, pa.Table]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    inputs = [f"--input={source}={corpus[0] / source}" for source in SCHEMAS]
    output = tmp_path_factory.mktemp("run") / "out"
    flags = ["--stop_after=filter", "--rejects=all", "--nsfw_missing=keep"]
    return run_filter(output, *inputs, *flags)


@pytest.fixture(scope="module")
def references(corpus: tuple[Path, dict[str, pa.Table]]) -> dict[str, Filtered]:
    return {source: reference_of(source, corpus[0] / source) for source in SCHEMAS}


@pytest.mark.parametrize("source", SCHEMAS)
def test_rows_of_every_schema(run: Path, references: dict[str, Filtered], source: str) -> None:
    assert_equal_rows(run, source, references[source])


def test_counts_of_all_schemas(run: Path, references: dict[str, Filtered]) -> None:
    together = Filtered()
    for each in references.values():
        together.kept += each.kept
        together.rejects += each.rejects
        together.tombstones += each.tombstones
        together.verdicts += each.verdicts
    assert_equal_counts(run, together)
    actual = {(row["url_hash"], row["reason"]) for row in read_parts(run, "tombstones")}
    assert actual == set(together.tombstones)


@pytest.fixture(scope="module")
def by_place(run: Path) -> dict[Any, dict[str, Any]]:
    rows = [*read_parts(run, "kept"), *read_parts(run, "rejects")]
    return {place(row): row for row in rows}


def test_every_row_is_in_one_place(run: Path, by_place: dict[Any, dict[str, Any]]) -> None:
    rows = [*read_parts(run, "kept"), *read_parts(run, "rejects")]
    assert len(rows) == len(by_place) == ROWS_PER_FILE * len(laion_like.DRIFTS) * len(SCHEMAS)


PLANTED = {
    "url_null": {"url_missing"},
    "url_scheme": {"url_scheme"},
    "url_data": {"url_scheme"},
    "url_private": {"url_private_address", "url_host"},
    "url_port": {"url_port"},
    "url_credentials": {"url_credentials"},
    "url_long": {"url_too_long"},
    "url_invalid_utf8": {"invalid_text"},
    "url_path_word": set(),
    "url_protocol_relative": set(),
    "url_upper_case": set(),
    "caption_null": {"caption_missing"},
    "caption_empty": {"caption_missing"},
    "caption_short": {"caption_too_short"},
    "caption_file_name": {"caption_file_name"},
    "caption_url": {"caption_url"},
    "caption_hash": {"caption_hash"},
    "caption_date": {"caption_date"},
    "caption_boilerplate": {"caption_boilerplate"},
    "caption_email": {"caption_email"},
    "caption_phone": {"caption_phone"},
    "caption_repetition": {"caption_repetition"},
    "caption_symbols": {"caption_symbols"},
    "caption_political": {"political"},
    "caption_many_words": {"caption_too_many_words", "caption_too_long"},
    "caption_long": {"caption_too_long"},
    "caption_invalid_utf8": {"invalid_text"},
    "caption_lone_surrogate": {"invalid_text"},
}
"""What was planted, and the reasons of which one must be given; none: no reason of the URL's."""


@pytest.mark.parametrize("source", SCHEMAS)
def test_planted_truth(
    corpus: tuple[Path, dict[str, pa.Table]], by_place: dict[Any, dict[str, Any]], source: str
) -> None:
    seen = set()
    for index, truth in enumerate(corpus[1][source].to_pylist()):
        part, row = divmod(index, ROWS_PER_FILE)
        found = by_place[(source, f"part-{part}.parquet", row)]
        reasons = set(found.get("reasons") or [])
        if "width" in COLUMNS[source]:
            assert (found["width"], found["height"]) == (truth["true_width"], truth["true_height"])
        for planted in (truth["planted_url"], truth["planted_caption"]):
            expected = PLANTED.get(planted or "")
            if expected is None or ("invalid_text" in reasons and "invalid_text" not in expected):
                continue
            seen.add(planted)
            if expected:
                assert expected & reasons, (planted, found)
            else:
                assert not {reason for reason in reasons if reason.startswith("url_")}, found
    assert len(seen) > len(PLANTED) / 2


def test_a_safety_reject_keeps_no_url_and_no_caption(by_place: dict[Any, dict[str, Any]]) -> None:
    unsafe = [r for r in by_place.values() if {"nsfw", "nsfw_tag"} & set(r.get("reasons") or [])]
    assert len(unsafe) > 100
    assert all(row["url"] is None and row["caption"] is None for row in unsafe)


# Real metadata.


@needs_data
@pytest.mark.parametrize(
    ("source", "path", "columns"),
    [
        ("laion400m", "laion400m/test_10000.parquet", {"url": ["URL"], "caption": ["TEXT"]}),
        (
            "generic",
            "cc3m/Validation_GCC-1.1.0-Validation.tsv",
            {"caption": ["0"], "url": ["1"]},
        ),
        ("coyo700m", "coyo700m/coyo_sample.parquet", COLUMNS["coyo700m"]),
    ],
)
def test_real_rows(source: str, path: str, columns: dict[str, list[str]], tmp_path: Path) -> None:
    assert DATA is not None
    file = DATA / "metadata" / path
    named = ["--columns", "caption=0,url=1"] if source == "generic" else []
    flags = ["--stop_after=filter", "--rejects=all", "--nsfw_missing=keep"]
    run = run_filter(tmp_path / "out", f"--input={source}={file}", *named, *flags)
    expected = reference_of(source, file, **columns)
    assert len(expected.verdicts) == {"laion400m": 9846, "generic": 15804, "coyo700m": 8}[source]
    assert_equal_rows(run, source, expected)
    assert_equal_counts(run, expected)
