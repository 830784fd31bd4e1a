"""The slow reference of the caption rules: one row at a time, character by character."""

from __future__ import annotations

import collections
import itertools
import re
import unicodedata
from collections.abc import Callable

from helpers.filters.reference_common import Answer, Row, ascii_fold, category, listed


def caption_present(row: Row) -> Answer:
    return None if row["caption"] else "caption_missing"


def caption_chars(row: Row, minimum: int = 6, maximum: int = 1000) -> Answer:
    length = len(row["caption"] or "")
    if length > maximum:
        return "caption_too_long"
    return "caption_too_short" if row["caption"] and length < minimum else None


HALF_WORD_NAMES = (
    *("THAI", "LAO", "KHMER", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "HENTAIGANA"),
    *("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "IDEOGRAPHIC ITERATION MARK"),
    *("IDEOGRAPHIC CLOSING MARK", "VERTICAL KANA", "VERTICAL IDEOGRAPHIC", "MASU MARK"),
)


def is_half_word(character: str) -> bool:
    """A letter of a script without spaces, told by its Unicode name."""
    name = unicodedata.name(character, "")
    return category(character) == "L" and name.startswith(HALF_WORD_NAMES)


def is_glue(character: str) -> bool:
    return category(character) == "M" or character in "'\u2019\u200c\u200d\u00ad"


def count_words(text: str) -> float:
    words, inside = 0.0, False
    for character in text:
        if is_glue(character):
            continue
        if is_half_word(character):
            words, inside = words + 0.5, False
        elif category(character) in "LN":
            words, inside = words + (not inside), True
        else:
            inside = False
    return words


def caption_words(row: Row, minimum: int = 3, maximum: int = 256) -> Answer:
    words = count_words(row["caption"] or "")
    if words > maximum:
        return "caption_too_many_words"
    return "caption_too_few_words" if row["caption"] and words < minimum else None


def caption_alnum(row: Row, minimum: float = 0.5) -> Answer:
    if not row["caption"]:
        return None
    solid = [c for c in row["caption"] if category(c) != "Z" and c not in "\t\n\x0b\f\r\x85"]
    alnum = [c for c in solid if category(c) in "LNM"]
    return "caption_symbols" if len(alnum) / max(len(solid), 1) < minimum else None


def caption_repetition(row: Row, maximum: float = 0.2) -> Answer:
    text = row["caption"] or ""
    grams = [text[i : i + 10] for i in range(len(text) - 9)]
    seen = collections.Counter(grams)
    repeated = [gram for gram in grams if seen[gram] > 1]
    return "caption_repetition" if grams and len(repeated) / len(grams) > maximum else None


IMAGE_EXTENSIONS = listed("jpg jpeg jpe jfif png gif webp bmp tif tiff svg heic avif psd ico")
CAMERA = """img dsc dscf dscn pic pict mvc cimg sam gopr fullsizerender image photo picture scan
untitled screenshot|screen shot""".replace("\n", " ")
DIGITS = set("0123456789")


def caption_file_name(row: Row) -> Answer:
    text = ascii_fold(row["caption"] or "")
    if "." in text and text.rsplit(".", 1)[1] in IMAGE_EXTENSIONS:
        return "caption_file_name"
    names = [*CAMERA.split("|")[0].split(), "screen shot"]
    heads = [name for name in names if text.startswith(name)]
    rests = [text[len(head) :].lstrip(" _.~-") for head in heads]
    if re.match("p[0-9]{6}", text):
        rests.append(text[7:].lstrip(" _.~-"))
    words = "(?:at|am|pm|copy|edited|edit|small|large|web|cropped|crop)"
    tail = re.compile(rf"[0-9](?:[0-9 _.,:()~x-]|{words})*")
    return "caption_file_name" if any(tail.fullmatch(rest) for rest in rests) else None


TLDS = listed("com net org info biz co io de uk fr ru jp cn br it nl pl es eu us ca au")


def _is_web_address(token: str) -> bool:
    for prefix in ("http://", "https://", "www."):
        if token.startswith(prefix) and len(token) > len(prefix):
            return True
    host = token.split("/", 1)[0]
    name, dot, tld = host.rpartition(".")
    return bool(dot) and tld in TLDS and bool(re.fullmatch("[a-z0-9][a-z0-9.-]*", name))


def caption_url(row: Row) -> Answer:
    text = ascii_fold(row["caption"] or "")
    return "caption_url" if text and _is_url_list(text) else None


def _is_url_list(text: str) -> bool:
    """Try every way to cut the text at runs of separators: a URL may hold `,;|` itself."""
    if _is_web_address(text) and " " not in text:
        return True
    for cut in re.finditer("[ ,;|]+", text):
        head = text[: cut.start()]
        if _is_web_address(head) and " " not in head and _is_url_list(text[cut.end() :]):
            return True
    return False


def caption_hash(row: Row) -> Answer:
    text = ascii_fold(row["caption"] or "").removeprefix("#")
    uuid = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    text = re.sub(f"(?<![0-9a-z]){uuid}(?![0-9a-z])", "0" * 16, text)
    tokens = re.split("[ _.-]+", text)
    long = [bool(re.fullmatch("[0-9a-f]{16,}|[0-9]{6,}", token)) for token in tokens]
    small = [bool(re.fullmatch("[a-z]|[0-9]+", token)) for token in tokens]
    good = long[0] and all(a or b for a, b in zip(long, small, strict=True))
    return "caption_hash" if good else None


MONTHS = listed(
    """january february march april may june july august september october november
    december jan feb mar apr jun jul aug sep sept oct nov dec"""
)
DAY_STEMS = listed("mon tue tues wed wednes thu thur thurs fri sat satur sun")
DAYS = [stem + end for stem in DAY_STEMS for end in ("", "day")]
DATE_WORDS = [*MONTHS, *DAYS, *listed("at on of the am pm")]


def caption_date(row: Row) -> Answer:
    text = ascii_fold(row["caption"] or "")
    parts = [part for part in re.split("[ ,./:()|\u2013\u5e74\u6708\u65e5-]+", text) if part]
    for part in parts:
        number = re.fullmatch("[0-9]{1,4}(st|nd|rd|th)?", part)
        if not number and part not in DATE_WORDS:
            return None
    numeric = re.search("[0-9][./-][0-9]{1,2}[./-][0-9]|[0-9]:[0-9]{2}|[0-9]{4}\u5e74", text)
    return "caption_date" if parts and (numeric or _month_beside_number(parts)) else None


def _month_beside_number(parts: list[str]) -> bool:
    for left, right in itertools.pairwise(parts):
        if left in MONTHS and right[0] in DIGITS:
            return True
        if left[0] in DIGITS and right in MONTHS:
            return True
    of = zip(parts, parts[1:], parts[2:], strict=False)
    return any(a[0] in DIGITS and len(a) > 2 and not a.isdigit() and b == "of" and c in MONTHS
               for a, b, c in of)  # fmt: skip


def caption_boilerplate(row: Row) -> Answer:
    text = ascii_fold(row["caption"] or "").rstrip(" .:")
    return "caption_boilerplate" if text in ("image for", "thumbnail for", "picture of") else None


def _is_word(character: str) -> bool:
    return character == "_" or category(character) in "LNM"


def _has_match(
    pattern: str,
    text: str,
    bad_before: Callable[[str], bool],
    bad_after: Callable[[str], bool],
    longest: int,
) -> bool:
    """Try every start whose neighbour is fine, and there every end whose neighbour is fine."""
    compiled = re.compile(pattern)
    for start in range(len(text)):
        if start and bad_before(text[start - 1]):
            continue
        for end in range(start + 1, min(len(text), start + longest) + 1):
            fine = end == len(text) or not bad_after(text[end])
            if fine and compiled.fullmatch(text, start, end):
                return True
    return False


def caption_contact(row: Row) -> Answer:
    text = ascii_fold(row["caption"] or "")
    for piece in [word for word in text.split(" ") if "@" in word]:
        email = r"[a-z0-9][a-z0-9._%+-]*@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,24}"
        found = _has_match(email, piece, _is_word, _is_word, len(piece))
        if found and not re.search(r"@[1-4]x\.", text):
            return "caption_email"
    return "caption_phone" if _has_phone(text) else None


def _has_phone(text: str) -> bool:
    label = "(?:tel|telephone|whatsapp|hotline|fax|mob|mobile|phone|ph|call(?: us| now| today"
    label += "| me)?(?: at| on)?)"
    area = r"(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[.-])"
    forms = (
        r"\+[1-9](?:[ ().-]{0,2}[0-9]){8,14}",
        rf"(?:1[ .-])?{area}[2-9][0-9]{{2}}[.-][0-9]{{4}}",
        rf"{label}(?: ?[.:@] ?| )\(?[0-9](?:[ ().-]{{0,2}}[0-9]){{8,13}}",
    )
    if sum(c in DIGITS for c in text) < 9:
        return False

    def bad_before(c: str) -> bool:
        return _is_word(c) or c in ".,/#+*=$-"

    def bad_after(c: str) -> bool:
        return _is_word(c) or c in "*/-"

    return any(_has_match(form, text, bad_before, bad_after, 80) for form in forms)
