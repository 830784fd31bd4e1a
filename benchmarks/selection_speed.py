"""Selection from as many labelled images as a grounding set needs.

    python -m benchmarks.selection_speed [--full]

4 M synthetic images, with `--full` 40 M. The first pass counts each image, then the cut is made,
and the second pass decides for each whether it is kept. Both passes run in chunks on one core, as
in a worker. Ranks are computed from keys in a table; making the keys does not count.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks import measure
from benchmarks.measure import Figure

TITLE = "Selection of images with two boxes"
ROWS, FULL_ROWS = 4_000_000, 40_000_000
FULL_CPU_S, RSS_MB = 60.0, 2_000

_CHUNK_ROWS = 1_000_000
_BOXES = (0.15, 0.45, 0.25, 0.15)  # images with none, one, two, three

T = TypeVar("T")


def figures(folder: Path, full: bool) -> list[Figure]:
    """Select in a child process and return the figures."""
    rows = FULL_ROWS if full else ROWS
    cost = measure.run(["-m", "benchmarks.selection_speed", "--rows", str(rows)])
    result = json.loads(cost.output.splitlines()[-1])
    total_s = sum(result[name] for name in ("rank_s", "count_s", "cut_s", "keep_s"))
    bound_s = FULL_CPU_S * rows / FULL_ROWS
    return [
        measure.below(f"selection, {rows:,} images", total_s, "CPU s", bound_s),
        measure.below(f"selection, {rows:,} images: peak memory", cost.rss_mb, "MB", RSS_MB),
        Figure("ranks from keys, two passes", result["rank_s"] / rows * 1e9, "ns per image"),
        Figure("counting", result["count_s"] / rows * 1e9, "ns per image"),
        Figure("deciding", result["keep_s"] / rows * 1e9, "ns per image"),
        Figure("cut", result["cut_s"] * 1000, "ms"),
        Figure("kept", result["kept"] / rows, "of the images"),
        measure.at_least("their share with two boxes", result["multi"] / result["kept"], "", 0.75),
    ]


class _Clock:
    """CPU seconds by part of the work."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], T]) -> T:
        started = time.process_time()
        result = work()
        self.spent_s[name] = self.spent_s.get(name, 0.0) + time.process_time() - started
        return result


def select(rows: int) -> dict[str, float]:
    """Select two thirds of the images; return the seconds and what was kept."""
    from grounding import selection

    clock, table, kept, multi = _Clock(), selection.Histogram.empty(), 0, 0
    for keys, boxes in _chunks(rows):
        u = clock("rank_s", lambda keys=keys: selection.ranks(keys, 0))
        clock("count_s", lambda u=u, boxes=boxes: table.add(u, boxes))
    cut = clock("cut_s", lambda: selection.cut(table, rows * 2 // 3))
    for keys, boxes in _chunks(rows):
        u = clock("rank_s", lambda keys=keys: selection.ranks(keys, 0))
        keeps = clock("keep_s", lambda u=u, boxes=boxes: cut.keeps(u, boxes))
        kept += int(keeps.sum())
        multi += int((keeps & (boxes >= 2)).sum())
    assert (kept, multi) == (cut.single + cut.multi, cut.multi), "the passes disagree"
    return {**clock.spent_s, "kept": kept, "multi": multi}


def _chunks(rows: int) -> Iterator[tuple]:
    """Yield keys and numbers of boxes, the same on every call."""
    from shards.identity import hex_strings

    draw = np.random.default_rng(0)
    for start in range(0, rows, _CHUNK_ROWS):
        size = min(_CHUNK_ROWS, rows - start)
        yield hex_strings(draw.bytes(16 * size)), draw.choice(4, size, p=_BOXES)


def main() -> None:
    """Measure and print; with --rows this is the child process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rows is not None:
        sys.stdout.write(json.dumps(select(options.rows)) + "\n")
        return
    with tempfile.TemporaryDirectory(prefix="groundwork-bench-") as folder:
        lines = measure.table(figures(Path(folder), options.full))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
