"""Whatever the input is like: one line and code 2, or a counted reason; never a lost row."""

from __future__ import annotations

import bz2
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.pipelines import jobs

URL = "http://a.example.com/{}.jpg"
CAPTION = "a photograph of the old river beside bridge number {}"
KEEP = "--nsfw_missing=keep"


def table(rows: int, **columns: Any) -> pa.Table:
    """Return rows that every rule keeps, with some columns replaced."""
    numbers = range(1800, 1800 + rows)
    good = {
        "url": [URL.format(i) for i in numbers],
        "caption": [CAPTION.format(i) for i in numbers],
        "nsfw_score": [0.1] * rows,
    }
    return pa.table({**good, **columns})


def parquet(path: Path, content: pa.Table, **how: Any) -> Path:
    pq.write_table(content, path, **how)
    return path


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def filtered(output: Path, *flags: str) -> tuple[int, str]:
    return jobs.run([f"--output={output}", "--stop_after=filter", "--rejects=all", *flags])


def refused(output: Path, *flags: str) -> str:
    """Run a job that must be refused in one line; return that line."""
    code, errors = filtered(output, *flags)
    (line,) = [each for each in errors.splitlines() if each.startswith("error: ")]
    assert code == 2, errors
    return line


def ends(output: Path) -> dict[int, str]:
    """Return where each row of the input ended, by its number; checks the accounting."""
    found = dict.fromkeys(_rows(output, "kept"), "kept")
    for part in (output / "rejects").glob("*.parquet"):
        rejects = pq.read_table(part)
        found |= dict(
            zip(rejects["source_row"].to_pylist(), rejects["reason"].to_pylist(), strict=True)
        )
    counted = counts(output)
    assert Counter(found.values()) == +Counter(
        {"kept": counted["out"], **counted["left_out"], "unreadable_rows": 0}
    )
    return found


def counts(output: Path) -> dict[str, Any]:
    """Return the filter stage's line; checks that it adds up."""
    line: dict[str, Any] = jobs.counts(output)["filter"]
    assert line["in"] == line["out"] + sum(line["left_out"].values())
    return line


def _rows(output: Path, folder: str) -> list[int]:
    parts = sorted((output / folder).glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part)["source_row"].to_pylist()]


