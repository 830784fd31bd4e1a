"""The first promise on paper: every stage's equation, and whether it holds, computed from numbers.

Goes in: the manifest (of an img2dataset folder: its statistics). Comes out: lines in the order of
the stages, and checks, each a sentence with both numbers in it.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.filter_job import settings, totals
from pipelines.filter_job.totals import FilterTotals
from pipelines.ground_job import settings as ground
from pipelines.harness import planfile
from pipelines.harness.accounting import AccountingError, Line
from pipelines.harness.launch import read_results
from pipelines.pack_job import run as pack
from pipelines.report_page.runs import ReportedRun
from shards.manifest import Manifest

_STAGES = {"ground": ground.STAGES, "pack": pack.STAGES}  # by a manifest's stage

_WORDS = {
    "filter": ("selected", "kept"),
    "mix": ("kept", "planned"),
    "download": ("planned", "samples"),
    "phrases": ("samples", "with phrases"),
    "labels": ("with phrases", "labelled"),
    "boxes": ("labelled", "eligible"),
    "choose": ("eligible", "chosen"),
    "select": ("chosen", "selected"),
    "pack": ("selected", "samples"),
    "read": ("records", "usable"),
}
_WORDS_OF_PACKING = {"mix": ("usable", "planned"), "pack": ("planned", "samples")}

# Of img2dataset. It also counts error messages, but forgets the rare ones.
_FAILURES = ("failed_to_download", "failed_to_resize")


@dataclass(frozen=True)
class Equation:
    """One stage: what went in = what came out + what was left out."""

    line: Line
    into: str  # what the rows are called before
    out: str  # and after

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Why rows were left out, the commonest reason first."""
        counted = ((name, count) for name, count in self.line.left_out.items() if count)
        return sorted(counted, key=lambda pair: (-pair[1], pair[0]))


@dataclass(frozen=True)
class Check:
    """Something that must be so."""

    what: str
    holds: bool | None  # None: nobody recorded what would tell


def equations(run: ReportedRun) -> list[Equation]:
    """Return the stages of a run in the order in which they ran."""
    if run.manifest is None:
        return [Equation(line, "listed", "samples") for line in _img2dataset(run)]
    order = _STAGES.get(run.manifest.stage, settings.STAGES)
    words = _WORDS | (_WORDS_OF_PACKING if run.manifest.stage == "pack" else {})
    lines = [Line.from_json(stage, values) for stage, values in run.manifest.counts.items()]
    lines.sort(key=lambda line: order.index(line.stage) if line.stage in order else len(order))
    return [Equation(line, *words.get(line.stage, ("in", "out"))) for line in lines]


def _img2dataset(run: ReportedRun) -> Iterator[Line]:
    """Yield the only line of an img2dataset folder, where its statistics have the numbers."""
    assert run.dataset is not None
    totals: Counter[str] = Counter()
    for shard in run.dataset.shards:
        values: dict[str, Any] = json.loads(run.store.read(f"{shard}_stats.json"))
        if not {"count", *_FAILURES} <= values.keys():
            return
        totals.update({name: values[name] for name in ("count", "successes", *_FAILURES)})
    left_out = {name: totals[name] for name in _FAILURES}
    yield Line("download", totals["count"], totals["successes"], left_out)


def checks(run: ReportedRun, lines: Sequence[Line]) -> Iterator[Check]:
    """Yield what must be so besides each line by itself."""
    for before, after in itertools.pairwise(lines):
        yield Check(
            f"{before.stage} put out {before.out:,}, {after.stage} took in {after.into:,}",
            before.out == after.into,
        )
    if run.manifest is not None and run.manifest.shards and lines:
        yield _shards(run.manifest, lines[-1])


def _shards(run_manifest: Manifest, last: Line) -> Check:
    planned = sum(shard.planned for shard in run_manifest.shards)
    return Check(
        f"the shards ({len(run_manifest.shards):,}) hold {planned:,} planned rows and "
        f"{run_manifest.samples:,} samples",
        (planned, run_manifest.samples) == (last.into, last.out),
    )


def link(before: ReportedRun, after: ReportedRun, lines: Sequence[Line]) -> Check:
    """Say whether a run was made from the one before it, and of all of it."""
    source = after.recorded.get("input")
    if not isinstance(source, dict) or before.dataset is None or not lines:
        return Check(f"{after.spec} does not record that it was made from {before.spec}", None)
    there, first = before.dataset.samples, lines[0]
    if source["fingerprint"] != before.dataset.fingerprint:
        return Check(
            f"{after.spec} was made from {source['spec']} as it was with {source['samples']:,} "
            f"samples and another fingerprint, not from {before.spec} as it is now",
            False,
        )
    options = after.recorded.get("options", {})
    took_part = any(options.get(name) is not None for name in ("limit", "sample"))
    return Check(
        f"{before.spec} holds {there:,} samples, {first.stage} of {after.spec} took in "
        f"{first.into:,}{' (it was told to take a part)' if took_part else ''}",
        first.into <= there if took_part else first.into == there,
    )


def filter_totals(
    run: ReportedRun, lines: Sequence[Line]
) -> tuple[FilterTotals | None, list[Check]]:
    """Add up the done-markers of the filter stage, and compare them with the manifest's line."""
    if planfile.read_head(run.store, "filter") is None:
        return None, []
    done = read_results(run.store, "filter", trim=totals.without_segments)
    results = [item.result for item in done]
    try:
        counted = totals.filter_totals(results)
    except AccountingError as error:
        return None, [Check(str(error), False)]
    line = counted.line
    what = (
        f"the done-markers of filter ({len(results):,}) add up to {line.into:,} selected, "
        f"{line.out:,} kept and the same reasons"
    )
    return counted, [Check(what, line in lines)]
