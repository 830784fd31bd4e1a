"""Real web metadata: every verdict equals the slow reference, and the drop rates stay sane."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.filters.filter_rows import SCHEMA, answers
from helpers.filters.reference_filters import REFERENCE
from helpers.shared_data import shared_data

import filters
from shards.identity import canonical_urls
from shards.text import clean_captions

DATA = shared_data()
pytestmark = pytest.mark.skipif(DATA is None, reason="the real sample data is not here")


def as_batch(urls: list[str | None], captions: list[str | None], **more: list) -> pa.RecordBatch:
    url = pa.array(urls, pa.string())
    columns = {
        "url": url,
        "canonical_url": canonical_urls(url),
        "caption": clean_captions(pa.array(captions, pa.string())),
        "invalid_text": pa.repeat(pa.scalar(False), len(urls)),
        **more,
    }
    filled = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(len(urls), field.type)
        for field in SCHEMA
        if field.name in columns or not pa.types.is_dictionary(field.type)
    ]
    names = [
        field.name
        for field in SCHEMA
        if field.name in columns or not pa.types.is_dictionary(field.type)
    ]
    return pa.RecordBatch.from_arrays(filled, names)


def laion() -> pa.RecordBatch:
    assert DATA is not None
    table = pq.read_table(DATA / "metadata" / "laion400m" / "test_10000.parquet")
    return as_batch(table["URL"].to_pylist(), table["TEXT"].to_pylist())


def cc3m() -> pa.RecordBatch:
    assert DATA is not None
    path = next((DATA / "metadata" / "cc3m").glob("*.tsv"))
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return as_batch([url for _, url in rows], [caption for caption, _ in rows])


def coyo() -> pa.RecordBatch:
    assert DATA is not None
    rows = pq.read_table(DATA / "metadata" / "coyo700m" / "coyo_sample.parquet").to_pylist()
    return as_batch(
        [r["url"] for r in rows],
        [r["text"] for r in rows],
        width=[r["width"] for r in rows],
        height=[r["height"] for r in rows],
        nsfw_score=[max(r["nsfw_score_opennsfw2"], r["nsfw_score_gantman"]) for r in rows],
    )


@pytest.mark.parametrize("load", [laion, cc3m, coyo])
def test_every_verdict_equals_the_reference(load) -> None:
    batch = load()
    rows = batch.to_pylist()
    for rule in filters.build_chain("cogvlm").filters:
        reference = REFERENCE[rule.name]
        actual = answers(rule, batch)
        wrong = [r for r, a in zip(rows, actual, strict=True) if a != reference(r)]
        assert wrong == [], rule.name


def test_drop_rates_on_laion400m() -> None:
    settings = {"nsfw.present.on_missing": "keep"}
    batch = laion()
    result = filters.apply_chain(batch, filters.build_chain("cogvlm", settings))
    counts = result.counts
    share = {reason: owned / counts.rows for reason, owned in counts.owned.items()}
    assert counts.kept / counts.rows > 0.93
    assert 0.002 < share["political"] <= 0.01
    assert share["caption_repetition"] < 0.02
    assert share["caption_phone"] < 0.001  # a loose pattern hits 1 %
    assert share["url_tracking_pixel"] < 0.001
    assert counts.deferred["aspect.ratio"] == counts.kept
    first = filters.apply_chain(batch, filters.build_chain("cogvlm", settings), "first")
    assert first.owner.tolist() == result.owner.tolist()


def test_photo_captions_are_hardly_political() -> None:
    assert DATA is not None
    path = DATA / "captions" / "coco" / "captions_val2017.json"
    captions = [a["caption"] for a in json.loads(path.read_text("utf-8"))["annotations"]]
    batch = pa.RecordBatch.from_pydict({"caption": pa.array(captions)})
    rule = filters.FILTERS["political.lexicon"]()
    assert sum(a is not None for a in answers(rule, batch)) < 0.0005 * len(captions)
