"""Every rule of `filters`, again: one row at a time, in plain Python, as the docstrings say it.

In: a row as a dict of the canonical and derived columns, and a rule's parameters. Out: the reason,
None for keep, or `DEFERRED`. Slow and obvious on purpose; shares no code with the package.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from pathlib import Path

from helpers.filters import reference_captions as captions
from helpers.filters import reference_urls as urls
from helpers.filters.reference_common import Answer, Row, category
from helpers.paths import ROOT

DEFERRED = "(deferred)"


def text_valid(row: Row) -> Answer:
    return "invalid_text" if row["invalid_text"] else None


def float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def nsfw_score(row: Row, threshold: float = 0.5) -> Answer:
    score = row["nsfw_score"]
    return "nsfw" if score is not None and float32(score) >= float32(threshold) else None


def _tag(row: Row) -> str:
    return (row["nsfw_tag"] or "").strip().upper()


def nsfw_tag(row: Row, tags: tuple[str, ...] = ("NSFW", "UNSURE")) -> Answer:
    return "nsfw_tag" if _tag(row) in [tag.upper() for tag in tags] else None


def nsfw_present(row: Row, on_missing: str = "drop") -> Answer:
    score = row["nsfw_score"]
    if score is not None:
        return "score_invalid" if math.isnan(score) or not 0 <= float32(score) <= 1 else None
    if _tag(row) in ("UNLIKELY", "UNSURE", "NSFW"):
        return None
    return {"drop": "nsfw_missing", "keep": None, "defer": DEFERRED}[on_missing]


def aspect_ratio(row: Row, maximum: float = 6.0, on_missing: str = "defer") -> Answer:
    width, height = row["width"], row["height"]
    if width is None or height is None or width <= 0 or height <= 0:
        return {"drop": "size_missing", "keep": None, "defer": DEFERRED}[on_missing]
    return "aspect_ratio" if max(width, height) > maximum * min(width, height) else None


class PoliticalReference:
    """The lexicon file, read anew."""

    def __init__(self, path: Path) -> None:
        self.by_first: dict[str, list[tuple[list[str], str]]] = {}
        section = ""
        for number, line in enumerate(path.read_text("utf-8").splitlines()):
            if line.startswith("["):
                section = line.strip()
            elif line.strip() and not line.startswith("#"):
                for entry in line.split(","):
                    words = self.words(entry)
                    meaning = f"term {number}" if section == "[terms]" else section
                    self.by_first.setdefault(words[0], []).append((words, meaning))

    @staticmethod
    def words(text: str) -> list[str]:
        spaced = ""
        for c in text:
            inside = c == "_" or category(c) in "LNM"
            spaced += c if inside else " " if c.isascii() else " \0 "
        return [word for word in re.split("[ \t]+", spaced.lower()) if word]

    def __call__(self, row: Row, minimum_terms: int = 2) -> Answer:
        words, at, terms = self.words(row["caption"] or ""), 0, set()
        while at < len(words):
            found = [
                (len(entry), meaning == "[not]", meaning)
                for entry, meaning in self.by_first.get(words[at], [])
                if words[at : at + len(entry)] == entry
            ]
            if not found:
                at += 1
                continue
            size, _, meaning = max(found)
            at += size
            if meaning == "[phrases]":
                return "political"
            if meaning != "[not]":
                terms.add(meaning)
        return "political" if len(terms) >= minimum_terms else None


_LEXICON = ROOT / "filters" / "data" / "political.txt"

REFERENCE: dict[str, Callable[..., Answer]] = {
    "text.valid": text_valid,
    "url.present": urls.url_present,
    "url.scheme": urls.url_scheme,
    "url.credentials": urls.url_credentials,
    "url.host": urls.url_host,
    "url.port": urls.url_port,
    "url.form": urls.url_form,
    "url.length": urls.url_length,
    "url.tracking_pixel": urls.url_tracking_pixel,
    "nsfw.score": nsfw_score,
    "nsfw.tag": nsfw_tag,
    "nsfw.present": nsfw_present,
    "aspect.ratio": aspect_ratio,
    "caption.present": captions.caption_present,
    "caption.boilerplate": captions.caption_boilerplate,
    "caption.hash": captions.caption_hash,
    "caption.url": captions.caption_url,
    "caption.file_name": captions.caption_file_name,
    "caption.date": captions.caption_date,
    "caption.chars": captions.caption_chars,
    "caption.words": captions.caption_words,
    "caption.alnum": captions.caption_alnum,
    "caption.contact": captions.caption_contact,
    "caption.repetition": captions.caption_repetition,
    "political.lexicon": PoliticalReference(_LEXICON),
}
