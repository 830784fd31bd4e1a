"""Captions to phrases: noun chunks with spans, heads, referring expressions and drop reasons.

Goes in: captions as the shards hold them. Comes out: for every caption its `Phrase`s in order of
start, those that no detector will see among them, because they still make others ambiguous.

    extractor = load_extractor("en_core_web_sm", PhraseRules())
    extractor(["a dog in a field of flowers"])

Spans index the very string that was given. Nothing is applied here that training may want to
undo: expressions inside other expressions stay, see `contained`. Importing this is free; spaCy
comes in with the first model.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Protocol

from grounding.phrases.chunks import Chunk, fingerprint
from shards.grounded import Phrase

LEXICON = "lexicon"
"""In place of a model: the chunker that needs none."""

_VERSION = 1
"""Raised when the same model would give other phrases."""

ABSTRACT = frozenset(
    (
        "time",
        "life",
        "love",
        "freedom",
        "happiness",
        "wisdom",
        "peace",
        "justice",
        "hope",
        "courage",
        "faith",
        "understanding",
        "advantage",
        "pursuit",
    )
)
"""The nouns GRIT removed (microsoft/unilm#1421)."""

_QUOTES_AND_BRACKETS = "\"'`´“”„‟‘’‚‛«»‹›「」『』()[]{}<>"


class DropReason(StrEnum):
    """Why a phrase is never sent to a detector."""

    TOO_LONG = "too_long"  # the caption is beyond what can be parsed; one phrase spans it
    EMPTY = "empty"  # punctuation only
    NO_LETTER = "no_letter"
    PRONOUN = "pronoun"
    ABSTRACT = "abstract"


@dataclass(frozen=True, kw_only=True)
class PhraseRules:
    """What is extracted and what is dropped."""

    abstract: bool = False
    """Drop GRIT's 14 abstract nouns. Off is CogVLM's way: the detector's score rejects them."""

    expressions: bool = True
    """Widen chunks to referring expressions, where the model parses."""

    language: str = "en"
    """Language of the captions; the model must be for it."""


class Chunker(Protocol):
    """Finds chunks, by a model or by a list of words."""

    name: str
    fingerprint: str  # what its chunks depend on, besides the rules
    has_expressions: bool
    max_chars: int  # longer captions are not given to it

    def chunks(self, captions: Sequence[str]) -> list[list[Chunk]]:
        """Return the chunks of every caption; spans may still have quotes or spaces at an end."""
        ...


class PhraseExtractor:
    """Captions to phrases. One per process: see `load_extractor`."""

    def __init__(self, chunker: Chunker, rules: PhraseRules) -> None:
        self._chunker = chunker
        self.rules = rules
        self.has_expressions = rules.expressions and chunker.has_expressions
        self.name = chunker.name
        """Model, version and rule of chunks, as it is stored with every label."""
        self.fingerprint = fingerprint(_VERSION, chunker.fingerprint, asdict(rules))
        """Hex digest of what the phrases depend on."""

    def __call__(self, captions: Sequence[str]) -> list[list[Phrase]]:
        """Return the phrases of every caption, dropped ones too, in order of start."""
        distinct = dict.fromkeys(caption for caption in captions if caption.strip())
        short = [caption for caption in distinct if len(caption) <= self._chunker.max_chars]
        phrases = {
            caption: [self._phrase(caption, chunk) for chunk in chunks if _has_text(caption, chunk)]
            for caption, chunks in zip(short, self._chunker.chunks(short), strict=True)
        }
        for caption in distinct:
            if caption not in phrases:
                phrases[caption] = [_whole(caption)]
        return [list(phrases.get(caption, ())) for caption in captions]

    def _phrase(self, caption: str, chunk: Chunk) -> Phrase:
        start, end = trim(caption, chunk.start, chunk.end)
        reason = self._drop_reason(caption, start, end, chunk)
        if start == end:  # the record still says where the dropped chunk was
            start, end = trim(caption, chunk.start, chunk.end, "")
        head_start, head_end = _head(caption, (start, end), (chunk.head_start, chunk.head_end))
        expr_end = None
        if self.has_expressions and reason is None and chunk.expr_end is not None:
            expr_end = max(end, trim(caption, start, chunk.expr_end)[1])
        return Phrase(
            start=start,
            end=end,
            head_start=head_start,
            head_end=head_end,
            head_lemma=chunk.head_lemma,
            root_pos=chunk.root_pos,
            drop_reason=reason,
            expr_start=None if expr_end is None else start,
            expr_end=expr_end,
        )

    def _drop_reason(self, caption: str, start: int, end: int, chunk: Chunk) -> DropReason | None:
        if _is_punctuation(caption[start:end]):
            return DropReason.EMPTY
        if not any(map(str.isalpha, caption[start:end])):
            return DropReason.NO_LETTER
        if chunk.root_pos == "PRON":
            return DropReason.PRONOUN
        head = caption[chunk.head_start : chunk.head_end].lower()
        if self.rules.abstract and head in ABSTRACT:
            return DropReason.ABSTRACT
        return None


def trim(text: str, start: int, end: int, cut: str = _QUOTES_AND_BRACKETS) -> tuple[int, int]:
    """Move both ends of a span inwards over white space and the characters of `cut`."""
    while start < end and (text[start].isspace() or text[start] in cut):
        start += 1
    while start < end and (text[end - 1].isspace() or text[end - 1] in cut):
        end -= 1
    return start, end


def _has_text(caption: str, chunk: Chunk) -> bool:
    """Models take white space for nouns, at times; such a chunk has no place to be recorded."""
    return not caption[chunk.start : chunk.end].isspace()


def _is_punctuation(text: str) -> bool:
    return all(char.isspace() or unicodedata.category(char)[0] == "P" for char in text)


def _head(caption: str, span: tuple[int, int], head: tuple[int, int]) -> tuple[int, int]:
    """Keep a head inside its span, without quotes; a head that was cut becomes the last word."""
    inside = trim(caption, max(span[0], head[0]), min(span[1], head[1]))
    if inside[0] < inside[1]:
        return inside
    return span[1] - len(caption[span[0] : span[1]].split()[-1]), span[1]


def _whole(caption: str) -> Phrase:
    start, end = trim(caption, 0, len(caption), "")
    return Phrase(
        start=start,
        end=end,
        head_start=start,
        head_end=end,
        head_lemma="",
        root_pos="X",
        drop_reason=DropReason.TOO_LONG,
    )


def contained(spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Tell of every span whether it lies inside another one; of equal spans the first does not."""
    inside = [False] * len(spans)
    reached = -1
    for i in sorted(range(len(spans)), key=lambda i: (spans[i][0], -spans[i][1], i)):
        inside[i] = spans[i][1] <= reached
        reached = max(reached, spans[i][1])
    return inside


@functools.cache
def load_extractor(spacy_model: str, rules: PhraseRules) -> PhraseExtractor:
    """Return this process's extractor for a model and rules.

    Args:
        spacy_model: Name of an installed spaCy package, a directory with one, or "lexicon".
        rules: What is extracted and what is dropped.

    Raises:
        ValueError: There is no such model, or it does not fit the language.
    """
    if spacy_model == LEXICON:
        from grounding.phrases.lexicon import LexiconChunker

        return PhraseExtractor(LexiconChunker(rules.language), rules)
    from grounding.phrases.spacy_chunker import load_chunker

    return PhraseExtractor(load_chunker(str(spacy_model), rules.language), rules)
