"""Noun chunks of a parsed caption: which rule fits a model, and spans that are fit to be shown.

Goes in: a spaCy `Doc`. Comes out: `Chunk`s, in order of start. There are three rules:

- `noun_chunks`: spaCy's own, for models with the labels it expects.
- `ud`: English models with Universal Dependencies labels, on which spaCy's own rule goes wrong.
- `zh_tags`: Chinese, for which spaCy has none: runs of nouns with the modifiers left of them.

spaCy is not imported here; documents come from who has it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

MAX_CHARS = 100_000
"""Longer captions are not looked at: a parser takes about 1 GB for so many."""

TokenChunk = tuple[int, int, int]
"""First token, token after the last, root token."""

ChunkRule = Callable[["Doc"], Iterator[TokenChunk]]


class Chunk(NamedTuple):
    """A chunk as a chunker found it. Spans are code points, end-exclusive."""

    start: int
    end: int
    head_start: int
    head_end: int
    head_lemma: str
    root_pos: str
    expr_end: int | None = None  # an expression starts where its chunk does


def rule_for(language: str, labels: Collection[str]) -> str:
    """Return the name of the rule for a language and the dependency labels of a model."""
    if language == "zh":
        return "zh_tags"
    if language == "en" and {"obj", "case"} <= set(labels) and not {"dobj", "pobj"} & set(labels):
        return "ud"
    return "noun_chunks"


def spacy_chunks(doc: Doc) -> Iterator[TokenChunk]:
    """Yield what spaCy's own rule finds."""
    for span in doc.noun_chunks:
        yield span.start, span.end, span.root.i


_UD_LEFT = frozenset({"det", "amod", "nummod", "compound", "nmod:poss", "det:predet"})
_UD_PARTS = frozenset({"compound", "flat", "nmod:poss", "goeswith"})


def ud_chunks(doc: Doc) -> Iterator[TokenChunk]:
    """Yield chunks of an English tree with Universal Dependencies labels.

    Heads are nouns and pronouns that are not part of another noun; modifiers left of them belong
    to the chunk as long as nothing stands between.
    """
    chunks: list[TokenChunk] = []
    covered_from = len(doc)
    for head in reversed(list(doc)):  # outer chunks end later: "the man's hat" before "the man"
        if head.pos_ not in ("NOUN", "PROPN", "PRON") or head.i >= covered_from:
            continue
        if head.dep_ in _UD_PARTS or head.dep_.startswith("det"):
            continue
        start, end = _ud_start(head), _ud_end(head)
        chunks.append((start, end, head.i))
        covered_from = start
    yield from reversed(chunks)


def _ud_start(head: Token) -> int:
    start = head.i
    for child in reversed(list(head.lefts)):
        if child.dep_ not in _UD_LEFT or child.right_edge.i + 1 != start:
            break
        start = child.left_edge.i
    return int(start)


def _ud_end(head: Token) -> int:
    end = head.i + 1
    for child in head.rights:  # "New" is the head of "New York"
        if child.dep_ != "flat" or child.left_edge.i != end:
            break
        end = child.right_edge.i + 1
    return int(end)


# Tags of the Chinese treebank. Nouns of time (NT) name nothing that can be seen.
_ZH_NOUNS = frozenset({"NN", "NR", "NNP", "FW"})
_ZH_LEFT = frozenset({"DT", "CD", "OD", "M", "JJ"})
_ZH_BEFORE_GENITIVE = frozenset({"NN", "NR", "NNP", "PN", "JJ", "VA", "OD"})
_ZH_BEFORE_CLAUSE_END = frozenset({"JJ", "VA"})


def zh_chunks(doc: Doc) -> Iterator[TokenChunk]:
    """Yield Chinese chunks by tags: a run of nouns, and the modifiers left of it."""
    chunks: list[TokenChunk] = []
    tags = [token.tag_ for token in doc]
    end = len(tags)
    while end > 0:
        tag = tags[end - 1]
        if tag == "PN":
            chunks.append((end - 1, end, end - 1))
            end -= 1
        elif tag in _ZH_NOUNS:
            start = _zh_start(tags, end)
            chunks.append((start, end, end - 1))
            end = start
        else:
            end -= 1
    yield from reversed(chunks)


def _zh_start(tags: Sequence[str], end: int) -> int:
    start = end - 1
    while start > 0:
        before = tags[start - 1]
        if (before in _ZH_NOUNS and tags[start] in _ZH_NOUNS) or before in _ZH_LEFT:
            start -= 1
        elif before in ("DEG", "DEC") and start > 1:
            # A clause ends in the same word: only adjectives are taken from it, not its object.
            allowed = _ZH_BEFORE_GENITIVE if before == "DEG" else _ZH_BEFORE_CLAUSE_END
            if tags[start - 2] not in allowed:
                break
            start -= 2
        elif before == "AD" and tags[start] == "VA":
            start -= 1
        else:
            break
    return start


RULES: dict[str, ChunkRule] = {
    "noun_chunks": spacy_chunks,
    "ud": ud_chunks,
    "zh_tags": zh_chunks,
}


def trimmed(doc: Doc, chunk: TokenChunk) -> TokenChunk | None:
    """Cut tokens of punctuation, quotes and white space off both ends.

    A root that was cut is replaced by the last token left. None: nothing is left.
    """
    start, end, root = chunk
    while start < end and _is_edge(doc[start]):
        start += 1
    while start < end and _is_edge(doc[end - 1]):
        end -= 1
    if start == end:
        return None
    return start, end, root if start <= root < end else end - 1


def _is_edge(token: Token) -> bool:
    return bool(token.is_punct or token.is_space or token.is_quote)


def fingerprint(*parts: object) -> str:
    """Return the hex digest of what JSON can hold."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