DAMAGED = {
    "cut.parquet": lambda data: data[: len(data) // 2],
    "short.parquet": lambda data: data[:10],
    "empty.parquet": lambda data: b"",
    "other.parquet": lambda data: b"<html>" * 100,
    "footer.parquet": lambda data: data[:-40] + b"\xff" * 32 + data[-8:],
    "empty.csv": lambda data: b"",
    "plain.csv.gz": lambda data: b"url,caption\n",
    "plain.csv.bz2": lambda data: b"url,caption\n",
    "plain.csv.zst": lambda data: b"url,caption\n",
    "damaged.tsv.gz": lambda data: gzip.compress(data)[:20] + b"\0" * 50,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_cannot_be_opened(name: str, tmp_path: Path) -> None:
    good = parquet(tmp_path / "good.parquet", table(5))
    bad = write(tmp_path / name, DAMAGED[name](good.read_bytes()))
    flags = (f"--input={bad}", f"--input={good}")
    told = refused(tmp_path / "run", *flags)
    assert str(bad) in told and "--max_unreadable" in told
    assert not (tmp_path / "run").exists()

    assert filtered(tmp_path / "run", *flags, "--max_unreadable=1")[0] == 0
    assert (counts(tmp_path / "run")["in"], counts(tmp_path / "run")["out"]) == (5, 5)
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())["unreadable_inputs"]
    assert list(recorded) == [name]


def test_a_damaged_page_costs_its_rows_and_says_how_many(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", table(36), row_group_size=12, compression="none")
    page = pq.read_metadata(path).row_group(1).column(1).data_page_offset
    data = path.read_bytes()
    write(path, data[:page] + b"\xff" * 60 + data[page + 60 :])
    told = refused(tmp_path / "run", f"--input={path}")
    assert str(path) in told and "12 planned rows" in told and "--max_unreadable" in told

    assert filtered(tmp_path / "run", f"--input={path}", "--max_unreadable=1")[0] == 0
    line = counts(tmp_path / "run")
    assert (line["in"], line["out"], line["left_out"]["unreadable_rows"]) == (36, 24, 12)
    assert set(_rows(tmp_path / "run", "kept")) == {*range(12), *range(24, 36)}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_packed_file_that_is_cut_short(pack: Any, tmp_path: Path) -> None:
    lines = "".join(f"{URL.format(i)},{CAPTION.format(i)}\n" for i in range(500))
    suffix = {gzip.compress: "gz", bz2.compress: "bz2"}[pack]
    path = write(tmp_path / f"a.csv.{suffix}", pack(f"url,caption\n{lines}".encode())[:-20])
    flags = (f"--input={path}", KEEP)
    told = refused(tmp_path / "run", *flags)
    assert str(path) in told and "--max_unreadable" in told
    assert filtered(tmp_path / "run", *flags, "--max_unreadable=1")[0] == 0
    counts(tmp_path / "run")


@pytest.mark.parametrize("column", ["url", "caption"])
def test_a_missing_column(column: str, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", table(2).drop_columns([column]))
    told = refused(tmp_path / "run", f"--input={path}")
    assert f"needs a column for {column!r}" in told and str(path) in told and "--columns" in told


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("{}/none-*.parquet", "no such file"),
        ("coyo700m={}/none.parquet", "no such file"),
        ("{}/folder", "no such file"),
        ("{}/a.json", "not a .parquet, .csv or .tsv file"),
        ("laion2b_enn={}/a.parquet", "did you mean 'laion2b_en'"),
        ("run={}/folder", "no filtered rows there"),
    ],
)
def test_an_input_that_names_nothing(argument: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path / "a.json", b"{}")
    assert told in refused(tmp_path / "run", f"--input={argument.format(tmp_path)}")


def test_no_input_and_no_output(tmp_path: Path) -> None:
    assert "--input is missing" in refused(tmp_path / "run")
    code, errors = jobs.run([f"--input={tmp_path}"])
    assert (code, "--output is missing" in errors) == (2, True)


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_an_output_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    write(tmp_path / "file", b"")
    path = parquet(tmp_path / "a.parquet", table(2))
    told = refused(tmp_path / place, f"--input={path}")
    assert f"{tmp_path / 'file'} is not a folder; give another --output" in told


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_an_output_that_is_somebody_elses(overwrite: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write(tmp_path / "run" / "thesis.tex", b"years of work")
    path = parquet(tmp_path / "a.parquet", table(2))
    assert "thesis.tex" in refused(tmp_path / "run", f"--input={path}", *overwrite)
    assert [each.name for each in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_nulls_and_numbers_out_of_range(tmp_path: Path) -> None:
    rows = [  # url, caption, score, width, height -> end
        (URL, CAPTION, 0.1, 640, 480, "kept"),
        (None, CAPTION, 0.1, 640, 480, "url_missing"),
        (URL, None, 0.1, 640, 480, "caption_missing"),
        (URL, "", 0.1, 640, 480, "caption_missing"),
        (URL, "   \u3000 ", 0.1, 640, 480, "caption_missing"),
        (URL, CAPTION, None, 640, 480, "nsfw_missing"),
        (URL, CAPTION, float("nan"), 640, 480, "score_invalid"),
        (URL, CAPTION, float("inf"), 640, 480, None),  # some reason, checked below
        (URL, CAPTION, -0.5, 640, 480, "score_invalid"),
        (URL, CAPTION, 0.1, None, None, "kept"),
        (URL, CAPTION, 0.1, -1, 480, "kept"),  # unknown: decided when it is decoded
        (URL, CAPTION, 0.1, 0, 0, "kept"),
        (URL, CAPTION, 0.1, 2**31 - 1, 1, "aspect_ratio"),
        (URL, CAPTION, 0.1, -(2**31), 2**31 - 1, "kept"),
        (None, None, None, None, None, None),
    ]
    columns = dict(
        zip(
            ("url", "caption", "nsfw_score", "width", "height"),
            zip(*rows, strict=True),
            strict=False,
        )
    )
    columns["url"] = [u and u.format(i) for i, u in enumerate(columns["url"])]
    columns["caption"] = [c and c.format(i) for i, c in enumerate(columns["caption"])]
    path = parquet(tmp_path / "a.parquet", pa.table({k: list(v) for k, v in columns.items()}))
    assert filtered(tmp_path / "run", f"--input={path}")[0] == 0
    found = ends(tmp_path / "run")
    assert len(found) == len(rows)
    assert {i: found[i] for i, row in enumerate(rows) if row[-1]} == {
        i: row[-1] for i, row in enumerate(rows) if row[-1]
    }
    assert found[7] in ("nsfw", "score_invalid") and found[14] != "kept"


def test_numbers_of_other_types(tmp_path: Path) -> None:
    """Sizes as doubles with NaN and infinity, scores as text, strings large or as dictionaries."""
    rows = table(
        6,
        width=[float("nan"), float("inf"), 1e300, 640.7, None, 640.0],
        height=[480.0, 480.0, 480.0, 480.0, 480.0, -1e300],
        nsfw_score=["0.1", "0.9", "much", "", None, "1e-3"],
    )
    rows = rows.set_column(0, "url", rows["url"].cast(pa.large_string()))
    rows = rows.set_column(1, "caption", rows["caption"].dictionary_encode())
    path = parquet(tmp_path / "a.parquet", rows)
    assert filtered(tmp_path / "run", f"--input={path}")[0] == 0
    assert ends(tmp_path / "run") == {
        0: "kept",
        1: "nsfw",
        2: "nsfw_missing",
        3: "nsfw_missing",
        4: "nsfw_missing",
        5: "kept",
    }


BAD_BYTES = [
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xed\xb2\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
]


@pytest.mark.parametrize("kind", [pa.binary(), pa.string(), pa.large_string()])
def test_invalid_utf8_and_lone_surrogates(kind: pa.DataType, tmp_path: Path) -> None:
    good = CAPTION.format(1).encode()
    captions = [good, *(good + bad for bad in BAD_BYTES)]
    urls = [URL.format(i).encode() for i in range(len(captions))]
    captions, urls = [*captions, good], [*urls, b"http://a.example.com/\xff.jpg"]
    rows = pa.table(
        {
            "url": _unchecked(urls, kind),
            "caption": _unchecked(captions, kind),
            "nsfw_score": [0.1] * len(urls),
        }
    )
    path = parquet(tmp_path / "a.parquet", rows)
    assert filtered(tmp_path / "run", f"--input={path}")[0] == 0
    found = ends(tmp_path / "run")
    assert found == {0: "kept", **dict.fromkeys(range(1, len(urls)), "invalid_text")}


def test_characters_that_are_no_characters(tmp_path: Path) -> None:
    """Entities of surrogates and NUL become text that can be stored, or a reason."""
    odd = ["&#xD800; ", "&#0; ", "\0 ", "\ufffe ", "\u202e ", "\U0010ffff "]
    path = parquet(tmp_path / "a.parquet", table(6, caption=[o + CAPTION.format(1) for o in odd]))
    assert filtered(tmp_path / "run", f"--input={path}")[0] == 0
    assert len(ends(tmp_path / "run")) == 6
    for part in (tmp_path / "run" / "kept").glob("*.parquet"):
        pq.read_table(part).validate(full=True)


def test_captions_of_60000_characters(tmp_path: Path) -> None:
    long = ["word " * 12_000, "x" * 60_000, "漢" * 60_000, "&amp;" * 12_000, "a\n" * 30_000]
    path = parquet(tmp_path / "a.parquet", table(6, caption=[*long, CAPTION.format(1)]))
    assert filtered(tmp_path / "run", f"--input={path}")[0] == 0
    found = ends(tmp_path / "run")
    assert found[5] == "kept"
    assert all(found[i].startswith("caption_") for i in range(5)), found


def test_csv_ragged_lines_and_quoted_newlines(tmp_path: Path) -> None:
    lines = [
        "url,caption,nsfw_score",
        f'{URL.format(0)},"a fine caption\nof ""two"" lines, really",0.1',
        f"{URL.format(1)},one,cell,too,many",
        URL.format(2),
        f"{URL.format(3)},{CAPTION.format(3)},0.9",
        "",
        f"{URL.format(5)},{CAPTION.format(5)},0.1",
    ]
    path = write(tmp_path / "a.csv", "\r\n".join([*lines, ""]).encode())
    assert filtered(tmp_path / "run", f"--input={path}")[0] == 0
    line = counts(tmp_path / "run")
    assert (line["in"], line["out"]) == (6, 2)
    left_out = {name: rows for name, rows in line["left_out"].items() if rows}
    assert left_out == {"unreadable_rows": 2, "nsfw": 1, "url_missing": 1}  # an empty line
    kept = pa.concat_tables(
        pq.read_table(part) for part in sorted((tmp_path / "run" / "kept").glob("*"))
    )
    assert kept["caption"].to_pylist() == [
        'a fine caption of "two" lines, really',
        CAPTION.format(5),
    ]
    assert kept["source_row"].to_pylist() == [0, 5]


@pytest.mark.parametrize("suffix", ["tsv", "tsv.gz", "tsv.bz2"])
def test_tsv_without_a_header(suffix: str, tmp_path: Path) -> None:
    lines = [
        f'a "half quoted caption of something\t{URL.format(0)}',
        f"{CAPTION.format(1)}\t{URL.format(1)}",
        "ragged",
        f"{CAPTION.format(3)}\t{URL.format(3)}",
    ]
    data = "\n".join(lines).encode()  # no newline at the end
    pack = {"tsv": bytes, "tsv.gz": gzip.compress, "tsv.bz2": bz2.compress}[suffix]
    path = write(tmp_path / f"a.{suffix}", pack(data))
    flags = (f"--input={path}", "--columns=caption=0,url=1", KEEP)
    assert filtered(tmp_path / "run", *flags)[0] == 0
    line = counts(tmp_path / "run")
    assert (line["in"], line["out"], line["left_out"]["unreadable_rows"]) == (4, 3, 1)
    assert sorted(_rows(tmp_path / "run", "kept")) == [0, 1, 3]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet"])
def test_a_file_without_rows(name: str, tmp_path: Path) -> None:
    if name.endswith("parquet"):
        path = parquet(tmp_path / name, table(0))
    else:
        path = write(
            tmp_path / name, b"url,caption\n".replace(b",", b"," if "csv" in name else b"\t")
        )
    output = tmp_path / "run"
    assert jobs.run([f"--output={output}", f"--input={path}", KEEP])[0] == 0
    assert [line["in"] for line in jobs.counts(output).values()] == [0, 0, 0]


def test_an_input_that_changed_is_another_run(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", table(5))
    assert filtered(tmp_path / "run", f"--input={path}")[0] == 0
    before = jobs.covered(tmp_path / "run")
    parquet(path, table(6))
    told = refused(tmp_path / "run", f"--input={path}")
    assert "a.parquet: was" in told and ", now" in told and "--overwrite" in told
    told = refused(tmp_path / "run", f"--input={parquet(tmp_path / 'b.parquet', table(5))}")
    assert "input generic b.parquet: was None" in told
    assert jobs.covered(tmp_path / "run") == before


def test_two_runs_into_one_output(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", table(5))
    flags = (f"--input={path}",)
    assert filtered(tmp_path / "run", *flags)[0] == 0
    before = jobs.covered(tmp_path / "run")
    told = refused(tmp_path / "run", *flags, "--seed=1", "--set=*.nsfw.score.threshold=0.3")
    assert "--seed: was 0, now 1" in told and "nsfw.score" in told
    assert "--overwrite, or another --output" in told
    assert jobs.covered(tmp_path / "run") == before
    assert filtered(tmp_path / "run", *flags, "--seed=1", "--overwrite")[0] == 0
    assert filtered(tmp_path / "fresh", *flags, "--seed=1")[0] == 0
    assert jobs.covered(tmp_path / "run") == jobs.covered(tmp_path / "fresh")


def test_overwrite_removes_nothing_before_everything_is_checked(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", table(5))
    assert filtered(tmp_path / "run", f"--input={path}")[0] == 0
    before = jobs.covered(tmp_path / "run")
    for wrong in ("--input=nothing.parquet", "--preset=cogvml", "--set=*.x.y=1", "--num_tasks=2"):
        refused(tmp_path / "run", f"--input={path}", "--overwrite", wrong)
    refused(tmp_path / "run", f"--input=run={tmp_path / 'run'}", "--overwrite")
    assert filtered(tmp_path / "run", f"--input={path}", "--overwrite", "--dry_run")[0] == 0
    assert jobs.covered(tmp_path / "run") == before


def test_a_download_without_a_run_says_how_to_start_one(tmp_path: Path) -> None:
    code, errors = jobs.run([f"--output={tmp_path / 'none'}"], "pipelines.download")
    assert code == 2 and "python -m pipelines.filter" in errors


def _unchecked(values: list[bytes], kind: pa.DataType) -> pa.Array:
    """Return an array of strings whose bytes nobody has looked at."""
    offsets = np.cumsum([0, *map(len, values)]).astype(
        np.int64 if kind == pa.large_string() else np.int32
    )
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(kind, len(values), buffers)
