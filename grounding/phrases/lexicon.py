"""Chunks of English captions without a model: lists of words, and a guess for every other word.

Closed-class words and frequent verb forms part a caption; what lies between is a noun with its
modifiers. On captions this finds about nine heads in ten; on other text it takes verbs for nouns.
It parses nothing, so there are no referring expressions. For tests, and where no model can be had.

The words are in `data/lexicon.txt`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import NamedTuple

from grounding.phrases.chunks import MAX_CHARS, Chunk, fingerprint
from grounding.phrases.lemmas import singular

_VERSION = 1
_LONGEST_RUN = 40
"""No phrase has so many words; without it a text of nouns alone takes time by its square."""

# A word has no white space, punctuation or symbol; hyphens, apostrophes and points may
# stand inside. The ranges skip joiners (200c, 200d), which some scripts need within words.
_OUTSIDE = (
    r"\s!-/:-@\[-`{-~\xa1-\xa9\xab-\xb1\xb4\xb6-\xb8\xbb\xbf\xd7\xf7"
    r"\u2000-\u200b\u200e-\u206f\u20a0-\u20cf\u2190-\u2bff\u3000-\u3004\u3008-\u3020\u30fb"
    r"\ufe0e\ufe0f\uff01-\uff0f\uff1a-\uff20\U0001f000-\U0001faff"
)
_WORD = re.compile(rf"[^{_OUTSIDE}]+(?:[-'’.&][^{_OUTSIDE}]+)*|&|\+")

_PLURALS = frozenset({"people", "men", "women", "children", "sheep", "cattle", "police", "they"})


class _Word(NamedTuple):
    start: int
    end: int
    text: str
    kind: str  # det, num, adj, ing, ed, base, s, adv, and, function, noun, or break: punctuation


class LexiconChunker:
    """Chunks by the list of words."""

    has_expressions = False
    max_chars = MAX_CHARS

    def __init__(self, language: str) -> None:
        if language != "en":
            raise ValueError(
                f"the lexicon reads 'en', captions are {language!r}; name a spaCy model"
            )
        self.name = f"lexicon-{_VERSION}"
        self.fingerprint = fingerprint(self.name, _text())

    def chunks(self, captions: Sequence[str]) -> list[list[Chunk]]:
        """Return the chunks of every caption."""
        parted = map(_words, captions)
        return [[_chunk(words, *run) for run in _runs(words)] for words in parted]


@functools.cache
def _text() -> str:
    return (resources.files("grounding") / "data" / "lexicon.txt").read_text(encoding="utf-8")


@functools.cache
def _lexicon() -> Mapping[str, frozenset[str]]:
    sections: dict[str, set[str]] = {}
    for line in _text().splitlines():
        if line.startswith("["):
            words = sections.setdefault(line.strip("[]"), set())
        elif line and not line.startswith("#"):
            words.update(line.split())
    return {name: frozenset(words) for name, words in sections.items()}


@functools.lru_cache(maxsize=1 << 16)
def _kind(word: str) -> str:
    """Return what a lower-case word is likely to be, whatever stands around it."""
    lexicon = _lexicon()
    function = ("auxiliary", "preposition")
    kinds = {"determiner": "det", "noun": "noun", "adjective": "adj", "adverb": "adv"}
    for section, kind in kinds.items():
        if word in lexicon[section]:
            return kind
    if word in ("and", "or", "&"):
        return "and"
    if word == "+" or any(word in lexicon[name] for name in function):
        return "function"
    if word in lexicon["conjunction"] or word in lexicon["pronoun"]:
        return "function"
    if word in lexicon["verb"]:
        return "base"
    if not any(map(str.isalpha, word)):
        return "num"
    return _kind_by_ending(word, lexicon)


def _kind_by_ending(word: str, lexicon: Mapping[str, frozenset[str]]) -> str:
    if word in lexicon["participle"]:
        return "ing" if word.endswith("ing") else "ed"
    if word.endswith("s") and {word[:-1], word.removesuffix("es")} & lexicon["verb"]:
        return "s"
    if len(word) > 4 and word.endswith(("ing", "ed")):
        return "ing" if word.endswith("ing") else "ed"
    return "adv" if len(word) > 4 and word.endswith("ly") else "noun"


def _words(caption: str) -> list[_Word]:
    words: list[_Word] = []
    for match in _WORD.finditer(caption):
        if words and not caption[words[-1].end : match.start()].isspace():
            words.append(_Word(words[-1].end, match.start(), "", "break"))
        words.append(_Word(match.start(), match.end(), match.group(), _kind(match.group().lower())))
    return words


def _runs(words: Sequence[_Word]) -> Iterator[tuple[int, int]]:
    """Yield first word and word after the last of every chunk, pronouns among them."""
    start = position = 0
    while position < len(words):
        if _belongs(words, start, position):
            position += 1
            continue
        yield from _finished(words, start, position)
        # A word that ends a run may begin the next; a verb or function word begins none.
        begins = position > start and _belongs(words, position, position)
        if not begins and words[position].text.lower() in _lexicon()["pronoun"]:
            yield position, position + 1
        start = position if begins else position + 1
        position = start
    yield from _finished(words, start, position)


def _finished(words: Sequence[_Word], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield a run without the numbers at its end; of a lone determiner only a pronoun is left."""
    while end > start and words[end - 1].kind in ("num", "and", "adv"):
        end -= 1
    kinds = {word.kind for word in words[start:end]}
    # An adjective after a determiner stands for a noun: "the wild".
    has_noun = bool(kinds - {"det", "num", "adj", "adv", "and"}) or {"det", "adj"} <= kinds
    stands_alone = kinds == {"det"} and words[end - 1].text.lower() in _lexicon()["pronoun"]
    if has_noun or stands_alone:
        yield start, end


