"""Every rule of `filters`, again: one row at a time, in plain Python, as the docstrings say it.

In: a row as a dict of the canonical and derived columns, and a rule's parameters. Out: the reason,
None for keep, or `DEFERRED`. Slow and obvious on purpose; shares no code with the package.
"""

from __future__ import annotations

import collections
import ipaddress
import math
import re
import struct
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEFERRED = "(deferred)"

Row = dict[str, Any]
Answer = str | None


def ascii_fold(text: str) -> str:
    """Lower-case ASCII, and the two characters that fold to it in Unicode."""
    folded = "".join(c.lower() if c.isascii() else c for c in text)
    return folded.replace("\u017f", "s").replace("\u212a", "k")


def category(character: str) -> str:
    return unicodedata.category(character)[0]


# text and url


def text_valid(row: Row) -> Answer:
    return "invalid_text" if row["invalid_text"] else None


def has_url(row: Row) -> bool:
    blank = "".join(map(chr, range(0x21))) + "\x7f\x85"
    url = row["url"] or ""
    return any(c not in blank and category(c) != "Z" for c in url)


def url_text(row: Row) -> str:
    if row["canonical_url"] is not None:
        return str(row["canonical_url"])
    return (row["url"] or "").strip()


def split_url(text: str) -> tuple[str, str, str, str] | None:
    """Return scheme, user, host and port text, or None where there is no `scheme://`."""
    scheme, mark, rest = text.partition("://")
    if not mark or not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*", scheme):
        return None
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, host_port = authority.rpartition("@")
    if host_port.startswith("[") and "]" in host_port:
        host, _, port = host_port.partition("]")
        return scheme, user + at, host + "]", port
    host, colon, port = host_port.partition(":")
    return scheme, user + at, host, colon + port


def url_present(row: Row) -> Answer:
    return None if has_url(row) else "url_missing"


def url_scheme(row: Row) -> Answer:
    scheme, colon, rest = url_text(row).partition(":")
    looks_like_one = bool(colon) and bool(re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+-]*", scheme))
    if not looks_like_one or rest[:1] in set("0123456789"):
        return None
    return None if scheme.lower() in ("http", "https") else "url_scheme"


def url_credentials(row: Row) -> Answer:
    split = split_url(url_text(row))
    return "url_credentials" if split and split[1] else None


LOCAL = [
    "alt",
    "corp",
    "example",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "test",
]


def url_host(row: Row, allow_addresses: tuple[str, ...] = ()) -> Answer:
    split = split_url(url_text(row))
    if split is None:
        return None
    host = split[2].lower().removesuffix(".")
    address = literal_address(host)
    if address is not None:
        fine = public(address) or allowed(address, allow_addresses)
        return None if fine else "url_private_address"
    if host.startswith("["):
        return None
    labels = host.split(".")
    last = labels[-1]
    numeric = (last != "" and set(last) <= set("0123456789")) or bool(
        re.fullmatch("0x[0-9a-f]*", last)
    )
    local = any(host == name or host.endswith("." + name) for name in LOCAL)
    return "url_host" if len(labels) == 1 or numeric or local else None


def url_port(
    row: Row,
    ports: tuple[int, ...] = (80, 443, 8080, 8443),
    allow_addresses: tuple[str, ...] = (),
) -> Answer:
    split = split_url(url_text(row))
    if split is None or not re.fullmatch(":[0-9]+", split[3]):
        return None
    if split[3].lstrip(":").lstrip("0") in [str(port) for port in ports]:
        return None
    address = literal_address(split[2])
    exempt = address is not None and allowed(address, allow_addresses)
    return None if exempt else "url_port"


def url_form(row: Row) -> Answer:
    return "url_malformed" if has_url(row) and row["canonical_url"] is None else None


def url_length(row: Row, maximum: int = 2048) -> Answer:
    return "url_too_long" if len(url_text(row)) > maximum else None


def url_tracking_pixel(row: Row) -> Answer:
    path = re.split("[?#]", ascii_fold(url_text(row)), maxsplit=1)[0]
    if "/" not in path:
        return None
    names = {f"{n}.{e}" for n in ["1x1", "spacer", "blank", "transparent"] for e in ("gif", "png")}
    names |= {"pixel.gif", "cleardot.gif", "shim.gif"}
    return "url_tracking_pixel" if path.rsplit("/", 1)[1] in names else None


def literal_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        if host.startswith("["):
            return ipaddress.IPv6Address(host[1:-1].split("%")[0])
        parts = [_inet_number(part) for part in host.removesuffix(".").split(".")]
        if len(parts) > 4 or any(part > 255 for part in parts[:-1]):
            return None
        tail = parts.pop().to_bytes(4 - len(parts), "big")
        return ipaddress.IPv4Address(bytes(parts) + tail)
    except (ValueError, OverflowError):
        return None


