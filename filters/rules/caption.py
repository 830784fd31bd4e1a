"""Captions that are missing, too short or long, mostly symbols, or repeat themselves.

In: `caption`, cleaned (NFC, entities unescaped, white space collapsed). Out: verdicts.
A null or empty caption is `caption.present`'s business; every other rule keeps it. Lengths are in
characters (Unicode code points) unless a name says otherwise.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from filters.base import Filter, Mask, Verdict, mask_of, verdict_of
from filters.characters import ALNUM, GLUE, HALF, SPACE, WORD, blocks, classify, row_sums
from filters.grams import repeated_share_bound

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("caption",)

Number = TypeVar("Number", np.int64, np.float64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionPresent(Filter):
    """Rejects rows without a caption."""

    name = "caption.present"
    columns = _COLUMNS
    reasons = ("caption_missing",)
    summary = "There is a caption."

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Reject null and empty captions."""
        return verdict_of(~_nonempty(batch.column("caption")))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionChars(Filter):
    """Rejects captions by their number of characters."""

    name = "caption.chars"
    columns = _COLUMNS
    reasons = ("caption_too_short", "caption_too_long")
    summary = "The caption has 6 to 1000 characters."

    minimum: int = dataclasses.field(
        default=6, metadata={"help": "shortest kept caption, characters"}
    )
    maximum: int = dataclasses.field(
        default=1000, metadata={"help": "longest kept caption, characters"}
    )

    def __post_init__(self) -> None:
        _check_range(self.name, self.minimum, self.maximum)

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Count code points, spaces included."""
        import pyarrow.compute as pc

        caption = batch.column("caption")
        length = pc.utf8_length(caption)
        too_short = mask_of(pc.less(length, self.minimum)) & _nonempty(caption)
        return verdict_of(too_short, mask_of(pc.greater(length, self.maximum)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionWords(Filter):
    """Rejects captions by their number of words.

    A word is a run of letters and digits; apostrophes (' and U+2019), combining marks, joiners
    and soft hyphens neither start nor split one. A letter of a script that is written without
    spaces (Han, Kana, Thai, Lao, Khmer) is half a word by itself and ends the run before it, so
    that the rule does not act as a language filter.
    """

    name = "caption.words"
    columns = _COLUMNS
    reasons = ("caption_too_few_words", "caption_too_many_words")
    summary = "The caption has 3 to 256 words."

    minimum: int = dataclasses.field(default=3, metadata={"help": "fewest words"})
    maximum: int = dataclasses.field(default=256, metadata={"help": "most words"})

    def __post_init__(self) -> None:
        _check_range(self.name, self.minimum, self.maximum)

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Count in half words, which are whole numbers."""
        caption = batch.column("caption")
        halves = _in_blocks(caption, _half_words)
        too_few = (halves < 2 * self.minimum) & _nonempty(caption)
        return verdict_of(too_few, halves > 2 * self.maximum)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionAlnum(Filter):
    """Rejects captions that are mostly punctuation and symbols.

    The share is letters, digits and combining marks of all scripts over all characters that are
    not white space. A caption of nothing but white space has share 0.
    """

    name = "caption.alnum"
    columns = _COLUMNS
    reasons = ("caption_symbols",)
    summary = "At least half of the characters besides spaces are letters or digits."

    minimum: float = dataclasses.field(
        default=0.5, metadata={"help": "smallest kept share of letters and digits, 0 to 1"}
    )

    def __post_init__(self) -> None:
        _check_share(self.name, "minimum", self.minimum)

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Compare the share of each caption with the minimum."""
        caption = batch.column("caption")
        share = _in_blocks(caption, _alnum_share)
        return verdict_of((share < self.minimum) & _nonempty(caption))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionRepetition(Filter):
    """Rejects captions that repeat themselves.

    The share is the number of positions at which a run of 10 characters starts that occurs more
    than once in the caption (overlapping, case-sensitive, spaces included), over the number of
    all such positions, length - 9. A caption of fewer than 10 characters has share 0. On
    LAION-400M alt text 0.2 rejects 1.4 %, 0.1 3.1 %, much of it good titles.
    """

    name = "caption.repetition"
    columns = _COLUMNS
    reasons = ("caption_repetition",)
    summary = "At most 20 % of the caption's runs of 10 characters occur more than once."

    maximum: float = dataclasses.field(
        default=0.2, metadata={"help": "largest kept share of repeated 10-character runs, 0 to 1"}
    )

    def __post_init__(self) -> None:
        _check_share(self.name, "maximum", self.maximum)

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Bound the share by hashes, then count exactly where the bound is too high."""
        import pyarrow as pa

        caption = batch.column("caption")
        bound = _in_blocks(caption, repeated_share_bound, max_rows=1024)
        doubtful = np.flatnonzero(bound > self.maximum)
        mask: Mask = np.zeros(len(caption), dtype=np.bool_)
        texts = caption.take(pa.array(doubtful)).to_pylist()
        mask[doubtful] = [repeated_share(text) > self.maximum for text in texts]
        return verdict_of(mask)


def repeated_share(text: str, width: int = 10) -> float:
    """Return the share of a text's `width`-grams that occur more than once in it."""
    total = len(text) - width + 1
    if total <= 0:
        return 0.0
    grams = collections.Counter(text[i : i + width] for i in range(total))
    return sum(count for count in grams.values() if count > 1) / total


def _half_words(column: pa.Array) -> npt.NDArray[np.int64]:
    characters = classify(column)
    halves = characters.per_row((characters.flags & HALF) != 0)
    # A word is counted where it starts: at a word character after anything else, or first in its
    # row. Glue (the apostrophe of "don't", a combining mark, the later bytes of a character) must
    # not look like "anything else", so it is cut out first, and every row then starts as many
    # places earlier as there is glue before it.
    glue = np.flatnonzero(characters.flags & GLUE)
    starts = characters.starts - np.searchsorted(glue, characters.starts)
    word = np.delete((characters.flags & WORD) != 0, glue)
    continues = np.zeros_like(word)
    continues[1:] = word[:-1]
    # The first character of a row continues nothing, whatever the row before ended in. Empty rows
    # at the end start past the last character, and have none to reset.
    continues[starts[:-1][starts[:-1] < len(word)]] = False
    return 2 * row_sums(word & ~continues, starts) + halves


def _alnum_share(column: pa.Array) -> npt.NDArray[np.float64]:
    import pyarrow.compute as pc

    characters = classify(column)
    alnum = characters.per_row((characters.flags & ALNUM) != 0)
    spaces = characters.per_row((characters.flags & SPACE) != 0)
    length = np.asarray(pc.fill_null(pc.utf8_length(column), 0), dtype=np.int64)
    share: npt.NDArray[np.float64] = alnum / np.maximum(length - spaces, 1)
    return share


def _in_blocks(
    column: pa.Array,
    count: Callable[[pa.Array], npt.NDArray[Number]],
    max_rows: int = 2048,
) -> npt.NDArray[Number]:
    return np.concatenate([count(block) for block in blocks(column, max_rows)])


def _nonempty(caption: pa.Array) -> Mask:
    import pyarrow.compute as pc

    return mask_of(pc.greater(pc.binary_length(caption), 0))


def _check_range(name: str, minimum: int, maximum: int) -> None:
    if not 0 <= minimum <= maximum:
        raise ValueError(f"{name} needs 0 <= minimum <= maximum, not {minimum} and {maximum}")


def _check_share(name: str, field: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name}.{field} must be a share from 0 to 1, not {value}")
