"""Prompt pools: the wordings that a question is chosen from, ours or a user's.

A pool is a file `NAME.LANGUAGE.txt`: UTF-8, one wording a line, `#` before a comment. A wording has
its pool's slot exactly once, and no other braces. Ours lie beside this module; a user's folder
replaces those that it has files for.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from cogvlm.data.segments import IMAGE_MARK
from shards.suggest import suggest

Language = Literal["en", "zh"]

LANGUAGES: tuple[Language, ...] = get_args(Language)
_HEADS = "heads.txt"


@lru_cache(maxsize=64)
def pool(
    name: str, language: Language = "en", folder: str = "", *, slot: str | None = None
) -> tuple[str, ...]:
    """Return the wordings of a pool in the order of its file.

    Args:
        name: The task that asks.
        language: In which language.
        folder: Of a user's files; those that it lacks are ours.
        slot: What every wording must have once, in braces.

    Raises:
        ValueError: The file has no wording, one twice, or one without its slot.
    """
    place, text = _file(f"{name}.{language}.txt", folder)
    line_of: dict[str, int] = {}
    for number, wording in _lines(text):
        where = f"{place}, line {number}: {wording!r}"
        if problem := _problem(wording, slot):
            raise ValueError(f"{where} {problem}")
        if wording in line_of:
            raise ValueError(f"{where} is in line {line_of[wording]} already; remove one")
        line_of[wording] = number
    if not line_of:
        raise ValueError(f"{place} has no wording; write one a line, or remove the file")
    return tuple(line_of)


@lru_cache(maxsize=8)
def heads(folder: str = "") -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return common nouns, each with the pattern of a caption that mentions it.

    Raises:
        ValueError: A line is not `noun: word, word`.
    """
    place, text = _file(_HEADS, folder)
    nouns = []
    for number, line in _lines(text):
        head, _, others = (part.strip() for part in line.partition(":"))
        words = [head, *(word.strip() for word in others.split(",") if word.strip())]
        if not head or "," in head:
            raise ValueError(f"{place}, line {number}: {line!r} must be a noun, or noun: word, …")
        nouns.append((head, re.compile("|".join(map(_mention, words)), re.IGNORECASE)))
    if not nouns:
        raise ValueError(f"{place} has no noun; write one a line, or remove the file")
    return tuple(nouns)


def check(folder: str, slots: Mapping[str, str | None]) -> None:
    """Read every pool.

    Args:
        folder: Of a user's files; empty: ours are read.
        slots: The pools, and what each one's wordings must have.

    Raises:
        ValueError: One cannot be used, or the user's folder has no file that is known.
    """
    names = {f"{name}.{language}.txt" for name in slots for language in LANGUAGES} | {_HEADS}
    if folder:
        if not Path(folder).is_dir():
            raise ValueError(f"--prompts {folder} is not a folder")
        files = {file.name for file in Path(folder).glob("*.txt")}
        if unknown := sorted(files - names):
            hint = suggest(unknown[0], sorted(names))
            raise ValueError(f"--prompts {folder}: {unknown[0]} is not a pool; {hint}")
        if not files:
            known = ", ".join(sorted(names))
            raise ValueError(f"--prompts {folder} has no pool; it may have {known}")
    for name, slot in slots.items():
        for language in LANGUAGES:
            pool(name, language, folder, slot=slot)
    heads(folder)


def _file(name: str, folder: str) -> tuple[str, str]:
    """Return the place of a pool, as a user is told it, and its text."""
    own = Path(folder) / name
    if not folder or not own.is_file():
        ours = resources.files(__package__) / "prompts" / name
        return f"prompts/{name}", ours.read_text(encoding="utf-8")
    try:
        return str(own), own.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{own} is not UTF-8: {error.reason} at byte {error.start}") from error


def _lines(text: str) -> list[tuple[int, str]]:
    """Return the lines that say something, with their numbers."""
    lines = enumerate((line.strip() for line in text.split("\n")), 1)
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def _problem(wording: str, slot: str | None) -> str:
    """Return what is wrong with a wording, or nothing."""
    wanted = f"must have {{{slot}}} once and no other braces" if slot else "must have no braces"
    try:
        parts = [part[1:] for part in string.Formatter().parse(wording) if part[1] is not None]
    except ValueError:
        return wanted
    if parts != ([(slot, "", None)] if slot else []) or "{{" in wording or "}}" in wording:
        return wanted
    return f"has {IMAGE_MARK}, which is the place of an image" if IMAGE_MARK in wording else ""


def _mention(word: str) -> str:
    """Return the pattern of a word.

    A bulldog is a dog, so longer words may end with it: a noun that is passed over for nothing
    costs less than a wrong answer. Scripts without spaces have no word borders.
    """
    return f"{re.escape(word)}(?![a-z])" if word.isascii() else re.escape(word)


__all__ = ["LANGUAGES", "Language", "check", "heads", "pool"]
