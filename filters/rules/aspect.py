"""Images that are too wide or too tall.

In: `width` and `height` in pixels (as claimed, or as decoded). Out: verdicts.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from filters.base import DEFERRED, Filter, OnMissing, Verdict, mask_of, verdict_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclasses.dataclass(frozen=True, kw_only=True)
class AspectRatio(Filter):
    """Rejects a long side of more than `maximum` short sides; exactly `maximum` is kept.

    The rule is symmetric, so it does not mind sources that swap width and height.
    """

    name = "aspect.ratio"
    columns = ("width", "height")
    reasons = ("aspect_ratio", "size_missing")
    summary = "Neither side is more than 6 times the other; exactly 6 is kept."
    origin = "paper"
    decides_on = "decoded"

    maximum: float = dataclasses.field(
        default=6.0, metadata={"help": "longest long side that is kept, in short sides"}
    )
    on_missing: OnMissing = dataclasses.field(
        default="defer", metadata={"help": "what to do where a side is null, zero or negative"}
    )

    def __post_init__(self) -> None:
        if not (math.isfinite(self.maximum) and self.maximum >= 1):
            raise ValueError(f"aspect.ratio.maximum must be at least 1, not {self.maximum}")

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Compare long side with short side without dividing, so the boundary is exact."""
        import pyarrow.compute as pc

        width, height = batch.column("width"), batch.column("height")
        known = mask_of(pc.and_(pc.greater(width, 0), pc.greater(height, 0)))
        sides = np.stack([_pixels(width), _pixels(height)])
        too_long = known & (sides.max(axis=0) > self.maximum * sides.min(axis=0))
        if self.on_missing == "drop":
            return verdict_of(too_long, ~known)
        verdict = verdict_of(too_long)
        if self.on_missing == "defer":
            verdict[~known] = DEFERRED
        return verdict


def _pixels(column: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    import pyarrow.compute as pc

    # float64 holds every int32 side and its product with a small factor exactly.
    return np.asarray(pc.fill_null(column, 0).to_numpy(zero_copy_only=False), dtype=np.float64)
