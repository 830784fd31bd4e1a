"""A lexicon file: phrases, terms that need company, and text that only looks like them.

In: lines under `[phrases]`, `[terms]` and `[not]`, `#` comments. Out: a `Lexicon` that judges one
caption, and a pattern that finds every caption worth judging.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.resources
import re
import unicodedata
from collections.abc import Iterable, Iterator

from filters.regex import escaped

PHRASE = -1
COVER = -2

Words = tuple[str, ...]

_ASCII_WORD = re.compile(r"[a-z0-9_]+")


@dataclasses.dataclass(frozen=True)
class Lexicon:
    """Entries by their words; an entry is `PHRASE`, `COVER` or the number of its line."""

    entries: dict[Words, int]
    longest: int  # words of the longest entry

    def is_hit(self, text: str, minimum_terms: int) -> bool:
        """Return whether a text holds a phrase, or terms of `minimum_terms` different lines."""
        lines: set[int] = set()
        for kind in self._kinds(words_of(text)):
            if kind == PHRASE:
                return True
            if kind != COVER:
                lines.add(kind)
        return len(lines) >= minimum_terms

    def _kinds(self, words: Words) -> Iterator[int]:
        at = 0
        while at < len(words):
            for size in range(min(self.longest, len(words) - at), 0, -1):
                kind = self.entries.get(words[at : at + size])
                if kind is not None:
                    yield kind
                    at += size
                    break
            else:
                at += 1

    def pattern(self) -> str:
        """Return a pattern, to be used with any casing, that matches every text with an entry.

        It finds a little more than that: exact word edges would triple its time, and anything
        but ASCII between the words of an entry makes RE2 twenty times slower.
        """
        wanted = sorted(words for words, kind in self.entries.items() if kind != COVER)
        entries = "|".join(r"[ -/:-@\[-`{-~]+".join(map(escaped, words)) for words in wanted)
        return f"(?:^|[^a-z0-9])(?:{entries})(?:$|[^a-z0-9])"


def words_of(text: str) -> Words:
    """Cut a text into lower-case runs of letters, digits, combining marks and underscores.

    Separators outside ASCII leave a word of their own, so that no entry reaches across them.
    """
    if text.isascii():
        return tuple(_ASCII_WORD.findall(text.lower()))
    return tuple("".join(map(_word_part, text)).lower().split())


def _word_part(character: str) -> str:
    if character == "_" or unicodedata.category(character)[0] in "LNM":
        return character
    return " " if character.isascii() else " \0 "


def parse_lexicon(lines: Iterable[str]) -> Lexicon:
    """Read a lexicon.

    Raises:
        ValueError: a line before the first section, an unknown section, or a term listed twice.
    """
    entries: dict[Words, int] = {}
    section = ""
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("["):
            section = text
            continue
        kind = {"[phrases]": PHRASE, "[not]": COVER, "[terms]": number}.get(section)
        if kind is None:
            raise ValueError(f"lexicon line {number}: no such section {section!r}")
        for entry in text.split(","):
            _add(entries, words_of(entry), kind, number)
    return Lexicon(entries, max(map(len, entries), default=0))


def _add(entries: dict[Words, int], words: Words, kind: int, number: int) -> None:
    if not words:
        raise ValueError(f"lexicon line {number}: an empty entry")
    if words in entries and kind != COVER:
        raise ValueError(f"lexicon line {number}: {' '.join(words)!r} is listed twice")
    entries[words] = kind


@functools.cache
def load_lexicon(file_name: str) -> Lexicon:
    """Load a lexicon that ships under `filters/data`."""
    return parse_lexicon(data_bytes(file_name).decode("utf-8").splitlines())


def data_bytes(file_name: str) -> bytes:
    """Return the bytes of a file under `filters/data`."""
    return importlib.resources.files("filters").joinpath("data", file_name).read_bytes()


@functools.cache
def data_sha256(file_name: str) -> str:
    """Return the sha256 of a file under `filters/data`, in hex."""
    return hashlib.sha256(data_bytes(file_name)).hexdigest()
