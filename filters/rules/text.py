"""Whether a row's text can be read at all.

In: `invalid_text`, set by the reader where url or caption was not UTF-8. Out: verdicts.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from filters.base import Filter, Verdict, mask_of, verdict_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextValid(Filter):
    """Rejects rows whose url or caption is not valid UTF-8."""

    name = "text.valid"
    columns = ("invalid_text",)
    reasons = ("invalid_text",)
    summary = "The url and the caption are valid UTF-8."

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Reject every row the reader marked; such rows have neither url nor caption."""
        return verdict_of(mask_of(batch.column("invalid_text")))
