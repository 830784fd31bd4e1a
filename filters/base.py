"""What a filter is: one rule with one opinion about every row of a record batch.

In: a `pa.RecordBatch` with at least the filter's `columns`. Out: a `Verdict`, one int8 per row.
A rule is a frozen dataclass whose fields are its parameters; everything a reader, a help page or
a report needs to know about it is declared on the class.

Rule files import pyarrow inside the functions that compute with it: help pages and command lines
list the rules, and loading pyarrow takes longer than all of that.
"""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Verdict = npt.NDArray[np.int8]
"""(rows,): 0 keep, k > 0 the filter's k-th reason (1-based), `DEFERRED` not decidable yet."""

Mask = npt.NDArray[np.bool_]
"""(rows,): one flag per row."""

DEFERRED = -1

OnMissing = Literal["keep", "drop", "defer"]
"""What a rule does with a row that lacks what it looks at."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filter(ABC):
    """One rule. A verdict on a row depends on that row alone, never on the rest of the batch.

    The dataclass fields of a rule are its parameters, each with a default and, in the metadata
    `help`, a phrase that gives meaning and unit. They are checked when it is built (`ValueError`).
    """

    name: ClassVar[str]
    """`family.rule`, unique."""
    columns: ClassVar[tuple[str, ...]]
    """What the rule reads."""
    reasons: ClassVar[tuple[str, ...]]
    """Why it rejects; reason k is verdict k. Unique over all filters."""
    summary: ClassVar[str]
    """One sentence for help and docs."""
    origin: ClassVar[Literal["paper", "ours"]] = "ours"
    """`paper` where the CogVLM paper states the rule with its number, else `ours`."""
    safety: ClassVar[bool] = False
    """True: runs on every row in every mode, and a row it rejects leaves a tombstone."""
    decides_on: ClassVar[Literal["metadata", "decoded"]] = "metadata"
    """`decoded`: can be re-run on the width and height of the decoded image."""
    data_files: ClassVar[tuple[str, ...]] = ()
    """Names under `filters/data` that the verdicts depend on."""

    @abstractmethod
    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Return the verdict of every row of `batch`, shape (rows,)."""

    def parameters(self) -> dict[str, Any]:
        """Return the parameters by name as JSON values, in declaration order."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def undeclared(filter_class: type[Filter]) -> list[str]:
    """Name what a rule class must declare and does not."""
    parts = ("name", "columns", "reasons", "summary")
    missing = [part for part in parts if not getattr(filter_class, part, ())]
    return [*missing, "verdicts"] if inspect.isabstract(filter_class) else missing


def verdict_of(*masks: Mask) -> Verdict:
    """Combine one mask per reason, in reason order; the first that is set decides the row.

    Args:
        masks: one (rows,) bool array per reason.
    """
    verdict: Verdict = np.zeros(len(masks[0]), dtype=np.int8)
    for k in range(len(masks), 0, -1):
        verdict[masks[k - 1]] = k
    return verdict


def mask_of(flags: pa.Array) -> Mask:
    """Turn an Arrow bool array into a numpy one; null counts as False."""
    if flags.null_count:
        flags = flags.fill_null(False)
    mask: Mask = flags.to_numpy(zero_copy_only=False)
    return mask
