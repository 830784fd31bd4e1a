"""Captions that say nothing about the image: file names, URLs, hashes, dates, stock phrases.

In: `caption`, cleaned. Out: verdicts. Every rule but `caption.contact` looks at the caption as a
whole, so a date or a URL inside a sentence does not matter to it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from filters.base import Filter, Verdict, verdict_of
from filters.regex import WORD_CHARACTER, bounded, matching

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("caption",)

_EXTENSION = r"\.(?:jpe?g|jpe|jfif|png|gif|webp|bmp|tiff?|svg|heic|avif|psd|ico)"

_FILE_NAME = (
    rf"{_EXTENSION}$|^(?:img|dsc[fn]?|pict?|mvc|cimg|sam|gopr|fullsizerender|image|photo|picture"
    r"|scan|untitled|screen ?shot|p[0-9]{6})[ _.~-]*[0-9]"
    r"(?:[0-9 _.,:()~x-]|at|am|pm|copy|edit|edited|small|large|web|crop|cropped)*$"
)

_URL_TOKEN = (
    r"(?:(?:https?://|www\.)[^ ]+|[a-z0-9][a-z0-9.-]*"
    r"\.(?:com|net|org|info|biz|co|io|de|uk|fr|ru|jp|cn|br|it|nl|pl|es|eu|us|ca|au)(?:/[^ ]*)?)"
)
_URL_ONLY = rf"^{_URL_TOKEN}(?:[ ,;|]+{_URL_TOKEN})*$"

_HASH_TOKEN = r"(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{16,}|[0-9]{6,})"
_HASH_ONLY = rf"^#?{_HASH_TOKEN}(?:[ _.-]+(?:{_HASH_TOKEN}|[a-z]|[0-9]+))*$"

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DATE_TOKEN = (
    rf"(?:[0-9]{{1,4}}(?:st|nd|rd|th)?|{_MONTH}|at|on|of|the|am|pm"
    r"|(?:mon|tue|tues|wed|wednes|thu|thur|thurs|fri|sat|satur|sun)(?:day)?)"
)
_DATE_SEPARATOR = (
    r"[ ,./:()|\x{2013}\x{5e74}\x{6708}\x{65e5}-]"  # also an en dash, year, month, day
)
_DATE_ONLY = (
    rf"^{_DATE_SEPARATOR}*{_DATE_TOKEN}(?:{_DATE_SEPARATOR}+{_DATE_TOKEN})*{_DATE_SEPARATOR}*$"
)
_IS_DATED = (
    rf"(?:^|[^a-z]){_MONTH}[^a-z]*[0-9]|[0-9][^a-z]*{_MONTH}|[0-9](?:st|nd|rd|th) (?:of )?{_MONTH}"
    r"|[0-9][./-][0-9]{1,2}[./-][0-9]|[0-9]:[0-9]{2}|[0-9]{4}\x{5e74}"
)

_BOILERPLATE = r"^(?:image for|thumbnail for|picture of)[ .:]*$"

_EMAIL = bounded(r"[a-z0-9][a-z0-9._%+-]*@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,24}")
_RETINA_NAME = r"@[1-4]x\."

_PHONE_LABEL = (
    r"(?:tel|telephone|whatsapp|hotline|fax|mob|mobile|phone|ph"
    r"|call(?: us| now| today| me)?(?: at| on)?)"
)
_PHONE = (
    rf"(?:^|[^{WORD_CHARACTER}.,/#+*=$-])(?:"
    r"\+[1-9](?:[ ().-]{0,2}[0-9]){8,14}"  # +30 697 435 0179
    r"|(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[.-])[2-9][0-9]{2}[.-][0-9]{4}"  # N. America
    rf"|{_PHONE_LABEL}(?: ?[.:@] ?| )\(?[0-9](?:[ ().-]{{0,2}}[0-9]){{8,13}}"  # a label before it
    rf")(?:$|[^{WORD_CHARACTER}*/-])"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _PatternFilter(Filter):
    """Rejects captions that match all of `patterns` (any casing)."""

    columns = _COLUMNS
    patterns: ClassVar[tuple[str, ...]]

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Match the caption; null does not match."""
        caption = batch.column("caption")
        masks = [matching(caption, pattern, ignore_case=True) for pattern in self.patterns]
        return verdict_of(np.logical_and.reduce(masks))


class CaptionFileName(_PatternFilter):
    """Rejects captions that end in an image's file extension or are a camera's file name."""

    name = "caption.file_name"
    reasons = ("caption_file_name",)
    summary = "The caption is not a file name (`my cat.jpg`, `IMG_1234`, `Screenshot 2020-01-01`)."
    patterns = (_FILE_NAME,)


class CaptionUrl(_PatternFilter):
    """Rejects captions that are nothing but web addresses."""

    name = "caption.url"
    reasons = ("caption_url",)
    summary = "The caption is not only web addresses."
    patterns = (_URL_ONLY,)


class CaptionHash(_PatternFilter):
    """Rejects captions that are nothing but hashes, UUIDs or numbers of at least 6 digits."""

    name = "caption.hash"
    reasons = ("caption_hash",)
    summary = "The caption is not only hashes, UUIDs and long numbers."
    patterns = (_HASH_ONLY,)


class CaptionDate(_PatternFilter):
    """Rejects captions that are nothing but a date or a time, in digits or English."""

    name = "caption.date"
    reasons = ("caption_date",)
    summary = "The caption is not only a date or a time."
    patterns = (_DATE_ONLY, _IS_DATED)


class CaptionBoilerplate(_PatternFilter):
    """Rejects captions that are a stock phrase without an object."""

    name = "caption.boilerplate"
    reasons = ("caption_boilerplate",)
    summary = "The caption is not just `image for`, `thumbnail for` or `picture of`."
    patterns = (_BOILERPLATE,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptionContact(Filter):
    """Rejects captions that hold an e-mail address or a telephone number.

    A number needs a country code with `+`, the North American grouping, or a label such as
    `tel`. Anything looser is nearly always an ISBN, a date or a stock number (101 of 105 hits).
    """

    name = "caption.contact"
    columns = _COLUMNS
    reasons = ("caption_email", "caption_phone")
    summary = "The caption holds no e-mail address and no telephone number."

    def verdicts(self, batch: pa.RecordBatch) -> Verdict:
        """Search the caption; `logo@2x.png` is not an address."""
        caption = batch.column("caption")
        email = matching(caption, _EMAIL, ignore_case=True)
        if email.any():
            email &= ~matching(caption, _RETINA_NAME, ignore_case=True)
        return verdict_of(email, matching(caption, _PHONE, ignore_case=True))
