"""Canonical URLs, hashes and keys: the contract's vectors, and cases the vectors leave out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from shards import identity
from shards.identity import Domain, canonical_url

VECTORS = json.loads(Path(__file__).with_name("identity_vectors.json").read_text("utf-8"))


def test_the_contract_has_twenty_vectors() -> None:
    assert len(VECTORS) == 20


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["why"])
def test_vector(vector: dict[str, str | None]) -> None:
    url = pa.array([vector["url"]], pa.string())
    canonical = identity.canonical_urls(url)
    hashes = identity.url_hashes(url, canonical)
    actual = {
        "canonical": canonical[0].as_py(),
        "url_hash": hashes[0].as_py() and hashes[0].as_py().hex(),
        "key": identity.keys(url, canonical, pa.array([vector["caption"]], pa.string()))[0].as_py(),
    }
    assert actual == {name: vector[name] for name in actual}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a.com", "http://a.com/"),
        ("http://a.com?x", "http://a.com/?x"),
        ("http://a.com#x", "http://a.com/"),
        ("http://a.com/b #x", "http://a.com/b"),
        ("http://a.com:/b", "http://a.com/b"),
        ("http://a.com:0080/b", "http://a.com/b"),
        ("https://a.com:80/b", "https://a.com:80/b"),
        ("http://a.com:65536/b", None),
        ("http://a.com:" + "0" * 5000 + "81/b", "http://a.com:81/b"),
        ("http://a.com:" + "1" * 5000 + "/b", None),
        ("http://a.com/?x&notit;y", "http://a.com/?x&notit;y"),
        ("http://a.com/?x&not;y", "http://a.com/?x¬y"),
        ("http://a.com/&#x41;&#066;", "http://a.com/AB"),
        ("http://a.com/&#" + "1" * 5000 + ";", "http://a.com/\ufffd"),
        ("http://a.com/&" + "amp;" * 5, "http://a.com/&"),
        ("http://a.com/&" + "amp;" * 50, None),
        ("http:/a.com/", "http://a.com/"),
        ("HTTPS:a.com/x", "https://a.com/x"),
        ("http:////a.com//b", "http://a.com//b"),
        ("http:\\\\a.com\\b\\c.jpg?d\\e", "http://a.com/b\\c.jpg?d\\e"),
        ("http:/\\a.com:8080\\b", "http://a.com:8080/b"),
        ("http://a.com\\@b.com/x", "http://a.com/@b.com/x"),  # the host stays where it is
        ("\\\\a.com\\b", "https://a.com/b"),
        ("http://a.com/b\\c", "http://a.com/b\\c"),  # turned when it is fetched
        ("ftp:/a.com/", None),
        ("http://\u2603.net/", "http://xn--n3h.net/"),
        ("http://i\u2764.ws/a", "http://xn--i-7iq.ws/a"),
        ("http://\U0001f4a9.la/", "http://xn--ls8h.la/"),
        ("http://b\u00fccher.de/", "http://xn--bcher-kva.de/"),
        ("http://a\u200db.com/", None),
        ("http://\u0301a.com/", None),
        ("http://" + "a" * 255 + "/", None),
        ("http://" + "\u2603" * 60 + ".net/", None),
        ("http:///", None),
        ("http://a b.com/", None),
        ("http://a.com:x/", None),
        ("http://[::1/", None),
        ("http://[::g]/", None),
        ("mailto:me@a.com", None),
        ("", None),
        ("  ", None),
    ],
)
def test_canonical_url(url: str, expected: str | None) -> None:
    assert canonical_url(url) == expected


def test_url_hash_joins_what_only_the_scheme_parts() -> None:
    urls = pa.array(["http://a.com/x", "https://a.com/x", "//a.com/x", "https://A.com:443/x#y"])
    hashes = identity.url_hashes(urls, identity.canonical_urls(urls)).to_pylist()
    assert len(set(hashes)) == 1


def test_words_and_hex_are_the_same_numbers() -> None:
    digests = np.random.default_rng(0).bytes(16 * 50)
    hashes = pa.array([digests[i : i + 16] for i in range(0, 800, 16)], pa.binary(16))
    hexes = identity.hex_strings(digests)
    assert hexes.to_pylist() == [each.hex() for each in hashes.to_pylist()]
    assert (identity.key_words(hexes[7:]) == identity.hash_words(hashes[7:])).all()
    assert identity.key_words(hexes)[3].tolist() == [
        int(hexes[3].as_py()[:16], 16),
        int(hexes[3].as_py()[16:], 16),
    ]


def test_an_image_without_a_url_has_a_key_of_its_own() -> None:
    keys = {identity.image_key(sha, text) for sha in ("00", "01") for text in ("a", "b")}
    assert len(keys) == 4


@pytest.mark.parametrize("fraction", [0.001, 0.25, 1.0])
def test_a_threshold_selects_its_fraction(fraction: float) -> None:
    ids = np.random.default_rng(1).integers(0, 2**64, (200_000, 2), dtype=np.uint64)
    chosen = identity.choice(Domain.SAMPLE, 0, ids) < identity.fraction_threshold(fraction)
    assert abs(chosen.mean() - fraction) < 5 * np.sqrt(fraction / len(ids))


def test_choices_change_with_domain_seed_and_both_words() -> None:
    ids = np.array([[1, 2]], np.uint64)
    seen = {
        int(identity.choice(domain, seed, ids + np.array([high, low], np.uint64))[0])
        for domain in (Domain.BUCKET, Domain.ORDER)
        for seed in (0, 1)
        for high in (0, 1)
        for low in (0, 1)
    }
    assert len(seen) == 16
