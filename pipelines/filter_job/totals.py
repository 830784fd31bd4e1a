"""What the stages of a filter job did, added up from their done-markers and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from filters import ChainCounts
from pipelines.filter_job.items import SEGMENT_SIZES
from pipelines.harness.accounting import Line
from shards.files.commit import Result

UNREADABLE_ROWS = "unreadable_rows"


@dataclass(frozen=True)
class FilterTotals:
    """What the filter stage did, per source and together."""

    line: Line
    by_source: Mapping[str, ChainCounts]
    deferred: Mapping[str, int] = field(default_factory=dict)
    unreadable_files: Mapping[str, str] = field(default_factory=dict)
    tombstones: int = 0


def without_segments(result: Result) -> Result:
    """Return a filter item's result without the sizes of its bucket segments.

    At thousands of parts and buckets they would fill the launcher's memory.
    """
    return {name: value for name, value in result.items() if name != SEGMENT_SIZES}


def filter_totals(results: Sequence[Result]) -> FilterTotals:
    """Add up and check the filter stage."""
    by_source: dict[str, ChainCounts] = {}
    unreadable_files: dict[str, str] = {}
    reasons: Counter[str] = Counter()
    deferred: Counter[str] = Counter()
    for result in results:
        _line("filter item", result["selected"], result["kept"], _filter_losses(result)).check()
        unreadable_files |= result["unreadable_files"]
        reasons[UNREADABLE_ROWS] += result["unreadable_rows"]
        if result["counts"] is None:
            continue
        counts = ChainCounts.from_json(result["counts"])
        source = result["source"]
        by_source[source] = by_source[source] + counts if source in by_source else counts
    for counts in by_source.values():
        reasons.update(counts.owned)
        deferred.update(counts.deferred)
    selected = sum(result["selected"] for result in results)
    kept = sum(result["kept"] for result in results)
    return FilterTotals(
        line=_line("filter", selected, kept, reasons).check(),
        by_source=by_source,
        deferred=deferred,
        unreadable_files=unreadable_files,
        tombstones=sum(result["tombstones"] for result in results),
    )


def _filter_losses(result: Result) -> dict[str, int]:
    owned: dict[str, int] = result["counts"]["owned"] if result["counts"] else {}
    return {**owned, UNREADABLE_ROWS: result["unreadable_rows"]}


def mix_line(results: Sequence[Result]) -> Line:
    """Add up and check the mix stage."""
    return _sum("mix", results, "kept", "planned", ("duplicate_url", "unsafe_elsewhere"))


def download_line(results: Sequence[Result]) -> Line:
    """Add up and check the download stage."""
    outcomes: Counter[str] = Counter()
    for result in results:
        outcomes.update(result["outcomes"])
    planned = sum(result["planned"] for result in results)
    samples = sum(result["samples"] for result in results)
    return _line("download", planned, samples, outcomes).check()


def _sum(stage: str, results: Sequence[Result], into: str, out: str, losses: Sequence[str]) -> Line:
    def total(name: str) -> int:
        return sum(result[name] for result in results)

    return _line(stage, total(into), total(out), {name: total(name) for name in losses}).check()


def _line(stage: str, into: int, out: int, left_out: Mapping[str, int]) -> Line:
    return Line(stage, into, out, dict(sorted(left_out.items())))
