"""Metadata files as the corpora published them, with known oddities at known rates.

`rows` makes a table of one source in its exact schema, `rows_with_truth` also says what was
planted, `write` and `write_many` make folders of files whose types drift from file to file, as
re-saved copies of these corpora do. Everything follows from the seed. URLs and captions are
generated (`laion_text`) or real (`real_rows`). What is promised, per row and independently:

- 3 % have the URL and the sizes of an earlier row and a caption of their own, 1 % are an earlier
  row again; both within a chunk of `CHUNK_ROWS` rows (constant URL noise and real rows repeat
  themselves besides);
- each score is null in 5 %, NaN in 0.2 % and out of range in 0.2 %;
- sizes: half are usual ones, 0.5 % each exactly 6:1 and 1:6, 1 % beyond, 0.3 % zero or negative,
  0.7 % null; the first LAION-5B releases have width and height exchanged, as published;
- NSFW tags come in three casings, 2 % NSFW, 4 % UNSURE, 1 % null;
- 0.4 % for each kind of caption and URL noise in `laion_text`; 3 captions in 100,000 (and at least
  one in 1,000 rows or more) are 60,000 characters long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from helpers.pipelines import laion_text
from helpers.pipelines.laion_schemas import COYO_COUNTS, SCHEMAS, SWAPPED, TRUTH
from helpers.shared_data import shared_data

CHUNK_ROWS = 500_000
NULL_RATE, NAN_RATE, RANGE_RATE = 0.05, 0.002, 0.002
URL_DUP_RATE, ROW_DUP_RATE = 0.03, 0.01

USUAL_SIZES = np.array(
    [
        (150, 150),
        (300, 300),
        (640, 480),
        (480, 640),
        (1200, 800),
        (800, 1200),
        (1024, 768),
        (736, 981),
    ]
)
TAGS = ["UNLIKELY", "UNSURE", "NSFW"]
LANGUAGES = ["de", "fr", "ru", "zh", "ja", "es", "pl", "nl"]


def rows(n: int, seed: int, source: str, urls: pa.Table | None = None) -> pa.Table:
    """Return n rows of a source's metadata; `urls` (url, caption) replaces generated text."""
    return rows_with_truth(n, seed, source, urls)[0]


def rows_with_truth(
    n: int, seed: int, source: str, urls: pa.Table | None = None
) -> tuple[pa.Table, pa.Table]:
    """Return `rows` and, row by row, what was planted (`TRUTH`)."""
    parts = []
    for chunk, start in enumerate(range(0, n, CHUNK_ROWS)):
        table, truth = _chunk(min(CHUNK_ROWS, n - start), seed, chunk, source, urls)
        dup_of = pc.add(truth["dup_of"], start)
        position = truth.schema.get_field_index("dup_of")
        parts.append((table, truth.set_column(position, "dup_of", dup_of)))
    if not parts:
        return SCHEMAS[source].empty_table(), TRUTH.empty_table()
    return pa.concat_tables(t for t, _ in parts), pa.concat_tables(t for _, t in parts)


def write(
    folder: Path,
    source: str,
    n: int,
    files: int,
    seed: int,
    row_group: int = 100_000,
    file_format: str = "parquet",
    urls: pa.Table | None = None,
    drift: bool = True,
) -> list[Path]:
    """Write n rows in so many files and return their paths, in order."""
    made = write_many(folder, source, n, files, seed, row_group, file_format, urls, drift)
    return list(made)


