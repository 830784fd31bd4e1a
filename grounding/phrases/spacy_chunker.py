"""Chunks by a spaCy model: loading with errors that say what to type, and parsing in batches.

Components that chunks do not need stay out: entities, sentences, and lemmas of words that are not
heads. What a call made in the model's vocabulary is freed with it, so memory does not grow with
the corpus.
"""

from __future__ import annotations

import functools
import importlib.metadata
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grounding.phrases.chunks import MAX_CHARS, RULES, Chunk, fingerprint, rule_for, trimmed
from grounding.phrases.expressions import expression_end
from grounding.phrases.lemmas import singular

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token

BATCH = 256

_UNUSED = ("ner", "senter", "entity_ruler", "entity_linker", "textcat", "textcat_multilabel")
_PROBE = {"zh": "一只狗", "en": "a dog on a bench"}


class SpacyChunker:
    """Chunks by a spaCy model and the rule its labels call for."""

    def __init__(self, nlp: Language, language: str) -> None:
        labels = {label for labels_of_pipe in nlp.pipe_labels.values() for label in labels_of_pipe}
        rule = rule_for(language, labels)
        self.name = f"spacy:{nlp.meta['lang']}_{nlp.meta['name']}-{nlp.meta['version']}/{rule}"
        self.fingerprint = fingerprint(importlib.metadata.version("spacy"), nlp.meta, rule)
        self.has_expressions = rule != "zh_tags"  # Chinese modifiers stand left, in the chunk
        self.max_chars = min(MAX_CHARS, nlp.max_length)
        self._nlp = nlp
        self._rule = RULES[rule]
        self._lemma = _lemma_of(nlp)
        self._lock = threading.Lock()  # workers have threads; a vocabulary takes one at a time

    def chunks(self, captions: Sequence[str]) -> list[list[Chunk]]:
        """Return the chunks of every caption."""
        with self._lock, self._nlp.memory_zone():
            return [self.chunks_of(doc) for doc in self._nlp.pipe(captions, batch_size=BATCH)]

    def chunks_of(self, doc: Doc) -> list[Chunk]:
        """Return the chunks of a parsed caption."""
        heads = [token.head.i for token in doc] if self.has_expressions else []
        return sorted(self._chunk(doc, heads, *chunk) for chunk in self._rule(doc))

    def _chunk(self, doc: Doc, heads: list[int], start: int, end: int, root: int) -> Chunk:
        # A chunk of punctuation is kept here: the extractor drops it and says why.
        start, end, root = trimmed(doc, (start, end, root)) or (start, end, root)
        head, expr_end = doc[root], None
        if self.has_expressions:
            expr_end = _end_char(doc[expression_end(doc, heads, start, end, root) - 1])
        return Chunk(
            doc[start].idx,
            _end_char(doc[end - 1]),
            head.idx,
            _end_char(head),
            self._lemma(head),
            head.pos_,
            expr_end,
        )


def _end_char(token: Token) -> int:
    return int(token.idx + len(token))


def _lemma_of(nlp: Language) -> Callable[[Token], str]:
    """Return what lemmatizes a head; a lemmatizer of rules or tables then runs on heads only."""
    if not nlp.has_pipe("lemmatizer"):
        return lambda token: singular(token.text.lower()) if nlp.lang == "en" else token.lower_
    lemmatizer: Any = nlp.get_pipe("lemmatizer")
    if not hasattr(lemmatizer, "lemmatize"):
        return lambda token: token.lemma_.lower() or token.lower_

    def lemma(token: Token) -> str:  # one that a ruler has set stays
        by_ruler = "" if lemmatizer.overwrite else token.lemma_
        return str(by_ruler or lemmatizer.lemmatize(token)[0]).lower() or token.lower_

    return lemma


@functools.cache
def load_chunker(model: str, language: str) -> SpacyChunker:
    """Return this process's chunker for a model.

    Raises:
        ValueError: There is no such model, or it does not fit the language.
    """
    nlp = _load(model)
    if nlp.lang != language:
        raise ValueError(
            f"model {model} reads {nlp.lang!r}, captions are {language!r}; "
            "name a model of that language"
        )
    chunker = SpacyChunker(nlp, language)
    _check_parses(nlp, model, language)
    if nlp.has_pipe("lemmatizer") and hasattr(nlp.get_pipe("lemmatizer"), "lemmatize"):
        nlp.disable_pipe("lemmatizer")  # after its name went into the fingerprint
    return chunker


def _load(model: str) -> Language:
    try:
        import spacy
    except ImportError as error:
        raise ValueError(
            "phrases need spaCy: pip install 'groundwork-vl[grounding]', "
            "or name the model-free chunker, lexicon"
        ) from error
    path = Path(model)
    if not path.is_dir():
        if spacy.util.is_package(model):
            return spacy.load(model, exclude=_UNUSED)
        raise ValueError(
            f"no spaCy model {model!r}: no such directory, no such package; "
            f"python -m spacy download {model if model.isidentifier() else 'en_core_web_sm'}"
        )
    missing = [name for name in ("meta.json", "config.cfg") if not (path / name).is_file()]
    if missing:
        raise ValueError(
            f"{model} is not a spaCy model for chunks: it has no {' and no '.join(missing)}"
        )
    try:
        return spacy.load(path, exclude=_UNUSED)
    except (OSError, ValueError) as error:
        raise ValueError(f"{model} is not a spaCy model that can be loaded: {error}") from error


def _check_parses(nlp: Language, model: str, language: str) -> None:
    """Refuse a model without what its rule reads, before the first caption."""
    doc = nlp(_PROBE.get(language, "1 2 3"))
    needed = "TAG" if language == "zh" else "DEP"
    if not doc.has_annotation(needed):
        raise ValueError(
            f"model {model} has no {'tagger' if needed == 'TAG' else 'parser'}: "
            f"its pipeline is {', '.join(nlp.pipe_names) or 'empty'}"
        )
    if language != "zh" and nlp.vocab.get_noun_chunks is None:
        raise ValueError(f"spaCy has no noun chunks for language {language!r} of model {model}")
