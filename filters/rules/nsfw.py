"""Unsafe images, as far as the metadata knows.

In: `nsfw_score` (0 safe .. 1 unsafe, the highest of several) and `nsfw_tag` (LAION's
UNLIKELY / UNSURE / NSFW). Out: verdicts. Missing and broken scores have reasons of their own, so
that nothing passes for lack of a score without being counted.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from filters.base import DEFERRED, Filter, Mask, OnMissing, Verdict, mask_of, verdict_of

if TYPE_CHECKING:
    import pyarrow as pa

KNOWN_TAGS = ("UNLIKELY", "UNSURE", "NSFW")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NsfwScore(Filter):
    """Rejects rows whose unsafe score reaches the threshold."""

    name = "nsfw.score"
    columns = ("nsfw_score",)
    reasons = ("nsfw",)
    summary = "The unsafe score is below 0.5."
    safety = True

    threshold: float = dataclasses.field(
        default=0.5, metadata={"help": "lowest score that is rejected, 0 to 1"}
    )

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"nsfw.score.threshold must be in (0, 1], not {self.threshold}")

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Compare in the column's own precision: 0.45 stored as float32 reaches 0.45."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = batch.column("nsfw_score")
        threshold = pa.scalar(self.threshold, pa.float64()).cast(column.type)
        return verdict_of(mask_of(pc.greater_equal(column, threshold)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class NsfwTag(Filter):
    """Rejects rows whose tag, in any casing, is one of `tags`."""

    name = "nsfw.tag"
    columns = ("nsfw_tag",)
    reasons = ("nsfw_tag",)
    summary = "The tag is neither NSFW nor UNSURE."
    safety = True

    tags: tuple[str, ...] = dataclasses.field(
        default=("NSFW", "UNSURE"), metadata={"help": "rejected tags, any casing"}
    )

    def __post_init__(self) -> None:
        for tag in self.tags:
            if tag.upper() not in KNOWN_TAGS:
                raise ValueError(f"nsfw.tag.tags may be {', '.join(KNOWN_TAGS)}, not {tag!r}")

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Look the tag up; null and unknown tags are `nsfw.present`'s business."""
        return verdict_of(_tagged(batch.column("nsfw_tag"), tuple(t.upper() for t in self.tags)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class NsfwPresent(Filter):
    """Rejects rows that nothing scored and rows whose score is not one.

    A tag that is none of UNLIKELY, UNSURE and NSFW counts as no tag.
    """

    name = "nsfw.present"
    columns = ("nsfw_score", "nsfw_tag")
    reasons = ("nsfw_missing", "score_invalid")
    summary = "There is a score from 0 to 1, or a known tag."

    on_missing: OnMissing = dataclasses.field(
        default="drop",
        metadata={"help": "what to do with a row without a score and without a known tag"},
    )

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """A broken score rejects even beside a good tag: the row's scorer cannot be trusted."""
        score = batch.column("nsfw_score")
        invalid = _invalid(score)
        unscored = mask_of(score.is_null()) & ~_tagged(batch.column("nsfw_tag"), KNOWN_TAGS)
        if self.on_missing == "drop":
            return verdict_of(unscored, invalid)
        verdict = verdict_of(np.zeros_like(invalid), invalid)
        if self.on_missing == "defer":
            verdict[unscored] = DEFERRED
        return verdict


def _invalid(score: pa.Array) -> Mask:
    import pyarrow.compute as pc

    valid = mask_of(pc.and_(pc.greater_equal(score, 0), pc.less_equal(score, 1)))
    return mask_of(score.is_valid()) & ~valid


def _tagged(column: pa.Array, tags: tuple[str, ...]) -> Mask:
    if column.null_count == len(column):
        return np.zeros(len(column), dtype=np.bool_)
    import pyarrow as pa
    import pyarrow.compute as pc

    upper = pc.utf8_upper(pc.utf8_trim_whitespace(column))
    return mask_of(pc.is_in(upper, value_set=pa.array(tags, pa.string())))