def write_many(
    folder: Path,
    source: str,
    n: int,
    files: int,
    seed: int,
    row_group: int = 100_000,
    file_format: str = "parquet",
    urls: pa.Table | None = None,
    drift: bool = True,
) -> Iterator[Path]:
    """Write files one by one, holding one chunk of rows in memory, and yield each when closed.

    File i has rows of seed (seed, i), so a file does not change with the number of files after it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(files):
        count = n // files + (index < n % files)
        path = folder / f"part-{index:05d}.{file_format}"
        change = DRIFTS[index % len(DRIFTS)] if drift else DRIFTS[0]
        chunks = (
            change(_chunk(min(CHUNK_ROWS, count - start), seed, (index, start), source, urls)[0])
            for start in range(0, max(count, 1), CHUNK_ROWS)
        )
        _write_file(path, chunks, row_group)
        yield path


def _write_file(path: Path, chunks: Iterator[pa.Table], row_group: int) -> None:
    first = next(chunks)
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
            for table in _prepend(first, chunks):
                writer.write_table(table, row_group_size=row_group)
        return
    options = pyarrow.csv.WriteOptions(delimiter="\t" if path.suffix == ".tsv" else ",")
    with pyarrow.csv.CSVWriter(path, first.schema, write_options=options) as writer:
        for table in _prepend(first, chunks):
            writer.write_table(table)


def _prepend(first: pa.Table, others: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from others


def real_rows() -> pa.Table | None:
    """Return real (url, caption) rows of LAION-400M and CC3M, or None where they are not here."""
    data = shared_data()
    if data is None:
        return None
    laion = pq.read_table(data / "metadata" / "laion400m" / "test_10000.parquet")
    lines = (data / "metadata" / "cc3m" / "Validation_GCC-1.1.0-Validation.tsv").read_text("utf-8")
    pairs = [line.split("\t") for line in lines.splitlines() if line.count("\t") == 1]
    conceptual = pa.table({"url": [p[1] for p in pairs], "caption": [p[0] for p in pairs]})
    return pa.concat_tables([laion.rename_columns(["url", "caption"]), conceptual])


def _chunk(
    n: int, seed: int, part: int | tuple[int, int], source: str, urls: pa.Table | None
) -> tuple[pa.Table, pa.Table]:
    parts = part if isinstance(part, tuple) else (part,)
    rng = np.random.default_rng([seed, *parts])
    tag = "-".join(map(str, (seed, *parts)))
    text = _text(rng, n, tag, urls)
    width, height = _sizes(rng, n)
    kind, earlier = _duplicates(rng, n)
    by_url = np.where(kind == 1, earlier, np.arange(n))
    facts = {
        "url": text["url"].take(pa.array(by_url)),
        "caption": text["caption"],
        "true_width": width.take(pa.array(by_url)),
        "true_height": height.take(pa.array(by_url)),
        "planted_url": text["planted_url"].take(pa.array(by_url)),
        "planted_caption": text["planted_caption"],
    }
    columns = {field.name: _column(rng, n, field, source, facts) for field in SCHEMAS[source]}
    again = pa.array(np.where(kind == 2, earlier, np.arange(n)))
    table = pa.table(columns, schema=SCHEMAS[source]).take(again)
    planted = pa.table({name: facts[name] for name in facts if name in TRUTH.names}).take(again)
    truth = planted.append_column("dup_of", pa.array(earlier, mask=kind == 0))
    kinds = pa.array([None, "url", "row"]).take(pa.array(kind))
    return table.combine_chunks(), truth.append_column("dup_kind", kinds).select(TRUTH.names).cast(
        TRUTH
    )


def _text(rng: np.random.Generator, n: int, tag: str, urls: pa.Table | None) -> dict[str, pa.Array]:
    if urls is None:
        url, caption = laion_text.urls(rng, n, tag), laion_text.captions(rng, n)
    else:
        url, caption = _from_real(n, urls)
    url, url_kind = laion_text.plant(rng, url, laion_text.URL_NOISE)
    caption, caption_kind = laion_text.plant(rng, caption, laion_text.CAPTION_NOISE)
    long_rows = np.flatnonzero(rng.random(n) < 3e-5)
    if n >= 1000 and not len(long_rows):
        long_rows = rng.integers(0, n, 1)
    caption_kind[long_rows] = len(laion_text.CAPTION_NOISE)
    names = [*laion_text.CAPTION_NOISE, "caption_long"]
    return {
        "url": _as_text(url),
        "caption": _as_text(laion_text.lengthen(rng, caption, long_rows)),
        "planted_url": _named(list(laion_text.URL_NOISE), url_kind),
        "planted_caption": _named(names, caption_kind),
    }


def _from_real(n: int, urls: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Cycle through real rows; from the second round on, URLs get a query to stay different."""
    rounds, at = np.divmod(np.arange(n), urls.num_rows)
    drawn = urls.select(["url", "caption"]).combine_chunks().take(pa.array(at)).combine_chunks()
    suffix = pc.binary_join_element_wise("?round=", pa.array(rounds).cast(pa.string()), "")
    url = drawn["url"].chunk(0) if drawn.num_rows else pa.array([], pa.string())
    caption = drawn["caption"].chunk(0) if drawn.num_rows else pa.array([], pa.string())
    suffix = pc.if_else(pa.array(rounds > 0), suffix, "")
    return pc.binary_join_element_wise(url, suffix, ""), caption


def _as_text(column: pa.Array) -> pa.Array:
    """Call bytes a string without looking: some are not UTF-8, as in files of careless writers."""
    return column.cast(pa.string(), safe=False)


def _named(names: list[str], index: np.ndarray) -> pa.Array:
    return pa.array(names).take(pa.array(index, mask=index < 0))


def _sizes(rng: np.random.Generator, n: int) -> tuple[pa.Array, pa.Array]:
    width, height = USUAL_SIZES[rng.integers(0, len(USUAL_SIZES), n)].T.copy()
    draw = rng.random(n)
    free = draw >= 0.5
    side = np.exp(rng.uniform(np.log(80), np.log(3000), n))
    ratio = np.exp(rng.normal(0, 0.35, n)).clip(0.2, 5)
    width[free] = (side * np.sqrt(ratio))[free].round()
    height[free] = (side / np.sqrt(ratio))[free].round()
    short = rng.integers(50, 400, n)
    beyond = np.ceil(short * rng.uniform(6.02, 20, n)).astype(int)
    for low, high, wide, tall in (
        (0.0, 0.005, 6 * short, short),
        (0.005, 0.01, short, 6 * short),
        (0.01, 0.015, beyond, short),
        (0.015, 0.02, short, beyond),
        (0.02, 0.0215, 0 * short, short),
        (0.0215, 0.023, -short, short),
    ):
        here = (draw >= low) & (draw < high)
        width[here], height[here] = wide[here], tall[here]
    missing = (draw >= 0.023) & (draw < 0.03)
    return (
        pa.array(width.astype(np.int32), mask=missing),
        pa.array(height.astype(np.int32), mask=missing),
    )


