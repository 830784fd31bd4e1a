"""Who a row is: canonical URL, `url_hash`, `key`, and the hash behind every random-looking choice.

Goes in: Arrow string arrays of raw URLs and captions. Comes out: arrays of the same
length. Keys are stable under re-sharding and re-cleaning, so they join all stages;
`tests/unit/shards/identity_vectors.json` holds the contract's test vectors.
"""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from html.entities import html5

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from shards.schema import HASH
from shards.text import unescape
from shards.urls import ascii_host

UInt64 = npt.NDArray[np.uint64]

DEFAULT_PORTS = {"http": 80, "https": 443}

# Nearly every URL of a corpus passes this pattern and not the next, and is then its
# own canonical form; only the others pay for Python (4 us a row).
_CANONICAL_AS_IS = r"^https?://[a-z0-9_.-]*[a-z0-9_-]/[\x21\x22\x24-\x7e]*$"
_ENTITY = r"&#?[0-9A-Za-z]+;"
_ENTITY_NUMBER = re.compile("&#(?:[0-9]+|[xX][0-9a-fA-F]+);")

_MAX_ESCAPES = 8
"""A URL escaped more often has no canonical form: undoing n levels costs n passes."""

_STRIP = "".join(map(chr, range(0x21))) + "\x7f"
_CONTROLS = re.compile("[\x00-\x1f\x7f]")
_WEB = re.compile(r"(https?):[/\\]*", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_NO_SCHEME = re.compile(r"[/\\]{2,}")
_AUTHORITY_END = re.compile(r"[/?]")
_WEB_AUTHORITY_END = re.compile(r"[/\\?]")


class Domain(StrEnum):
    """One per kind of decision, so that no two decisions are correlated."""

    BUCKET = "bucket"
    ORDER = "order"
    SAMPLE = "sample"
    REJECT_SAMPLE = "reject_sample"
    SELECT = "select"
    GROUND = "ground"
    PROMPT = "prompt"
    TASK = "task"
    EPOCH = "epoch"  # shards of an epoch, and samples of a window
    MIXTURE = "mixture"
    AUGMENT = "augment"
    DROPOUT = "dropout"


def canonical_url(url: str) -> str | None:
    """Return the canonical form of one URL, or None where it has none.

    Scheme and host are found as browsers find them (WHATWG URL): of http and https any number
    of slashes or backslashes may follow the scheme, and either ends the host. Both are
    lower-cased (IDNA, see `ascii_host`), the default port and the fragment dropped, an
    empty path becomes `/`, and HTML entities that end in `;` are unescaped, again and again
    (`&amp;amp;`): without the `;` they are query text (`?a=1&copy=2`). Path and query keep
    every byte: a backslash in a path is turned when the URL is fetched. `//host` becomes
    `https://host`. The canonical form of a canonical URL is itself.
    """
    text = _unescaped(url)
    split = None if text is None else _scheme_and_rest(text)
    if split is None:
        return None
    scheme, rest = split
    rest = rest.partition("#")[0].rstrip(_STRIP)
    end = (_WEB_AUTHORITY_END if scheme in DEFAULT_PORTS else _AUTHORITY_END).search(rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    authority_out = _canonical_authority(authority, scheme)
    if authority_out is None:
        return None
    if not tail.startswith("/"):
        tail = "/" + tail.removeprefix("\\")
    return f"{scheme}://{authority_out}{tail}"


def _scheme_and_rest(text: str) -> tuple[str, str] | None:
    """Return the scheme in lower case, and what follows it and its slashes."""
    if match := _NO_SCHEME.match(text):
        return "https", text[match.end() :]
    match = _WEB.match(text) or _OTHER_SCHEME.match(text)
    return (match[1].lower(), text[match.end() :]) if match else None


def _unescaped(url: str) -> str | None:
    for _ in range(_MAX_ESCAPES + 1):
        text = _CONTROLS.sub("", re.sub(_ENTITY, _character, url)).strip(_STRIP)
        if text == url:
            return text
        url = text
    return None


def _character(entity: re.Match[str]) -> str:
    text = entity.group()
    # `html.unescape` alone would take the `&not` out of `&notit;`.
    known = text[1:] in html5 or _ENTITY_NUMBER.fullmatch(text)
    return unescape(text) if known else text


def _canonical_authority(authority: str, scheme: str) -> str | None:
    userinfo, at, host_port = authority.rpartition("@")
    if host_port.startswith("["):
        host, bracket, port_text = host_port.partition("]")
        host_out = _canonical_ipv6(host[1:]) if bracket else None
    else:
        host, colon, port_text = host_port.partition(":")
        port_text = colon + port_text
        host_out = (ascii_host(host) or "").rstrip(".") or None
    # Zeros first, then at most five digits: Python refuses to read very long numbers.
    port_match = re.fullmatch(r"(?::0*([0-9]{0,5}))?", port_text)
    if host_out is None or not port_match:
        return None
    port = int(port_match.group(1) or 0)
    if port > 65535:
        return None
    keep_port = f":{port}" if port_text[1:] and port != DEFAULT_PORTS.get(scheme) else ""
    return userinfo + at + host_out + keep_port


def _canonical_ipv6(text: str) -> str | None:
    try:
        return f"[{ipaddress.IPv6Address(text)}]"
    except ipaddress.AddressValueError:
        return None


def canonical_urls(urls: pa.Array) -> pa.Array:
    """Vectorised `canonical_url`: strings in, strings out, null where there is none."""
    as_is = pc.and_(
        pc.match_substring_regex(urls, _CANONICAL_AS_IS),
        pc.invert(pc.match_substring_regex(urls, _ENTITY)),
    )
    slow = pc.invert(pc.fill_null(as_is, True))
    if not pc.any(slow).as_py():
        return urls
    repaired = [canonical_url(url) for url in urls.filter(slow).to_pylist()]
    return pc.replace_with_mask(urls, slow, pa.array(repaired, pa.string()))


def url_hashes(urls: pa.Array, canonical: pa.Array) -> pa.Array:
    """Return xxh3-128 of each canonical URL without its scheme; null where the URL is null.

    What cannot be canonicalised is hashed as its stripped raw bytes, all of them.
    """
    offsets, data = _binary_parts(_hashable(urls, canonical))
    scheme_ends = pc.add(pc.fill_null(pc.find_substring(canonical, "://"), -3), 3)
    starts = offsets[:-1] + np.asarray(scheme_ends)
    digests = _digests(data, starts, offsets[1:])
    hashes = pa.FixedSizeBinaryArray.from_buffers(HASH, len(urls), [None, pa.py_buffer(digests)])
    return _with_nulls(hashes, urls)


def keys(urls: pa.Array, canonical: pa.Array, captions_raw: pa.Array) -> pa.Array:
    """Return each row's key: hex of xxh3-128(canonical URL, 0x00, raw caption as UTF-8).

    A null caption counts as empty; a null URL has no key.
    """
    hashed = _hashable(urls, canonical).cast(pa.binary())
    captions = pc.fill_null(captions_raw, "").cast(pa.binary())
    offsets, data = _binary_parts(pc.binary_join_element_wise(hashed, captions, b"\0"))
    return _with_nulls(hex_strings(_digests(data, offsets[:-1], offsets[1:])), urls)


def image_key(sha256: str, caption_raw: str) -> str:
    """Return the key of a sample that has no URL: of its image's sha256 and raw caption."""
    return xxhash.xxh3_128_hexdigest(f"{sha256}\0{caption_raw}".encode())


def choice(domain: Domain, seed: int, ids: UInt64) -> UInt64:
    """Return 64 well-mixed bits per id: the only source of random-looking decisions.

    Args:
        domain: What is being decided; different domains give independent bits.
        seed: The run's seed.
        ids: (n, 2) words of a 128-bit hash, as `hash_words` or `key_words` return them.
    """
    salt = xxhash.xxh3_128_intdigest(f"{domain}\0{seed}".encode())
    low_salt, high_salt = np.uint64(salt & (2**64 - 1)), np.uint64(salt >> 64)
    with np.errstate(over="ignore"):
        mixed = _avalanche(ids[:, 0] ^ high_salt)
        return _avalanche(mixed + (ids[:, 1] ^ low_salt))


def _avalanche(words: UInt64) -> UInt64:
    # The finaliser of splitmix64: every input bit flips each output bit with p = 1/2.
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def fraction_threshold(fraction: float) -> np.uint64:
    """Return the bound below which a `choice` falls with probability `fraction` (0 to 1)."""
    return np.uint64(min(int(fraction * 2**64), 2**64 - 1))


def hash_words(hashes: pa.Array) -> UInt64:
    """Return the (n, 2) big-endian words of a binary(16) array; nulls give whatever is there."""
    data = np.frombuffer(hashes.buffers()[1], ">u8", 2 * len(hashes), hashes.offset * 16)
    return data.reshape(-1, 2).astype(np.uint64)


def key_words(key_column: pa.Array) -> UInt64:
    """Return the (n, 2) words of an array of keys without nulls, in the order of their hex."""
    offsets, data = _binary_parts(key_column)
    digits = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    nibbles = np.where(digits >= ord("a"), digits - np.uint8(87), digits - np.uint8(48))
    octets = (nibbles[0::2] << np.uint8(4)) | nibbles[1::2]
    return octets.view(">u8").reshape(-1, 2).astype(np.uint64)


_HEX_PAIRS = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint16)


def hex_strings(digests: bytes) -> pa.Array:
    """Return the hex of n concatenated 16-byte digests as n strings."""
    count = len(digests) // 16
    characters = _HEX_PAIRS[np.frombuffer(digests, np.uint8)]
    offsets = np.arange(0, 32 * (count + 1), 32, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(characters))


def _hashable(urls: pa.Array, canonical: pa.Array) -> pa.Array:
    missing = pc.and_(pc.is_null(canonical), pc.is_valid(urls))
    if not pc.any(missing).as_py():
        return canonical
    stripped = [url.strip(_STRIP) for url in urls.filter(missing).to_pylist()]
    return pc.replace_with_mask(canonical, missing, pa.array(stripped, pa.string()))


def _binary_parts(texts: pa.Array) -> tuple[npt.NDArray[np.int32], memoryview]:
    _, offsets_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32, len(texts) + 1, texts.offset * 4)
    return offsets, memoryview(data_buffer if data_buffer is not None else b"")


def _digests(
    data: memoryview, starts: npt.NDArray[np.signedinteger], ends: npt.NDArray[np.signedinteger]
) -> bytes:
    digest = xxhash.xxh3_128_digest
    bounds = zip(starts.tolist(), ends.tolist(), strict=True)
    return b"".join([digest(data[start:end]) for start, end in bounds])


def _with_nulls(values: pa.Array, like: pa.Array) -> pa.Array:
    if not like.null_count:
        return values
    return pc.if_else(pc.is_valid(like), values, pa.scalar(None, values.type))
