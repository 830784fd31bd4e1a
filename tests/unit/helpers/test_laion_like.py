"""The generated metadata is what its module says: schemas, rates, planted truth, types per file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from helpers.pipelines import laion_like, laion_text
from helpers.pipelines.laion_schemas import SCHEMAS, SWAPPED, TRUTH

N = 60_000


@pytest.fixture(scope="module")
def joined() -> tuple[pa.Table, pa.Table]:
    return laion_like.rows_with_truth(N, 7, "laion2b_en_joined")


@pytest.mark.parametrize("source", SCHEMAS)
@pytest.mark.parametrize("n", [0, 1, 2000])
def test_schema_is_the_sources_own(source: str, n: int) -> None:
    table, truth = laion_like.rows_with_truth(n, 0, source)
    assert (table.schema, table.num_rows) == (SCHEMAS[source], n)
    assert (truth.schema, truth.num_rows) == (TRUTH, n)


def test_columns_of_the_published_files() -> None:
    published = {
        "laion400m": "SAMPLE_ID URL TEXT HEIGHT WIDTH LICENSE NSFW similarity",
        "laion2b_en_joined": "URL TEXT WIDTH HEIGHT similarity hash pwatermark punsafe",
        "laion2b_multi_joined": "URL TEXT WIDTH HEIGHT similarity LANGUAGE hash pwatermark punsafe",
    }
    assert {name: " ".join(SCHEMAS[name].names) for name in published} == published
    assert len(SCHEMAS["coyo700m"]) == 17


def test_seed_decides_everything() -> None:
    first, again, other = (laion_like.rows(500, seed, "coyo700m") for seed in (1, 1, 2))
    assert serialised(first) == serialised(again)
    assert serialised(first) != serialised(other)


def serialised(table: pa.Table) -> bytes:
    """Return comparable bytes: NaN is not equal to itself, and not all strings are UTF-8."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def rate(mask: object) -> float:
    return float(np.mean(np.asarray(mask)))


def test_duplicates(joined: tuple[pa.Table, pa.Table]) -> None:
    table, truth = joined
    kind = truth["dup_kind"].to_numpy(zero_copy_only=False)
    assert rate(kind == "url") == pytest.approx(0.03, abs=0.004)
    assert rate(kind == "row") == pytest.approx(0.01, abs=0.002)
    rows = np.flatnonzero(kind != None)  # noqa: E711
    earlier = truth["dup_of"].drop_null().to_numpy()
    assert (earlier < rows).all()
    url = table["URL"].cast(pa.binary())
    assert url.take(pa.array(rows)).equals(url.take(pa.array(earlier)))
    same = kind[rows] == "row"
    for name in ("TEXT", "hash", "WIDTH"):
        column = table[name].cast(pa.binary()) if name == "TEXT" else table[name]
        assert column.take(pa.array(rows[same])).equals(column.take(pa.array(earlier[same])))


@pytest.mark.parametrize("name", ["similarity", "punsafe", "pwatermark"])
def test_scores(joined: tuple[pa.Table, pa.Table], name: str) -> None:
    column = joined[0][name].combine_chunks()
    values = column.drop_null().to_numpy()
    assert column.null_count / N == pytest.approx(0.05, abs=0.005)
    assert rate(np.isnan(values)) == pytest.approx(0.002, abs=0.001)
    assert rate(values > 1) == pytest.approx(0.002, abs=0.001)


def test_scores_are_null_independently(joined: tuple[pa.Table, pa.Table]) -> None:
    both = pc.and_(pc.is_null(joined[0]["punsafe"]), pc.is_null(joined[0]["pwatermark"]))
    assert rate(both) == pytest.approx(0.0025, abs=0.001)


def test_unsafe_and_watermarked_shares(joined: tuple[pa.Table, pa.Table]) -> None:
    assert rate(joined[0]["punsafe"].drop_null().to_numpy() > 0.5) == pytest.approx(0.03, abs=0.006)
    assert rate(joined[0]["pwatermark"].drop_null().to_numpy() > 0.8) == pytest.approx(
        0.042, abs=0.006
    )


def test_sizes(joined: tuple[pa.Table, pa.Table]) -> None:
    table, truth = joined
    assert table["WIDTH"].equals(truth["true_width"])
    present = table.filter(pc.is_valid(table["WIDTH"]))
    width, height = (present[name].to_numpy().astype(np.int64) for name in ("WIDTH", "HEIGHT"))
    assert 1 - len(width) / N == pytest.approx(0.007, abs=0.002)
    assert rate((width == 6 * height) & (height > 0)) == pytest.approx(0.005, abs=0.002)
    assert rate((height == 6 * width) & (width > 0)) == pytest.approx(0.005, abs=0.002)
    beyond = (width > 6 * height) | (height > 6 * width)
    assert rate(beyond & (width > 0) & (height > 0)) == pytest.approx(0.01, abs=0.003)
    assert rate((width <= 0) | (height <= 0)) == pytest.approx(0.003, abs=0.001)


