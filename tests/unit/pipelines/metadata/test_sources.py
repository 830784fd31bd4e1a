"""How each corpus's columns become ours: names, types, swaps, scores, text files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.filter_job import items
from pipelines.filter_job.items import filter_items
from pipelines.metadata import files
from pipelines.metadata.canonical import canonicalise
from pipelines.metadata.casts import cast
from pipelines.metadata.files import describe
from pipelines.metadata.reader import PieceReader
from pipelines.metadata.source import COLUMNS, SETTABLE, Source
from pipelines.metadata.sources import SOURCES, by_rank, resolve, with_columns
from shards.schema import CANONICAL, DERIVED


def canonical_rows(source: str, table: pa.Table) -> list[dict[str, Any]]:
    batch = table.combine_chunks().to_batches()[0]
    resolved = resolve(SOURCES[source], batch.schema.names, "test")
    rows = np.arange(len(batch), dtype=np.int64)
    found = canonicalise(batch, SOURCES[source], resolved, file="f", rows=rows)
    assert found.schema == pa.schema([*CANONICAL, *DERIVED])
    return found.to_pylist()


# column names


@pytest.mark.parametrize(
    ("source", "names", "expected"),
    [
        ("laion400m", ["URL", "TEXT"], {"url": "URL", "caption": "TEXT"}),
        ("laion400m", ["url", "text"], {"url": "url", "caption": "text"}),
        ("laion400m", ["URL", "caption"], {"url": "URL", "caption": "caption"}),
        ("generic", ["Url", "TXT", "Width"], {"url": "Url", "caption": "TXT", "width": "Width"}),
        ("generic", ["url", "URL", "text"], {"url": "url", "caption": "text"}),
    ],
)
def test_resolve(source: str, names: list[str], expected: dict[str, str]) -> None:
    actual = resolve(SOURCES[source], names, "test")
    assert actual == {name: (each,) for name, each in expected.items()}


@pytest.mark.parametrize(
    ("source", "names", "complaint"),
    [
        ("laion400m", ["URL"], "f.parquet: source 'laion400m' needs a column for 'caption'"),
        ("generic", ["link", "text"], "needs a column for 'url'.*the file has link, text"),
        ("generic", ["Url", "URL", "text"], "'Url' and 'URL' could both be 'url'"),
        ("generic", ["url", "text", "caption"], "could both be 'caption'"),
    ],
)
def test_resolve_complains(source: str, names: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        resolve(SOURCES[source], names, "f.parquet")


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"captoin": "x"}, "'captoin' is not a column of ours; did you mean caption"),
        ({"source": "x"}, "'source' is not a column of ours"),
        ({"url": "0", "caption": "TEXT"}, "either column names or positions"),
    ],
)
def test_with_columns_complains(columns: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        with_columns(SOURCES["generic"], columns)


def test_with_columns_changes_what_is_named_and_keeps_the_rest() -> None:
    source = with_columns(SOURCES["generic"], {"caption": "alt", "url": "href"})
    names = ["alt", "href", "caption", "width"]
    assert resolve(source, names, "f") == {
        "url": ("href",),
        "caption": ("alt",),
        "width": ("width",),
    }
    assert not source.headerless
    assert with_columns(SOURCES["generic"], {"caption": "0", "url": "1"}).headerless


def test_no_user_can_set_provenance() -> None:
    assert not {"source", "source_file", "source_row", "caption_raw", "key"} & set(SETTABLE)


RANKS = {
    "laion2b_en_joined": 10,
    "laion2b_multi_joined": 11,
    "laion1b_nolang_joined": 12,
    "coyo700m": 20,
    "laion2b_en": 30,
    "laion2b_multi": 31,
    "laion1b_nolang": 32,
    "laion400m": 40,
    "generic": 90,
    "run": 99,
}
"""The sources that have been published: a rank decides which of two rows is kept."""


def test_published_ranks_stay_and_all_are_different() -> None:
    ranks = {name: source.rank for name, source in SOURCES.items()}
    assert ranks | RANKS == ranks
    assert len({*ranks.values()}) == len(ranks)
    assert list(ranks.values()) == sorted(ranks.values())


def test_a_source_says_what_it_is() -> None:
    assert SOURCES["laion400m"].summary == "LAION-400M with its NSFW tags."
    assert all(source.summary for source in SOURCES.values())


def test_the_columns_are_those_of_the_contract() -> None:
    assert list(COLUMNS) == CANONICAL.names
    assert all({*source.columns} <= {*COLUMNS} for source in SOURCES.values())


# types


@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        (pa.array([1, None]), pa.string(), ["1", None]),
        (pa.array([1.0, math.nan, None, -3.0]), pa.string(), ["1", None, None, "-3"]),
        (pa.array([1.5, 2.0]), pa.string(), ["1.5", "2"]),
        (pa.array([2.0**62, math.inf]), pa.string(), [str(2**62), None]),
        (pa.array(["a", None], pa.large_string()), pa.string(), ["a", None]),
        (pa.array([b"a", None], pa.large_binary()), pa.string(), ["a", None]),
        (pa.array(["b", "a", "b"]).dictionary_encode(), pa.string(), ["b", "a", "b"]),
        (pa.array([640.7, math.nan, math.inf, -1.5]), pa.int32(), [640, None, None, -1]),
        (pa.array([2**31, -(2**31), 2**31 - 1]), pa.int32(), [None, -(2**31), 2**31 - 1]),
        (
            pa.array(["640", " 640", "6e2", "x", "", "1_0"]),
            pa.int32(),
            [640, None, 600, *[None] * 3],
        ),
        (pa.array(["0.5", "nan", "-.5", "5."]), pa.float32(), [0.5, None, -0.5, 5.0]),
        (pa.array([b"7", b"\xff"], pa.binary()), pa.int32(), [7, None]),
        (pa.array([1e300, 0.25]), pa.float32(), [math.inf, 0.25]),
        (pa.array([1, 0], pa.int8()), pa.float32(), [1.0, 0.0]),
        (pa.nulls(2), pa.float32(), [None, None]),
        (pa.nulls(2), pa.string(), [None, None]),
        (pa.array([True, None]), pa.string(), ["true", None]),
    ],
)
def test_cast(values: pa.Array, target: pa.DataType, expected: list[Any]) -> None:
    actual = cast(values, target)
    assert actual.type == target
    assert actual.to_pylist() == expected


@pytest.mark.parametrize("captions", [[["a", "b"]], [{"en": "a"}]])
def test_a_nested_column_is_the_users_mistake(captions: list[Any]) -> None:
    table = pa.table({"url": ["u"], "caption": captions})
    with pytest.raises(ValueError, match=r"f: column 'caption' holds .*--columns caption=NAME"):
        canonical_rows("generic", table)


def test_a_value_does_not_depend_on_its_neighbours() -> None:
    ids = pa.array([1.0, 2.5, math.nan, 4.0, None])
    together = cast(ids, pa.string()).to_pylist()
    assert together == [cast(ids[i : i + 1], pa.string())[0].as_py() for i in range(len(ids))]


# whole rows


def test_published_sizes_are_swapped_back() -> None:
    table = pa.table({"URL": ["u"], "TEXT": ["t"], "HEIGHT": [640], "WIDTH": [480]})
    sizes = {
        name: (row["width"], row["height"])
        for name in ("laion2b_en", "laion2b_multi", "laion1b_nolang", "laion400m")
        for row in canonical_rows(name, table)
    }
    assert sizes.pop("laion400m") == (480, 640)
    assert set(sizes.values()) == {(640, 480)}


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (0.1, 0.9, 0.9),
        (0.9, 0.1, 0.9),
        (None, 0.25, 0.25),
        (0.25, None, 0.25),
        (None, None, None),
        (math.nan, 0.1, "nan"),
        (0.9, math.nan, "nan"),
        (math.nan, None, "nan"),
    ],
)
def test_coyo_takes_the_higher_of_its_two_scores(a: Any, b: Any, expected: Any) -> None:
    scores = {"nsfw_score_opennsfw2": [a], "nsfw_score_gantman": [b]}
    columns = {name: pa.array(values, pa.float32()) for name, values in scores.items()}
    (row,) = canonical_rows("coyo700m", pa.table({"url": ["u"], "text": ["t"], **columns}))
    score = row["nsfw_score"]
    assert ("nan" if score is not None and math.isnan(score) else score) == (
        expected if expected in (None, "nan") else float(np.float32(expected))
    )


def test_bad_text_takes_url_and_caption_but_not_the_row() -> None:
    columns = {"URL": [b"http://a.com/\xff", b"http://a.com/"], "TEXT": [b"good", b"\xe9"]}
    rows = canonical_rows("laion400m", pa.table(columns))
    assert [(r["url"], r["caption"], r["invalid_text"]) for r in rows] == [(None, None, True)] * 2
    assert [(r["key"], r["url_hash"], r["source_row"]) for r in rows] == [
        (None, None, 0),
        (None, None, 1),
    ]


def test_a_caption_is_kept_raw_only_where_cleaning_changed_it() -> None:
    table = pa.table({"url": ["http://a.com/"] * 3, "caption": ["a &amp; b", "a & b", None]})
    rows = canonical_rows("generic", table)
    assert [(r["caption"], r["caption_raw"]) for r in rows] == [
        ("a & b", "a &amp; b"),
        ("a & b", None),
        (None, None),
    ]
    assert len({row["key"] for row in rows}) == 3


def test_rows_of_an_earlier_run_keep_key_and_provenance() -> None:
    url, raw = "http://a.com/", "a &amp;amp; b"
    (first,) = canonical_rows("generic", pa.table({"url": [url], "caption": [raw]}))
    kept = pa.Table.from_pylist([first | {"source_row": 77}], pa.schema([*CANONICAL, *DERIVED]))
    (again,) = canonical_rows("run", kept.select(CANONICAL.names))
    assert again == first | {"source_row": 77}


# text files


def read(path: Path, columns: dict[str, str], source_name: str = "generic") -> list[Any]:
    source = with_columns(SOURCES[source_name], columns)
    (file,), unreadable = describe("generic", [str(path)], source.headerless)
    assert not unreadable
    found = []
    for item in filter_items([file], None):
        for piece in item.pieces:
            resolved = resolve(source, piece.columns, piece.path)
            for batch, numbers in PieceReader(piece, resolved):
                made = canonicalise(batch, source, resolved, file="f", rows=numbers)
                found += [(r["source_row"], r["url"], r["caption"]) for r in made.to_pylist()]
    return found


BY_POSITION = {"caption": "0", "url": "1"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\tu\nb\tv\n", [(0, "u", "a"), (1, "v", "b")]),
        (b"a\tu\r\nb\tv", [(0, "u", "a"), (1, "v", "b")]),
        (b"\xef\xbb\xbfa\tu\nb\tv\n", [(0, "u", "a"), (1, "v", "b")]),
        (b"a\tu\n\nb\tv\n", [(0, "u", "a"), (1, None, None), (2, "v", "b")]),
        (b"a\tu\nbad line\nb\tv\nx\ty\tz\nc\tw\n", [(0, "u", "a"), (2, "v", "b"), (4, "w", "c")]),
        (b'say "a"\tu\n"b\tv\n', [(0, "u", 'say "a"'), (1, "v", '"b')]),
        (b"caf\xe9\tu\nb\tv\n", [(0, None, None), (1, "v", "b")]),
        (b"\tu\nNULL\tv\n", [(0, "u", None), (1, "v", "NULL")]),
        # Bare carriage returns end lines for the parser: all rows must still come.
        (b"a\tu\rb\tv\rc\tw\r", [(0, "u", "a"), (1, "v", "b"), (2, "w", "c")]),
    ],
)
def test_tsv_without_a_header(content: bytes, expected: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "f.tsv"
    path.write_bytes(content)
    assert read(path, BY_POSITION) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'"a, b",u\n"c\nd",v\n', [(0, "u", "a, b"), (1, "v", "c d")]),
        (b'"a\nb, ""c""",u\nd,v\n', [(0, "u", 'a b, "c"'), (1, "v", "d")]),
        (b'a,u\n"b ""quoted""",v\n', [(0, "u", "a"), (1, "v", 'b "quoted"')]),
    ],
)
def test_csv_without_a_header(content: bytes, expected: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(content)
    assert read(path, BY_POSITION) == expected


def test_csv_with_a_quoted_header(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(b'"the, url",caption\nu,a\n')
    assert read(path, {"url": "the, url"}) == [(0, "u", "a")]


@pytest.mark.parametrize(("suffix", "codec"), [("gz", "gzip"), ("zst", "zstd"), ("bz2", "bz2")])
@pytest.mark.parametrize("header", [b"", b"text\turl\n"])
def test_compressed_text(suffix: str, codec: str, header: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"f.tsv.{suffix}"
    with pa.CompressedOutputStream(str(path), codec) as file:
        file.write(header + b"a\tu\nb\tv\n")
    assert read(path, {} if header else BY_POSITION) == [(0, "u", "a"), (1, "v", "b")]


@pytest.mark.parametrize(("suffix", "mark"), [("csv", b","), ("tsv", b"\t")])
def test_a_header_that_ends_in_a_bare_return(suffix: str, mark: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"f.{suffix}"
    path.write_bytes(b"text|url\ra|u\rb|v\r".replace(b"|", mark))
    assert read(path, {}) == [(0, "u", "a"), (1, "v", "b")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("extent_bytes", [1, 40, 10_000])
def test_a_tsv_cut_into_pieces_keeps_its_row_numbers(
    end: bytes, extent_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "TEXT_EXTENT_BYTES", extent_bytes)
    monkeypatch.setattr(files, "SCAN_BYTES", 16)
    monkeypatch.setattr(items, "ROWS_PER_ITEM", 4)
    odd = {3: b"", 8: b"bad", 9: b"bad", 20: b"", 21: b"bad", 40: b"bad", 58: b""}
    lines = [odd.get(i, b"c%d\tu%d" % (i, i)) for i in range(60)]
    path = tmp_path / "f.tsv"
    path.write_bytes(b"caption\turl" + end + end.join(lines))
    expected = [
        (i, f"u{i}", f"c{i}") if line else (i, None, None)
        for i, line in enumerate(lines)
        if line != b"bad"
    ]
    assert read(path, {}) == expected


def test_a_source_that_is_declared_wrongly_is_refused_where_it_is_declared() -> None:
    columns = {"url": ("link",), "caption": ("alt",)}
    with pytest.raises(ValueError, match=r"source s: 'widht' is not a column of ours.*width"):
        Source(name="s", summary="S.", rank=90, columns={**columns, "widht": ("w",)})
    with pytest.raises(ValueError, match=r"source s: write 'caption': \('title',\), a tuple"):
        Source(name="s", summary="S.", rank=90, columns={**columns, "caption": "title"})  # type: ignore[dict-item]
    one = Source(name="one", summary="S.", rank=90, columns=columns)
    other = Source(name="other", summary="S.", rank=90, columns=columns)
    with pytest.raises(ValueError, match="one and other both have rank 90"):
        by_rank({"one": one, "other": other})
