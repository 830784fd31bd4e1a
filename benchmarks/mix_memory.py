"""Memory of filter and mix over many rows, and the cost of a bucket and a part.

    python -m benchmarks.mix_memory [--full]

1 M synthetic rows, with `--full` 20 M. A mix item holds one bucket, at most 2 M input rows, so its
memory has a bound that does not depend on the corpus. The per-segment figures are taken at the
bucket count of 2.7 B rows; `docs/scale.md` multiplies them out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import corpus, measure
from benchmarks.measure import Figure

TITLE = "Memory of filter and mix"
ROWS, RSS_MB = 1_000_000, 1_200
FULL_ROWS, FULL_RSS_MB = 20_000_000, 4_000
SCALE_BUCKETS = 2_048
"""Buckets of 2.7 B rows."""


def figures(folder: Path, full: bool) -> list[Figure]:
    """Measure and return the figures; metadata is written under `folder` and left there."""
    rows, bound = (FULL_ROWS, FULL_RSS_MB) if full else (ROWS, RSS_MB)
    out = folder / "run"
    command = [
        "-m", "pipelines.filter", *corpus.inputs(corpus.metadata(folder / "metadata", rows)),
        f"--output={out}",
    ]  # fmt: skip
    filtered = measure.run([*command, "--stop_after=filter"])
    part = folder / "part.parquet"
    shutil.copy(out / "kept" / "part-00000.parquet", part)
    bucket_bytes = sum(file.stat().st_size for file in (out / "buckets").iterdir())
    idle = measure.run([*command, "--stop_after=filter"])
    mixed = measure.run([*command, "--stop_after=mix"])
    lines = json.loads((out / "manifest.json").read_text())["counts"]
    kept = lines["filter"]["out"]
    plan_bytes = sum(file.stat().st_size for file in (out / "plan").iterdir())
    shutil.rmtree(out)
    return [
        measure.below(f"filter, {rows:,} rows: peak memory", filtered.rss_mb, "MB", bound),
        measure.below(f"mix, {rows:,} rows: peak memory", mixed.rss_mb, "MB", bound),
        Figure("kept share", kept / rows, "of the rows"),
        Figure("bucket files", bucket_bytes / kept, "bytes per kept row"),
        Figure("plan files", plan_bytes / kept, "bytes per kept row"),
        Figure("mix", (mixed.cpu_s - idle.cpu_s) / kept * 1e6, "CPU us per kept row"),
        *_at_scale(part),
    ]


def _at_scale(part: Path) -> list[Figure]:
    printed = measure.run(["-m", "benchmarks.bucket_costs", str(part), str(SCALE_BUCKETS)]).output
    costs = json.loads(printed.splitlines()[-1])
    rows, size = costs["rows"], costs["bytes"]
    return [
        Figure(f"part split into {SCALE_BUCKETS} buckets", costs["cut_cpu_s"], "CPU s per part"),
        Figure("its segments", size / rows, "bytes per kept row"),
        Figure("one segment", size / SCALE_BUCKETS / 1024, "KB per ranged read"),
        Figure("loading", costs["load_cpu_s"] / SCALE_BUCKETS * 1e6, "CPU us per segment"),
        Figure("done-marker of a part", costs["marker_bytes"] / 1024, "KB"),
        Figure("planned segment in its plan file", costs["segment_plan_bytes"], "bytes"),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="groundwork-bench-") as folder:
        lines = measure.table(figures(Path(folder), options.full))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
