"""The first promise, checked: every selected row ends in exactly one place.

Goes in: the counts of a stage's done-markers. Comes out: one `Line` per stage. All numbers of
the manifest, the card and the summary come from these, never from Beam's counters.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shards.outcomes import Outcome


class AccountingError(RuntimeError):
    """Rows were lost or invented: a fault of ours, never of the input."""


class InternalErrorsError(RuntimeError):
    """Rows ended with a fault of this program; all others are done, and kept."""


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


def check_faults(lines: Sequence[Line], output: str) -> None:
    """Raise `InternalErrorsError` if rows ended with a fault of ours, which no run may hide."""
    faults = sum(line.left_out.get(Outcome.INTERNAL_ERROR, 0) for line in lines)
    if faults:
        raise InternalErrorsError(
            f"{faults:,} rows ended with a fault of this program (internal_error); all others are "
            "done. The log has the traceback: please report it. After an update, python -m "
            f"pipelines.download --output {output} --retry_failed tries these rows again"
        )


def check_chain(lines: Sequence[Line]) -> None:
    """Check that each stage took in what the one before put out."""
    for before, after in itertools.pairwise(lines):
        if before.out != after.into:
            raise AccountingError(
                f"{before.stage} put out {before.out} rows, {after.stage} took in {after.into}; "
                "please report this with the run's stats folder"
            )
