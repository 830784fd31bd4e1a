"""The `phrases` record of a grounded sample: every extracted chunk, boxed or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A noun chunk. Spans are code points of the exact caption, end-exclusive."""

    start: int
    end: int
    head_start: int  # the chunk's root word
    head_end: int
    head_lemma: str  # lower-case text where there is no lemmatizer
    root_pos: str  # coarse part of speech: NOUN, PROPN, PRON, …
    drop_reason: str | None = None  # why it was never sent to a detector
    expr_start: int | None = None  # the referring expression around it; null where there is none
    expr_end: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the record as a sample's JSON holds it."""
        return asdict(self)

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Phrase:
        """Read a record; fields of later versions are left out.

        Raises:
            ValueError: A field is missing.
        """
        try:
            return Phrase(**{each.name: record[each.name] for each in fields(Phrase)})
        except KeyError as error:
            raise ValueError(f"a phrase lacks {error}; it has {sorted(record)}") from error
