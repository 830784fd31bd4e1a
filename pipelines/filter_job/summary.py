"""What a run prints when it is done: the funnel, the stages, and where things are."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from filters import Chain, ChainCounts, get_preset
from pipelines.filter_job.funnel import funnel
from pipelines.filter_job.totals import FilterTotals
from pipelines.harness.accounting import Line


def show(
    lines: Sequence[Line],
    totals: FilterTotals | None,
    chains: Mapping[str, Chain],
    preset: str,
    root: str,
) -> None:
    """Print the funnel of every source, one line per stage, and where the preset departs."""
    from rich.console import Console

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 100, highlight=False)
    if totals is not None:
        for source, counts in totals.by_source.items():
            console.print(_funnel(source, counts, chains[source]))
    console.print(_stages(lines))
    for note in _notes(totals, lines):
        console.print(note)
    for line in get_preset(preset).deviations:
        console.print(f"preset {preset}, {line}", soft_wrap=True, markup=False)
    console.print(f"output: {root}", soft_wrap=True, markup=False)


def _funnel(source: str, counts: ChainCounts, chain: Chain) -> object:
    from rich.table import Table

    table = Table(
        title=f"{source}: {counts.rows:,} rows, {counts.kept:,} kept", title_justify="left"
    )
    table.add_column("rule")
    for name in ("seen", "rejected here", "%", "rejected alone"):
        table.add_column(name, justify="right")
    for each in funnel(counts, chain.filters):
        if each.here or each.alone:
            share = f"{100 * each.here / counts.rows:.2f}" if counts.rows else "-"
            alone = "-" if each.alone is None else f"{each.alone:,}"
            table.add_row(each.rule, f"{each.seen:,}", f"{each.here:,}", share, alone)
    return table


def _stages(lines: Iterable[Line]) -> object:
    from rich.table import Table

    table = Table(title="Every row has one place", title_justify="left")
    for name in ("stage", "in", "out", "left out"):
        table.add_column(name, justify="left" if name in ("stage", "left out") else "right")
    for line in lines:
        left = sorted(line.left_out.items(), key=lambda pair: (-pair[1], pair[0]))
        text = ", ".join(f"{name} {count:,}" for name, count in left if count)
        table.add_row(line.stage, f"{line.into:,}", f"{line.out:,}", text or "nothing")
    return table


def _notes(totals: FilterTotals | None, lines: Sequence[Line]) -> list[str]:
    notes = []
    if totals is not None and totals.unreadable_files:
        names = ", ".join(totals.unreadable_files)
        notes.append(f"unreadable files, their rows counted as unreadable_rows: {names}")
    if totals is not None and lines[-1].stage != "download":
        for name, count in totals.deferred.items():
            if count:
                notes.append(f"{count:,} kept rows wait for {name} until their images are decoded")
    return notes
