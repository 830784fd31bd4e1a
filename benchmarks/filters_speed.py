"""Rows per CPU-second of the `cogvlm` filters, in both funnel modes and filter by filter.

    python -m benchmarks.filters_speed [METADATA.parquet]

Goes in: a parquet file with the columns URL and TEXT (LAION's names), repeated to 100,000 rows; the
other columns are random. Without a file, generated rows of the same lengths. Comes out: lines on
stdout.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import filters
from shards.identity import canonical_urls
from shards.text import clean_captions

NUM_ROWS = 100_000
BATCH_ROWS = 65_536
REPEATS = 5


def main() -> None:
    """Measure and print."""
    batch = metadata_batch(*(_read(sys.argv[1]) if len(sys.argv) > 1 else _made_up()))
    batches = [batch.slice(0, BATCH_ROWS), batch.slice(BATCH_ROWS)]
    chain = filters.build_chain("cogvlm")
    lines = []
    for mode in ("first", "full"):
        seconds = _best_cpu_s(lambda b, m=mode: filters.apply_chain(b, chain, m).counts, batches)
        lines.append(f"{mode:24s} {batch.num_rows / seconds:12,.0f} rows per CPU-s")
    for one in chain.filters:
        seconds = _best_cpu_s(one.verdicts, batches)
        lines.append(f"{one.name:24s} {seconds / batch.num_rows * 1e6:12.3f} us per row")
    sys.stdout.write("\n".join(lines) + "\n")


def metadata_batch(urls: pa.Array, captions: pa.Array) -> pa.RecordBatch:
    """Fill up to `NUM_ROWS` rows with the columns that the filters read."""
    rows = pa.array(np.arange(NUM_ROWS) % len(urls))
    urls, captions = urls.take(rows), clean_captions(captions).take(rows)
    draw = np.random.default_rng(0)
    sides = draw.lognormal(6.2, 0.5, (2, NUM_ROWS))
    return pa.RecordBatch.from_pydict(
        {
            "url": urls,
            "canonical_url": canonical_urls(urls),
            "caption": captions,
            "invalid_text": pa.repeat(pa.scalar(False), NUM_ROWS),
            "width": pa.array(sides[0], pa.int32(), safe=False),
            "height": pa.array(sides[1], pa.int32(), safe=False),
            "nsfw_score": pa.array(draw.beta(0.3, 6.0, NUM_ROWS), pa.float32()),
            "nsfw_tag": pa.nulls(NUM_ROWS, pa.string()),
        }
    )


def _read(path: str) -> tuple[pa.Array, pa.Array]:
    table = pq.read_table(path, columns=["URL", "TEXT"]).combine_chunks()
    return table.column("URL").chunk(0), table.column("TEXT").chunk(0)


def _made_up() -> tuple[pa.Array, pa.Array]:
    draw = np.random.default_rng(1)
    words = ["".join(map(chr, draw.integers(97, 123, draw.integers(2, 11)))) for _ in range(5000)]
    picks = [draw.integers(0, len(words), draw.integers(4, 14)) for _ in range(10_000)]
    captions = [" ".join(words[i] for i in pick) for pick in picks]
    urls = [
        f"https://img{i % 97}.{words[i % 5000]}.com/{caption.replace(' ', '-')}-{i:012d}.jpg"
        for i, caption in enumerate(captions)
    ]
    return pa.array(urls), pa.array(captions)


def _best_cpu_s(work: Callable[[pa.RecordBatch], object], batches: list[pa.RecordBatch]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        for batch in batches:
            work(batch)
        best = min(best, time.process_time() - start)
    return best


if __name__ == "__main__":
    main()
