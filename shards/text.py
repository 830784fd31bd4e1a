"""The one place where a caption is cleaned, and where text is checked for valid UTF-8.

Goes in: Arrow string arrays as a source had them. Comes out: cleaned arrays. Cleaning
is NFC, HTML entities unescaped, white space collapsed; case and punctuation stay. It
happens once, in the filter item: no later stage alters a caption.
"""

from __future__ import annotations

import html
import re
import unicodedata

import pyarrow as pa
import pyarrow.compute as pc

# Rows this pattern misses are clean already; about one in ten pays for Python.
_NEEDS_CLEANING = r"&[#A-Za-z]|^ | $|  |[^\x20-\x7e]"

_LEADING_ZEROS = re.compile(r"&#0+(?=[0-9])")
_BEYOND_UNICODE = re.compile(r"&#[0-9]{8,};?")

_CONTROLS_TO_SPACE = {code: " " for code in (*range(0x20), *range(0x7F, 0xA0))}


def unescape(text: str) -> str:
    """Return text with its HTML entities unescaped, whatever numbers they hold.

    `html.unescape` raises on a number of more than 4,300 digits.
    """
    if "&#" in text:
        text = _BEYOND_UNICODE.sub("\ufffd", _LEADING_ZEROS.sub("&#", text))
    return html.unescape(text)


def clean_caption(caption: str) -> str:
    """Return one caption cleaned: entities unescaped, NFC, white space collapsed."""
    text = unescape(caption) if "&" in caption else caption
    text = unicodedata.normalize("NFC", text).translate(_CONTROLS_TO_SPACE)
    return " ".join(text.split())


def clean_captions(captions: pa.Array) -> pa.Array:
    """Vectorised `clean_caption` over a string array; nulls stay null."""
    flagged = pc.fill_null(pc.match_substring_regex(captions, _NEEDS_CLEANING), False)
    if not pc.any(flagged).as_py():
        return captions
    cleaned = [clean_caption(caption) for caption in captions.filter(flagged).to_pylist()]
    return pc.replace_with_mask(captions, flagged, pa.array(cleaned, pa.string()))


def drop_invalid(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Null every string that is not valid UTF-8.

    Arrow's kernels accept invalid bytes, give wrong numbers for them and fail much later,
    so this runs once per batch, before anything else looks at the text.

    Returns:
        The array with bad rows nulled, and a boolean array that marks them.
    """
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        bad = _invalid_rows(texts)
        return pc.if_else(bad, pa.scalar(None, texts.type), texts), bad
    return texts, pa.repeat(pa.scalar(False), len(texts))


def _invalid_rows(texts: pa.Array) -> pa.Array:
    """Mark the rows that are not UTF-8; only those beyond ASCII become Python objects."""
    raw = texts.cast(pa.binary())
    beyond_ascii = pc.fill_null(pc.match_substring_regex(raw, r"[\x80-\xff]"), False)
    verdicts = [not _is_utf8(value) for value in raw.filter(beyond_ascii).to_pylist()]
    return pc.replace_with_mask(beyond_ascii, beyond_ascii, pa.array(verdicts, pa.bool_()))


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
