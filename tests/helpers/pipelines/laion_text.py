"""URLs and captions as the web writes them, with every kind of noise that rules look for.

Goes in: a seeded generator and a number of rows. Comes out: two binary columns, because some of
the noise is not UTF-8, and the name of what was planted in each row. All of it is vectorised:
columns of words are drawn and joined, and noise replaces rows through one `take`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ADJECTIVES = [
    "vintage",
    "wooden",
    "modern",
    "large",
    "small",
    "blue",
    "red",
    "hand-painted",
    "stainless",
    "Italian",
    "women's",
    "men's",
    "abstract",
    "seamless",
    "black",
    "and",
    "white",
    "portable",
    "antique",
    "leather",
    "cotton",
    "floral",
    "rustic",
]
NOUNS = [
    "dining table",
    "sneakers",
    "wedding dress",
    "kitchen island",
    "landscape painting",
    "coffee mug",
    "mountain bike",
    "living room",
    "vector pattern",
    "golden retriever puppy",
    "phone case",
    "birthday cake",
    "silver necklace",
    "office chair",
    "sports car",
    "beach house",
    "chocolate cookies",
    "garden fence",
    "running shoes",
    "poster",
]
PLACES = [
    "in the garden",
    "on a white background",
    "at sunset",
    "for small spaces",
    "near the old harbour",
    "with flowers and leaves",
    "by Johnson & Sons",
    "under a cloudy sky",
    "from the 1960s",
    "in New York",
]
TAILS = [
    "",
    " - Home Decor Ideas",
    " ",
    " Pinterest",
    ", stock photo",
    ": Size XL",
    ", 24 x 36 inches",
    " - The Daily Journal",
    " (Set of 2)",
    "...",
]
OTHER_LANGUAGES = [
    "Деревянный стол в саду",
    "木製のダイニングテーブル",
    "一只金色的小狗在草地上",
    "טבעת כסף עם אבן",
    "Ein kleines Haus am See mit Garten",
    "Vestido de novia con encaje blanco",
    "โต๊ะไม้ในสวน",
    "سيارة رياضية حمراء على الطريق",
    "고양이가 소파에서 자고 있다",
]
HOSTS = [
    "cdn.shopify.com",
    "i.pinimg.com",
    "images-na.ssl-images-amazon.com",
    "live.staticflickr.com",
    "media.gettyimages.com",
    "i.ebayimg.com",
    "static.example-news.co.uk",
    "img.alicdn.com",
    "thumbs.dreamstime.com",
    "www.blog-garten.de",
]
SMALL_HOSTS = 5_000
"""Hosts of the tail; half of the rows, as in a crawl."""

NOISE_RATE = 0.004
"""Share of rows for each kind of caption noise, and for each kind of URL noise."""

LONG_CAPTION_CHARS = 60_000


def _draw(rng: np.random.Generator, n: int, words: list[str]) -> pa.Array:
    return pa.array(words).take(pa.array(rng.integers(0, len(words), n, dtype=np.int32)))


def _join(*parts: pa.Array | str, by: str = "") -> pa.Array:
    return pc.binary_join_element_wise(*parts, by)


def _number(rng: np.random.Generator, n: int, low: int, high: int) -> pa.Array:
    return pa.array(rng.integers(low, high, n)).cast(pa.string())


def hex_digits(rng: np.random.Generator, n: int, digits: int) -> pa.Array:
    """Return n random strings of lower-case hex digits."""
    letters = np.frombuffer(b"0123456789abcdef", np.uint8)[rng.integers(0, 16, n * digits)]
    offsets = np.arange(n + 1, dtype=np.int32) * digits
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(letters)]
    return pa.Array.from_buffers(pa.string(), n, buffers)


def captions(rng: np.random.Generator, n: int) -> pa.Array:
    """Return alt texts: 20 to 110 characters, about 58 on average."""
    first = _join(_draw(rng, n, ADJECTIVES), _draw(rng, n, NOUNS), by=" ")
    second = _join(
        _draw(rng, n, ["and", "with", "or", "for", "next to"]), _draw(rng, n, NOUNS), by=" "
    )
    middle = pc.if_else(pa.array(rng.random(n) < 0.6), second, "")
    text = _join(first, middle, _draw(rng, n, PLACES), by=" ")
    return _join(pc.replace_substring(text, "  ", " "), _draw(rng, n, TAILS))


def urls(rng: np.random.Generator, n: int, tag: str) -> pa.Array:
    """Return n different image URLs; `tag` keeps those of other calls apart."""
    tail = _join("www.site-", _number(rng, n, 0, SMALL_HOSTS), ".com")
    host = pc.if_else(pa.array(rng.random(n) < 0.5), _draw(rng, n, HOSTS), tail)
    scheme = pc.if_else(pa.array(rng.random(n) < 0.8), "https://", "http://")
    folder = _draw(rng, n, ["images", "wp-content/uploads/2016/04", "products", "media/catalog"])
    name = _join(tag, pa.array(np.arange(n)).cast(pa.string()), by="-")
    end = _draw(rng, n, [".jpg", ".jpg", ".jpeg", ".png", ".webp", ".jpg?w=800&h=600", ""])
    return _join(scheme, host, "/", folder, "/", name, end)


def _repeated(rng: np.random.Generator, n: int) -> pa.Array:
    word = _draw(rng, n, ["buy now ", "cheap shoes ", "la ", "=- "])
    return _join(*[word] * 12)


_Maker = Callable[[np.random.Generator, int], pa.Array]

CAPTION_NOISE: dict[str, _Maker] = {
    "caption_null": lambda rng, n: pa.nulls(n, pa.string()),
    "caption_empty": lambda rng, n: _draw(rng, n, ["", " ", "\t\n"]),
    "caption_short": lambda rng, n: _draw(rng, n, ["img", "a", "42", "??", "logo"]),
    "caption_file_name": lambda rng, n: _join("IMG_", _number(rng, n, 1000, 9999), ".JPG"),
    "caption_url": lambda rng, n: _join("https://www.site.com/page/", _number(rng, n, 0, 10**6)),
    "caption_hash": lambda rng, n: hex_digits(rng, n, 32),
    "caption_date": lambda rng, n: _join("2014-05-", _number(rng, n, 10, 31)),
    "caption_boilerplate": lambda rng, n: _draw(
        rng, n, ["image for", "thumbnail for", "picture of"]
    ),
    "caption_email": lambda rng, n: _join(
        "Write to sales", _number(rng, n, 0, 999), "@shop.com today"
    ),
    "caption_phone": lambda rng, n: _join(
        "Call us now at +1 (555) 010-", _number(rng, n, 1000, 9999)
    ),
    "caption_repetition": _repeated,
    "caption_symbols": lambda rng, n: _draw(rng, n, ["★★★ !!! ### $$$ >>>", "||| --- *** ~~~ |||"]),
    "caption_political": lambda rng, n: _join(
        "Presidential candidate at an election campaign rally in ",
        _draw(rng, n, ["Ohio", "Lyon", "Kyiv"]),
    ),
    "caption_entities": lambda rng, n: _join(_draw(rng, n, NOUNS), " &amp; ", _draw(rng, n, NOUNS)),
    "caption_whitespace": lambda rng, n: _join(
        "  ", _draw(rng, n, NOUNS), "\n\n ", _draw(rng, n, PLACES)
    ),
    "caption_language": lambda rng, n: _draw(rng, n, OTHER_LANGUAGES),
    "caption_emoji": lambda rng, n: _join(
        _draw(rng, n, NOUNS), " 😍🔥👍🏽 ", _draw(rng, n, PLACES)
    ),
    "caption_many_words": lambda rng, n: _join(
        *[_draw(rng, n, ADJECTIVES) for _ in range(300)], by=" "
    ),
    "caption_invalid_utf8": lambda rng, n: pa.array([b"caf\xe9 au lait on a table \xff\xfe"] * n),
    "caption_lone_surrogate": lambda rng, n: pa.array(
        [b"a broken \xed\xa0\xbd smile on a mug"] * n
    ),
}

URL_NOISE: dict[str, _Maker] = {
    "url_null": lambda rng, n: pa.nulls(n, pa.string()),
    "url_scheme": lambda rng, n: _join("ftp://files.site.com/", _number(rng, n, 0, 10**6), ".jpg"),
    "url_data": lambda rng, n: pa.array(["data:image/gif;base64,R0lGODlhAQABAAAAACw="] * n),
    "url_private": lambda rng, n: _draw(
        rng, n, ["http://10.0.0.7/a.jpg", "http://169.254.169.254/latest", "http://localhost/a.png"]
    ),
    "url_port": lambda rng, n: _join("http://site.com:22/", _number(rng, n, 0, 10**6)),
    "url_credentials": lambda rng, n: _join("http://me:pw@site.com/", _number(rng, n, 0, 10**6)),
    "url_path_word": lambda rng, n: _join(
        "https://site.com/logo/button_", _number(rng, n, 0, 10**6)
    ),
    "url_protocol_relative": lambda rng, n: _join("//cdn.site.com/", _number(rng, n, 0, 10**9)),
    "url_long": lambda rng, n: _join("https://site.com/", hex_digits(rng, n, 2100)),
    "url_upper_case": lambda rng, n: _join("HTTPS://WWW.Site.COM:443/A", _number(rng, n, 0, 10**9)),
    "url_invalid_utf8": lambda rng, n: pa.array([b"http://site.com/caf\xe9.jpg"] * n),
}


def plant(
    rng: np.random.Generator, column: pa.Array, noise: dict[str, _Maker], rate: float = NOISE_RATE
) -> tuple[pa.Array, np.ndarray]:
    """Replace `rate` of the rows by each kind of noise.

    Returns:
        The column as binary, and per row the index of its noise in `list(noise)`, or -1.
    """
    n = len(column)
    kind = np.full(n, -1, np.int8)
    drawn = rng.random(n)
    values, source = [column.cast(pa.binary())], np.arange(n)
    for index, maker in enumerate(noise.values()):
        rows = np.flatnonzero((drawn >= index * rate) & (drawn < (index + 1) * rate))
        source[rows] = sum(map(len, values)) + np.arange(len(rows))
        kind[rows] = index
        values.append(maker(rng, len(rows)).cast(pa.binary()))
    return pa.concat_arrays(values).take(pa.array(source)), kind


def lengthen(rng: np.random.Generator, column: pa.Array, rows: np.ndarray) -> pa.Array:
    """Give these rows captions of 60,000 characters."""
    if not len(rows):
        return column
    text = (" ".join(ADJECTIVES + NOUNS) + " ") * (LONG_CAPTION_CHARS // 300)
    long = text[:LONG_CAPTION_CHARS].ljust(LONG_CAPTION_CHARS, "x").encode()
    source = np.arange(len(column))
    source[rows] = len(column)
    return pa.concat_arrays([column, pa.array([long])]).take(pa.array(source))