def _inet_number(text: str) -> int:
    if not re.fullmatch("[0-9]+|0[xX][0-9a-fA-F]*", text):
        raise ValueError(text)
    if text[:2] in ("0x", "0X"):
        return int("0" + text[2:], 16)
    return int(text, 8) if text.startswith("0") else int(text)


def public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        relay = address in ipaddress.ip_network("192.88.99.0/24")
        special = address in ipaddress.ip_network("192.0.0.0/24")
        return address.is_global and not (address.is_multicast or relay or special)
    words = address.exploded.split(":")
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if words[:6] in (["0000"] * 6, ["0000"] * 5 + ["ffff"], ["0064", "ff9b"] + ["0000"] * 4):
        return public(low)
    if address.sixtofour is not None:
        return public(address.sixtofour)
    if address.teredo is not None:
        return public(address.teredo[1])
    special = any(address in ipaddress.ip_network(block) for block in ("2001::/23", "3fff::/20"))
    return words[0][0] in "23" and address.is_global and not special


def allowed(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, blocks: tuple[str, ...]
) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(block) for block in blocks)


# nsfw and aspect


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


# caption, counted


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


# caption, as a whole

IMAGE_EXTENSIONS = [
    "jpg",
    "jpeg",
    "jpe",
    "jfif",
    "png",
    "gif",
    "webp",
    "bmp",
    "tif",
    "tiff",
    "svg",
    "heic",
    "avif",
    "psd",
    "ico",
]
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


TLDS = [
    "com",
    "net",
    "org",
    "info",
    "biz",
    "co",
    "io",
    "de",
    "uk",
    "fr",
    "ru",
    "jp",
    "cn",
    "br",
    "it",
    "nl",
    "pl",
    "es",
    "eu",
    "us",
    "ca",
    "au",
]


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


MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "jan",
    "feb",
    "mar",
    "apr",
    "jun",
    "jul",
    "aug",
    "sep",
    "sept",
    "oct",
    "nov",
    "dec",
]
DAYS = [d + s for d in ["mon", "tue", "tues", "wed", "wednes", "thu", "thur", "thurs", "fri", "sat", "satur", "sun"]
        for s in ("", "day")]  # fmt: skip


def caption_date(row: Row) -> Answer:
    text = ascii_fold(row["caption"] or "")
    parts = [part for part in re.split("[ ,./:()|\u2013\u5e74\u6708\u65e5-]+", text) if part]
    for part in parts:
        number = re.fullmatch("[0-9]{1,4}(st|nd|rd|th)?", part)
        if not number and part not in [*MONTHS, *DAYS, *["at", "on", "of", "the", "am", "pm"]]:
            return None
    numeric = re.search("[0-9][./-][0-9]{1,2}[./-][0-9]|[0-9]:[0-9]{2}|[0-9]{4}\u5e74", text)
    return "caption_date" if parts and (numeric or _month_beside_number(parts)) else None


def _month_beside_number(parts: list[str]) -> bool:
    for left, right in zip(parts, parts[1:], strict=False):
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
    return character == "_" or category(character) in "LN"


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
    for piece in _pieces_around(text, "@"):
        email = r"[a-z0-9][a-z0-9._%+-]*@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,24}"
        if _has_match(email, piece, _is_word, _is_word, len(piece)):
            if not re.search(r"@[1-4]x\.", text):
                return "caption_email"
    return "caption_phone" if _has_phone(text) else None


def _pieces_around(text: str, mark: str) -> Iterator[str]:
    return (piece for piece in text.split(" ") if mark in piece)


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


# political


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


_LEXICON = Path(__file__).resolve().parents[1] / "filters" / "data" / "political.txt"

REFERENCE: dict[str, Callable[..., Answer]] = {
    "text.valid": text_valid,
    "url.present": url_present,
    "url.scheme": url_scheme,
    "url.credentials": url_credentials,
    "url.host": url_host,
    "url.port": url_port,
    "url.form": url_form,
    "url.length": url_length,
    "url.tracking_pixel": url_tracking_pixel,
    "nsfw.score": nsfw_score,
    "nsfw.tag": nsfw_tag,
    "nsfw.present": nsfw_present,
    "aspect.ratio": aspect_ratio,
    "caption.present": caption_present,
    "caption.boilerplate": caption_boilerplate,
    "caption.hash": caption_hash,
    "caption.url": caption_url,
    "caption.file_name": caption_file_name,
    "caption.date": caption_date,
    "caption.chars": caption_chars,
    "caption.words": caption_words,
    "caption.alnum": caption_alnum,
    "caption.contact": caption_contact,
    "caption.repetition": caption_repetition,
    "political.lexicon": PoliticalReference(_LEXICON),
}