def _duplicates(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return per row 0, 1 (same URL) or 2 (same row), and the earlier original row."""
    draw = rng.random(n)
    kind = np.where(draw < ROW_DUP_RATE, 2, np.where(draw < ROW_DUP_RATE + URL_DUP_RATE, 1, 0))
    kind[:1] = 0
    originals = np.flatnonzero(kind == 0)
    before = np.searchsorted(originals, np.arange(n))
    earlier = originals[(rng.random(n) * before).astype(np.int64)] if n else originals
    return kind, earlier


def _column(
    rng: np.random.Generator, n: int, field: pa.Field, source: str, facts: dict[str, pa.Array]
) -> pa.Array:
    name = field.name.lower()
    if name in ("width", "height"):
        swapped = {"width": "height", "height": "width"}[name] if source in SWAPPED else name
        return facts[f"true_{swapped}"]
    if name in ("url", "text", "caption"):
        return facts["url" if name == "url" else "caption"]
    if pa.types.is_floating(field.type):
        return _score(rng, n, name, field.type)
    if name in COYO_COUNTS:
        return _count(rng, n, name, facts["caption"])
    if pa.types.is_integer(field.type):
        return pa.array(rng.integers(-(2**62) if name == "hash" else 0, 2**62, n))
    return _name(rng, n, name)


def _score(rng: np.random.Generator, n: int, name: str, kind: pa.DataType) -> pa.Array:
    if "similarity" in name:
        values, outside = 0.26 + 0.12 * rng.beta(2, 5, n), 6016.0
    elif "aesthetic" in name:
        values, outside = rng.normal(5, 0.8, n).clip(0, 10), -3.0
    else:
        # About 3 % above 0.5 for safety scores, 6 % above 0.8 for watermarks.
        high = rng.random(n) < (0.08 if "watermark" in name else 0.034)
        values = np.where(high, rng.uniform(0.4, 1, n), rng.beta(0.5, 12, n).clip(0, 0.39))
        if "watermark" in name:
            values = np.where(high, rng.uniform(0.6, 1, n), rng.beta(1.2, 4, n).clip(0, 0.79))
        outside = 1.7
    odd = rng.random(n)
    values[odd < NAN_RATE] = np.nan
    values[(odd >= NAN_RATE) & (odd < NAN_RATE + RANGE_RATE)] = outside
    return pa.array(values, mask=rng.random(n) < NULL_RATE).cast(kind)


def _count(rng: np.random.Generator, n: int, name: str, caption: pa.Array) -> pa.Array:
    if name == "num_faces":
        return pa.array(rng.poisson(0.4, n).astype(np.int32))
    size = pc.fill_null(pc.binary_length(caption), 0)
    if name == "text_length":
        return size
    per_word = {"word_count": 6.0, "num_tokens_bert": 4.4, "num_tokens_gpt": 4.2}[name]
    return pc.ceil(pc.divide(size.cast(pa.float64()), per_word)).cast(pa.int32())


def _name(rng: np.random.Generator, n: int, name: str) -> pa.Array:
    if name == "image_phash":
        return laion_text.hex_digits(rng, n, 16)
    if name == "language":
        return pa.array(LANGUAGES).take(pa.array(rng.integers(0, len(LANGUAGES), n)))
    if name == "license":
        return pa.array(["?", "", "cc-by 2.0"]).take(
            pa.array(rng.choice(3, n, p=[0.9, 0.08, 0.02]))
        )
    assert name == "nsfw", name
    tag = rng.choice(len(TAGS), n, p=[0.94, 0.04, 0.02])
    casings = [spell(tag_name) for tag_name in TAGS for spell in (str.upper, str.lower, str.title)]
    drawn = 3 * tag + rng.integers(0, 3, n)
    return pa.array(casings).take(pa.array(drawn, mask=rng.random(n) < 0.01))


def _retyped(*pairs: tuple[pa.DataType, pa.DataType]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        new = [f.with_type(dict(pairs).get(f.type, f.type)) for f in table.schema]
        return table.cast(pa.schema(new), safe=False)

    return change


DRIFTS: tuple[Callable[[pa.Table], pa.Table], ...] = (
    _retyped(),
    _retyped((pa.int32(), pa.float64()), (pa.int64(), pa.float64())),
    _retyped((pa.float32(), pa.float64()), (pa.float64(), pa.float32())),
    _retyped((pa.string(), pa.large_string())),
)
"""What re-saving did to the types of file i, by i modulo 4: nothing; integers became floats;
single and double precision exchanged; strings became large strings."""
