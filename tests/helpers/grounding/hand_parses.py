"""spaCy documents parsed by hand, and an extractor that reads them in place of a model's."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from examples import demo_spacy
from grounding.phrases.chunks import Chunk
from grounding.phrases.extractor import PhraseExtractor, PhraseRules
from grounding.phrases.spacy_chunker import SpacyChunker

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

spacy: Any = pytest.importorskip("spacy")


def parsed(nlp: Language, caption: str, tokens: Sequence[tuple[str, str, str, int]]) -> Doc:
    """Return a document of (text, part of speech, label, head); spaces are the caption's."""
    spaces, at = [], 0
    for text, *_ in tokens:
        at = caption.index(text, at) + len(text)
        spaces.append(caption[at : at + 1] == " ")
    texts, pos, labels, heads = zip(*tokens, strict=True)
    doc: Doc = spacy.tokens.Doc(
        nlp.vocab, words=[*texts], spaces=spaces, pos=[*pos], deps=[*labels], heads=[*heads]
    )
    assert doc.text == caption
    return doc


def tagged(nlp: Language, words: str) -> Doc:
    """Return a document without spaces of "word/TAG word/TAG"."""
    pairs = [word.split("/") for word in words.split()]
    texts, tags = zip(*pairs, strict=True)
    return spacy.tokens.Doc(nlp.vocab, words=[*texts], spaces=[False] * len(texts), tags=[*tags])


class HandParsed(SpacyChunker):
    """Takes documents from a table."""

    def __init__(self, nlp: Language, docs: Sequence[Doc], language: str = "en") -> None:
        super().__init__(nlp, language)
        self._docs = {doc.text: doc for doc in docs}

    def chunks(self, captions: Sequence[str]) -> list[list[Chunk]]:
        return [self.chunks_of(self._docs[caption]) for caption in captions]


def extractor(nlp: Language, docs: Sequence[Doc], **rules: Any) -> PhraseExtractor:
    """Return an extractor for these documents' texts."""
    language = rules.get("language", "en")
    return PhraseExtractor(HandParsed(nlp, docs, language), PhraseRules(**rules))


def english(labels: Sequence[str] = ()) -> Language:
    """Return an English pipeline whose parser has these labels and was never trained."""
    nlp = spacy.blank("en")
    if labels:
        parser: Any = nlp.add_pipe("parser")
        for label in labels:
            parser.add_label(label)
    return nlp


@functools.cache
def demo_pipeline() -> str:
    """Return the directory of the demo's pipeline, made once per process."""
    folder = tempfile.TemporaryDirectory(prefix="groundwork-demo-spacy-")
    _FOLDERS.append(folder)
    return str(demo_spacy.build(Path(folder.name) / "pipeline"))


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends
