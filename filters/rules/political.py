"""Captions about politics, by our own lexicon.

In: `caption`, cleaned. Out: verdicts. The CogVLM paper says that it removes captions with
political bias and not how; this is our reading, and it errs on the side of keeping.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from filters.base import Filter, Mask, Verdict, verdict_of
from filters.lexicon import load_lexicon
from filters.regex import matching

if TYPE_CHECKING:
    import pyarrow as pa

_LEXICON = "political.txt"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoliticalLexicon(Filter):
    """Rejects captions with one unambiguous phrase or several independent political terms."""

    name = "political.lexicon"
    columns = ("caption",)
    reasons = ("political",)
    summary = "The caption holds no political phrase and fewer than two political terms."
    data_files = (_LEXICON,)

    minimum_terms: int = dataclasses.field(
        default=2, metadata={"help": "number of independent ambiguous terms that rejects a caption"}
    )

    def __post_init__(self) -> None:
        if self.minimum_terms < 1:
            raise ValueError(
                f"political.lexicon.minimum_terms must be at least 1, not {self.minimum_terms}"
            )

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """One pattern finds the few captions that hold any entry; those are judged one by one."""
        import pyarrow as pa

        caption = batch.column("caption")
        rows = np.flatnonzero(matching(caption, _pattern(), ignore_case=True))
        lexicon = load_lexicon(_LEXICON)
        texts = caption.take(pa.array(rows)).to_pylist()
        mask: Mask = np.zeros(len(caption), dtype=np.bool_)
        mask[rows] = [lexicon.is_hit(text, self.minimum_terms) for text in texts]
        return verdict_of(mask)


@functools.cache
def _pattern() -> str:
    return load_lexicon(_LEXICON).pattern()