@pytest.mark.parametrize("source", ["laion2b_en", "laion1b_nolang", "laion400m"])
def test_only_the_first_releases_have_sides_exchanged(source: str) -> None:
    table, truth = laion_like.rows_with_truth(500, 0, source)
    name = "true_height" if source in SWAPPED else "true_width"
    assert table["WIDTH"].equals(truth[name])
    assert not truth["true_width"].equals(truth["true_height"])


def test_tags_come_in_three_casings() -> None:
    tags = laion_like.rows(20_000, 0, "laion400m")["NSFW"]
    counts = {row["values"]: row["counts"] for row in pc.value_counts(tags).to_pylist()}
    assert len(counts) == 10
    assert counts["unlikely"] == pytest.approx(counts["UNLIKELY"], rel=0.1)
    assert sum(counts[t] for t in ("NSFW", "nsfw", "Nsfw")) / 20_000 == pytest.approx(
        0.02, abs=0.005
    )


def test_noise_of_every_kind_is_planted_and_named(joined: tuple[pa.Table, pa.Table]) -> None:
    table, truth = joined
    for column, kinds in (
        ("planted_caption", [*laion_text.CAPTION_NOISE, "caption_long"]),
        ("planted_url", [*laion_text.URL_NOISE]),
    ):
        counts = {r["values"]: r["counts"] for r in pc.value_counts(truth[column]).to_pylist()}
        assert set(kinds) == counts.keys() - {None}
        assert min(counts[kind] for kind in kinds if kind != "caption_long") / N > 0.003
    planted = dict(
        zip(
            truth["planted_caption"].to_pylist(),
            table["TEXT"].cast(pa.binary()).to_pylist(),
            strict=True,
        )
    )
    assert planted["caption_null"] is None
    assert len(planted["caption_long"]) == 60_000
    for kind in ("caption_invalid_utf8", "caption_lone_surrogate"):
        with pytest.raises(UnicodeDecodeError):
            planted[kind].decode()


def test_plain_captions_look_like_alt_texts(joined: tuple[pa.Table, pa.Table]) -> None:
    table, truth = joined
    plain = table.filter(pc.is_null(truth["planted_caption"]))["TEXT"]
    lengths = pc.utf8_length(plain).to_numpy()
    assert lengths.mean() == pytest.approx(58, abs=3)
    assert lengths.min() >= 10 and lengths.max() <= 140
    urls = table.filter(pc.and_(pc.is_null(truth["planted_url"]), pc.is_null(truth["dup_of"])))[
        "URL"
    ]
    assert pc.count_distinct(urls).as_py() == len(urls)


def test_files_drift_in_type_but_not_in_rows(tmp_path: Path) -> None:
    drifted = laion_like.write(tmp_path / "a", "laion400m", 4001, 4, seed=5, row_group=300)
    plain = laion_like.write(tmp_path / "b", "laion400m", 4001, 4, seed=5, drift=False)
    kinds = [pq.read_schema(path).field("WIDTH").type for path in drifted]
    assert kinds == [pa.int32(), pa.float64(), pa.int32(), pa.int32()]
    assert pq.read_schema(drifted[2]).field("similarity").type == pa.float32()
    assert pq.read_schema(drifted[3]).field("URL").type == pa.large_string()
    assert [pq.read_metadata(path).num_rows for path in drifted] == [1001, 1000, 1000, 1000]
    assert pq.read_metadata(drifted[0]).row_group(0).num_rows == 300
    for one, other in zip(drifted, plain, strict=True):
        width = pq.read_table(one)["WIDTH"].cast(pa.int32())
        assert width.equals(pq.read_table(other)["WIDTH"])
        assert pq.read_schema(other) == SCHEMAS["laion400m"]


def test_more_files_leave_the_first_ones_as_they_are(tmp_path: Path) -> None:
    two = laion_like.write(tmp_path / "a", "generic", 200, 2, seed=1)
    four = laion_like.write(tmp_path / "b", "generic", 400, 4, seed=1)
    assert [p.read_bytes() for p in two] == [p.read_bytes() for p in four[:2]]


@pytest.mark.parametrize(("kind", "comma"), [("csv", b","), ("tsv", b"\t")])
def test_text_files(tmp_path: Path, kind: str, comma: bytes) -> None:
    (path,) = laion_like.write(tmp_path, "generic", 50, 1, seed=0, file_format=kind)
    assert path.suffix == f".{kind}"
    assert path.read_bytes().startswith(b'"url"' + comma + b'"caption"\n')


def test_real_rows_are_cycled_with_different_urls() -> None:
    real = pa.table({"url": ["http://a/1.jpg", "http://a/2.jpg"], "caption": ["one", "two"]})
    table, truth = laion_like.rows_with_truth(400, 0, "generic", real)
    clean = pc.and_(
        pc.and_(pc.is_null(truth["planted_url"]), pc.is_null(truth["dup_of"])),
        pc.is_null(truth["planted_caption"]),
    )
    kept = table.filter(clean)
    assert set(kept["caption"].to_pylist()) == {"one", "two"}
    assert pc.count_distinct(kept["url"]).as_py() == len(kept)
