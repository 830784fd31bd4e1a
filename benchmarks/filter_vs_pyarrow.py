"""Rows per CPU second and memory of `pipelines.filter --stop_after=filter`, compared with pyarrow.

    python -m benchmarks.filter_vs_pyarrow [--full]

4 M rows with LAION's joined columns in one process; the whole command counts. The steady figures
are differences between 4 M and 1 M rows, which excludes start-up. `--full` adds 16 M rows, to show
that memory does not grow with the input.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import corpus, measure
from benchmarks.measure import Cost, Figure

TITLE = "Filter against bare pyarrow"
ROWS, FEW_ROWS, MANY_ROWS = 4_000_000, 1_000_000, 16_000_000
RSS_MB = 600
FLAT_MB = 60
"""How much more memory 16 M rows may take than 4 M."""

_ROUNDS = 3


def figures(folder: Path, full: bool) -> list[Figure]:
    """Measure and return the figures; metadata is written under `folder` and left there."""
    files = corpus.metadata(folder / "metadata", ROWS)
    few = files[: FEW_ROWS // corpus.FILE_ROWS]
    ours, bare, steady = [], [], []
    for _ in range(_ROUNDS):
        ours.append(_ours(folder, files))
        bare.append(_bare(folder, files))
        steady.append((_ours(folder, few).cpu_s, _bare(folder, few).cpu_s))
    cpu, bare_cpu = (measure.median(c.cpu_s for c in costs) for costs in (ours, bare))
    rest = ROWS - FEW_ROWS
    rate = rest / (cpu - measure.median(s[0] for s in steady))
    bare_rate = rest / (bare_cpu - measure.median(s[1] for s in steady))
    rss = max(cost.rss_mb for cost in ours)
    lines = [
        Figure("ours, 4 M rows, whole command", ROWS / cpu, "rows per CPU s"),
        Figure("bare pyarrow, 4 M rows", ROWS / bare_cpu, "rows per CPU s"),
        measure.at_least("ours : bare, whole command", bare_cpu / cpu, "x", 0.9),
        Figure("ours, steady", rate, "rows per CPU s"),
        Figure("bare pyarrow, steady", bare_rate, "rows per CPU s"),
        measure.at_least("ours : bare, steady", rate / bare_rate, "x", 0.9),
        measure.below("peak memory, 4 M rows", rss, "MB", RSS_MB),
    ]
    if full:
        many = _ours(folder, corpus.metadata(folder / "metadata", MANY_ROWS)).rss_mb
        lines.append(measure.below("peak memory, 16 M rows", many, "MB", RSS_MB))
        lines.append(measure.below("growth from 4 M to 16 M rows", many - rss, "MB", FLAT_MB))
    return lines


def _ours(folder: Path, files: list[Path]) -> Cost:
    out = folder / "run"
    cost = measure.run(
        ["-m", "pipelines.filter", *corpus.inputs(files), f"--output={out}", "--stop_after=filter"]
    )
    shutil.rmtree(out)
    return cost


def _bare(folder: Path, files: list[Path]) -> Cost:
    out = folder / "bare"
    cost = measure.run(["-m", "benchmarks.bare_filter", str(out), *map(str, files)])
    shutil.rmtree(out)
    return cost


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
