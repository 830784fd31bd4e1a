"""Counts of what a chain did, to be added over batches and items and written to done-markers.

In: verdicts of the filters of a chain. Out: `ChainCounts`, plain integers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

Matrix = tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChainCounts:
    """Counts over rows; `rows` = `kept` + the sum of `owned`.

    What only the full mode knows is None after a first-mode run.
    """

    rows: int
    kept: int
    owned: dict[str, int]  # reason -> rows it owns; every reason of the chain, in its order
    deferred: dict[str, int]  # filter -> kept rows it could not decide
    safety: dict[str, int]  # safety reason -> rows that fail it first among safety reasons
    alone: dict[str, int] | None  # filter -> rows that it alone rejects
    overlap: Matrix | None  # [filter i][filter j] rows that both reject; i = j all that i rejects

    def __add__(self, other: ChainCounts) -> ChainCounts:
        """Add counts of the same chain.

        Raises:
            ValueError: the two were counted by different chains or in different modes.
        """
        if not self._fits(other):
            raise ValueError("counts of different filter chains or funnel modes cannot be added")
        return ChainCounts(
            rows=self.rows + other.rows,
            kept=self.kept + other.kept,
            owned=_added(self.owned, other.owned),
            deferred=_added(self.deferred, other.deferred),
            safety=_added(self.safety, other.safety),
            alone=None
            if self.alone is None or other.alone is None
            else _added(self.alone, other.alone),
            overlap=None
            if self.overlap is None or other.overlap is None
            else tuple(
                tuple(a + b for a, b in zip(x, y, strict=True))
                for x, y in zip(self.overlap, other.overlap, strict=True)
            ),
        )

    def _fits(self, other: ChainCounts) -> bool:
        return (
            list(self.owned) == list(other.owned)
            and list(self.deferred) == list(other.deferred)
            and (self.alone is None) == (other.alone is None)
        )

    def to_json(self) -> dict[str, Any]:
        """Return a dict of JSON values."""
        return dataclasses.asdict(self) | {
            "overlap": None if self.overlap is None else [list(row) for row in self.overlap]
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ChainCounts:
        """Read what `to_json` wrote."""
        overlap = value["overlap"]
        matrix = None if overlap is None else tuple(tuple(row) for row in overlap)
        return cls(**{**value, "overlap": matrix})


def _added(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return {name: a[name] + b[name] for name in a}
