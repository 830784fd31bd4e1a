"""What each rule of a chain did, out of the counts in the done-markers: rows of a funnel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from filters import ChainCounts, Filter


@dataclass(frozen=True)
class RuleCount:
    """One rule's line in the funnel of a source."""

    rule: str
    seen: int  # rows that no earlier rule rejected
    here: int  # of these, rows that it rejects
    alone: int | None  # rows of the source that it alone rejects; None where nobody counted


def funnel(counts: ChainCounts, rules: Iterable[Filter | type[Filter]]) -> Iterator[RuleCount]:
    """Yield the rules of a chain in its order, those that rejected nothing too."""
    seen = counts.rows
    for rule in rules:
        here = sum(counts.owned.get(reason, 0) for reason in rule.reasons)
        alone = None if counts.alone is None else counts.alone.get(rule.name, 0)
        yield RuleCount(rule.name, seen, here, alone)
        seen -= here