def _belongs(words: Sequence[_Word], start: int, position: int) -> bool:
    """Tell whether a word continues the run that begins at `start`."""
    if position - start >= _LONGEST_RUN:
        return False
    kind = words[position].kind
    run = words[start:position]
    has_noun = any(word.kind in ("noun", "base", "s", "ing") for word in run)
    following = words[position + 1].kind if position + 1 < len(words) else "break"
    if kind in ("noun", "num"):
        return True
    if kind == "det":
        return all(word.kind in ("det", "num") for word in run) and not _is_relative(
            words, position
        )
    if kind == "adj":
        return not has_noun or following in ("noun", "adj")
    if kind == "adv":
        return bool(run) and not has_noun and following in ("adj", "noun", "ed", "ing")
    if kind == "and":  # "a black and white cat"
        return bool(run) and run[-1].kind == "adj" and not has_noun and following == "adj"
    if kind in ("ing", "ed"):
        return not has_noun and following in ("noun", "adj") and _modifies(words, start, position)
    if kind in ("base", "s"):
        return _is_noun(words, start, position, has_noun)
    return False


def _is_relative(words: Sequence[_Word], position: int) -> bool:
    """Tell "a man that is" and "that sits" from "that man"."""
    if words[position].text.lower() not in ("that", "which", "what"):
        return False
    following = words[position + 1].kind if position + 1 < len(words) else "break"
    return following not in ("noun", "adj", "det", "num") or (
        position > 0 and words[position - 1].kind == "noun"
    )


def _modifies(words: Sequence[_Word], start: int, position: int) -> bool:
    """Tell "a parked car" and "of running water" from "man holding umbrella"."""
    if position > start:
        return True
    before = words[position - 1] if position else None
    if words[position].kind == "ed":
        return before is None or before.kind in ("function", "and", "break", "ing")
    return before is not None and before.text.lower() in _lexicon()["preposition"]


def _is_noun(words: Sequence[_Word], start: int, position: int, has_noun: bool) -> bool:
    """Tell "a fruit stand" from "people stand", and "two rides" from "a man rides"."""
    if position == start:
        before = words[position - 1].text.lower() if position else ""
        return before != "to" and before in _lexicon()["preposition"]
    if not has_noun:
        return True
    last = words[position - 1].text.lower()
    plural = last in _PLURALS or singular(last) != last
    return not plural if words[position].kind == "base" else plural


def _chunk(words: Sequence[_Word], start: int, end: int) -> Chunk:
    """Return the chunk of a run; its head is the last word with a letter."""
    head = next((w for w in reversed(words[start:end]) if w.kind != "num"), words[end - 1])
    lower = head.text.lower()
    is_pronoun = end - start == 1 and head.kind in ("function", "det")
    named = head.text[0].isupper() and head is not words[0] and not is_pronoun
    pos = "PRON" if is_pronoun else "PROPN" if named else "NOUN"
    return Chunk(
        words[start].start,
        words[end - 1].end,
        head.start,
        head.end,
        lower if is_pronoun else singular(lower),
        pos,
    )
