"""The first promise, checked: every selected row ends in exactly one place.

Goes in: the done-markers of a stage. Comes out: one `Line` per stage. All numbers of
the manifest, the card and the summary come from here, never from Beam's counters.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from filters import ChainCounts
from shards.files.commit import Result

UNREADABLE_ROWS = "unreadable_rows"


class AccountingError(RuntimeError):
    """Rows were lost or invented: a fault of ours, never of the input."""


@dataclass(frozen=True)
class Line:
    """One stage's identity: `into` = `out` + the sum of `left_out`."""

    stage: str
    into: int
    out: int
    left_out: Mapping[str, int]

    @property
    def missing(self) -> int:
        """Rows that went in and have no place; negative where rows were invented."""
        return self.into - self.out - sum(self.left_out.values())

    def check(self) -> Line:
        """Raise `AccountingError` unless the line adds up."""
        if self.missing:
            left = sum(self.left_out.values())
            raise AccountingError(
                f"{self.stage}: {self.into} rows in, but {self.out} out + {left} left out "
                f"({dict(self.left_out)}); please report this with the run's stats folder"
            )
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the line as the manifest keeps it."""
        return {"in": self.into, "out": self.out, "left_out": dict(self.left_out)}

    @staticmethod
    def from_json(stage: str, values: Mapping[str, Any]) -> Line:
        """Read what `to_json` wrote; nothing is checked."""
        return Line(stage, values["in"], values["out"], dict(values["left_out"]))


@dataclass(frozen=True)
class FilterTotals:
    """What the filter stage did, per source and together."""

    line: Line
    by_source: Mapping[str, ChainCounts]
    deferred: Mapping[str, int] = field(default_factory=dict)
    unreadable_files: Mapping[str, str] = field(default_factory=dict)
    tombstones: int = 0


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


def check_chain(lines: Sequence[Line]) -> None:
    """Check that each stage took in what the one before put out."""
    for before, after in itertools.pairwise(lines):
        if before.out != after.into:
            raise AccountingError(
                f"{before.stage} put out {before.out} rows, {after.stage} took in {after.into}; "
                "please report this with the run's stats folder"
            )


def _sum(stage: str, results: Sequence[Result], into: str, out: str, losses: Sequence[str]) -> Line:
    def total(name: str) -> int:
        return sum(result[name] for result in results)

    return _line(stage, total(into), total(out), {name: total(name) for name in losses}).check()


def _line(stage: str, into: int, out: int, left_out: Mapping[str, int]) -> Line:
    return Line(stage, into, out, dict(sorted(left_out.items())))
