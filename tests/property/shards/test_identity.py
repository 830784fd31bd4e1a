"""What holds for every URL, caption and key."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from helpers.shards import reference_identity
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import identity
from shards.identity import Domain, canonical_url

PIECES = st.sampled_from(
    [
        *("http://", "HTTPS://", "//", "ftp://", "http:", "a.com", "Bücher.DE", "faß", "[::1]"),
        *("[::FFFF:1.2.3.4]", "xn--", ".", ":80", ":443", ":0", ":", "/", "?", "#", "@", "%41"),
        *("&amp;", "&amp", "amp;", "&#", "&#38;", "35;", "&num;", "&sol;", "&copy=1", ";", "x4"),
        *(" ", "\t", "\x00", "\x7f", "&nbsp;", "\u200d", "é", "א", "\u0301"),
        *("／", "＆", "ａｍｐ；"),
    ]
)
URLS = st.one_of(
    st.lists(PIECES, max_size=9).map("".join),
    st.lists(PIECES, max_size=6).map(lambda parts: "http://a.com/" + "".join(parts)),
    st.text(max_size=20).map("https://".__add__),
    st.text(max_size=30),
)


@settings(max_examples=600)
@given(URLS)
def test_canonical_is_idempotent(url: str) -> None:
    canonical = canonical_url(url)
    if canonical is not None:
        assert canonical_url(canonical) == canonical


@settings(max_examples=600)
@given(URLS)
def test_canonical_equals_the_slow_reference(url: str) -> None:
    assert canonical_url(url) == reference_identity.canonical_url(url)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.none() | URLS, st.none() | st.text(max_size=9)), max_size=12))
def test_vectorised_equals_scalar(rows: list[tuple[str | None, str | None]]) -> None:
    # One row in front that is sliced away: arrays with an offset must work as well.
    urls = pa.array(["x", *(url for url, _ in rows)], pa.string())[1:]
    captions = pa.array(["y", *(caption for _, caption in rows)], pa.string())[1:]
    canonical = identity.canonical_urls(urls)
    hashes = identity.url_hashes(urls, canonical).to_pylist()
    keys = identity.keys(urls, canonical, captions).to_pylist()
    actual = list(zip(canonical.to_pylist(), hashes, keys, strict=True))
    assert actual == [scalar(url, caption) for url, caption in rows]


def scalar(url: str | None, caption: str | None) -> tuple[str | None, bytes | None, str | None]:
    if url is None:
        return None, None, None
    canonical = canonical_url(url)
    whole = url.strip("".join(map(chr, range(33))) + "\x7f") if canonical is None else canonical
    bare = whole if canonical is None else whole.split("://", 1)[1]
    keyed = f"{whole}\0{caption or ''}".encode()
    return canonical, xxhash.xxh3_128_digest(bare.encode()), xxhash.xxh3_128_hexdigest(keyed)


@pytest.fixture(scope="module")
def bits() -> dict[Domain, np.ndarray]:
    """The choices of every domain about a million keys, as fractions."""
    ids = np.random.default_rng(0).integers(0, 2**64, (1_000_000, 2), dtype=np.uint64)
    return {domain: identity.choice(domain, 0, ids) / 2.0**64 for domain in Domain}


def test_domains_are_uncorrelated(bits: dict[Domain, np.ndarray]) -> None:
    for one, other in itertools.combinations(Domain, 2):
        assert abs(np.corrcoef(bits[one], bits[other])[0, 1]) < 0.01, (one, other)


def test_choices_are_uniform(bits: dict[Domain, np.ndarray]) -> None:
    for domain, values in bits.items():
        counts = np.histogram(values, bins=64, range=(0, 1))[0]
        assert abs(counts - len(values) / 64).max() < 6 * np.sqrt(len(values) / 64), domain


def test_seeds_are_uncorrelated() -> None:
    # Ids that count up are the hardest: they differ in a few low bits only.
    ids = np.stack([np.zeros(1_000_000, np.uint64), np.arange(1_000_000, dtype=np.uint64)], axis=1)
    a, b = (identity.choice(Domain.ORDER, seed, ids) / 2.0**64 for seed in (0, 1))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.01
    assert abs(np.corrcoef(a, np.arange(len(a)))[0, 1]) < 0.01
