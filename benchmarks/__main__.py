"""`make bench`: run every benchmark and print tables of figures; exits with 1 if a goal is missed.

    python -m benchmarks [--record]

Everything runs on this machine: servers listen on the loopback interface, and data is generated
from seeds in a temporary folder. With `--record` the large sizes run too (20 M rows, about twenty
minutes) and the figures are written to `benchmarks/results/DATE.md`; otherwise nothing is kept.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import (
    corpus,
    data_wait,
    expert_layer,
    fetch_vs_img2dataset,
    filter_vs_pyarrow,
    glip_speed,
    loader_vs_webdataset,
    measure,
    mix_memory,
    phrases_speed,
    selection_speed,
)
from benchmarks.measure import Figure

_COMPARISONS: tuple[tuple[str, str, Callable[[Path, bool], list[Figure]]], ...] = (
    (filter_vs_pyarrow.TITLE, filter_vs_pyarrow.__doc__ or "", filter_vs_pyarrow.figures),
    (mix_memory.TITLE, mix_memory.__doc__ or "", mix_memory.figures),
    (
        fetch_vs_img2dataset.TITLE,
        fetch_vs_img2dataset.__doc__ or "",
        lambda folder, _: fetch_vs_img2dataset.figures(folder),
    ),
    (
        loader_vs_webdataset.TITLE,
        loader_vs_webdataset.__doc__ or "",
        lambda folder, _: loader_vs_webdataset.figures(folder),
    ),
    (
        data_wait.TITLE,
        data_wait.__doc__ or "",
        lambda folder, _: data_wait.figures(folder),
    ),
    (selection_speed.TITLE, selection_speed.__doc__ or "", selection_speed.figures),
    (
        phrases_speed.TITLE,
        phrases_speed.__doc__ or "",
        lambda folder, _: phrases_speed.figures(folder),
    ),
    (expert_layer.TITLE, expert_layer.__doc__ or "", lambda _, full: expert_layer.figures(full)),
    (glip_speed.TITLE, glip_speed.__doc__ or "", lambda _, full: glip_speed.figures(full)),
)
_LISTINGS = {
    "The fetcher alone": "benchmarks.fetch_floor",
    "Filter by filter": "benchmarks.filters_speed",
}


def main() -> int:
    """Run all benchmarks; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--record", action="store_true", help="also run the large sizes and keep the figures"
    )
    options = parser.parse_args()
    sections, missed = [], []
    for title, method, lines, figures in _sections(options.record):
        sys.stdout.write("\n".join([f"## {title}", "", *lines, "", ""]))
        sys.stdout.flush()
        sections.append((title, method, lines))
        missed += [figure.name for figure in figures if figure.met is False]
    if options.record:
        path = measure.record(sections, datetime.date.today())
        sys.stdout.write(f"recorded in {path.relative_to(measure.ROOT)}\n")
    if missed:
        sys.stdout.write(f"goals missed: {', '.join(missed)}\n")
    return 1 if missed else 0


def _sections(full: bool) -> Iterator[tuple[str, str, list[str], list[Figure]]]:
    with tempfile.TemporaryDirectory(prefix="groundwork-bench-") as folder:
        if full:  # written once: the smaller sizes are its first files
            corpus.metadata(Path(folder) / "metadata", mix_memory.FULL_ROWS)
        for title, method, measured in _COMPARISONS:
            figures = measured(Path(folder), full)
            yield title, _prose(method), measure.table(figures), figures
    for title, module in _LISTINGS.items():
        output = measure.run(["-m", module]).output
        yield title, f"`python -m {module}`.", ["```", *output.strip().splitlines(), "```"], []


def _prose(docstring: str) -> str:
    """Return a module's docstring without its indented command line."""
    kept = [line for line in docstring.splitlines() if not line.startswith("    ")]
    return "\n".join(kept).strip().replace("\n\n\n", "\n\n")


if __name__ == "__main__":
    sys.exit(main())
