"""Declarations, presets and settings: what a user may say, and what everything derives from."""

from __future__ import annotations

import hashlib
import json

import pytest

import filters
from filters.parameters import parse_parameter
from filters.rules.caption import CaptionWords
from filters.rules.url import UrlPort


def test_declarations_are_complete_and_unique() -> None:
    reasons = [reason for f in filters.FILTERS.values() for reason in f.reasons]
    assert len(reasons) == len(set(reasons))
    for name, one in filters.FILTERS.items():
        assert one.name == name
        assert name.split(".")[0] in filters.FAMILIES
        assert one.reasons and one.columns
        assert one.summary.endswith(".")
        assert (one.__doc__ or "").startswith("Rejects ")
        for parameter in filters.parameters_of(one):
            assert parameter.help


def test_safety_is_about_scores_and_tags_only() -> None:
    assert [f.name for f in filters.FILTERS.values() if f.safety] == ["nsfw.score", "nsfw.tag"]
    decoded = [f.name for f in filters.FILTERS.values() if f.decides_on == "decoded"]
    assert decoded == ["aspect.ratio"]


def test_descriptions_follow_the_chain() -> None:
    rows = filters.describe("cogvlm")
    assert [row.name for row in rows] == [f.name for f in filters.build_chain("cogvlm").filters]
    by_name = {row.name: row for row in rows}
    assert by_name["aspect.ratio"].on_missing == "defer"
    assert by_name["aspect.ratio"].origin == "paper"
    assert by_name["nsfw.present"].on_missing == "drop"
    assert by_name["caption.words"].on_missing is None
    assert [(p.name, p.type, p.default) for p in by_name["caption.words"].parameters] == [
        ("minimum", "int", 3),
        ("maximum", "int", 256),
    ]
    assert [row.name for row in filters.describe()] == list(filters.FILTERS)


def test_every_preset_says_where_it_deviates() -> None:
    for preset in filters.PRESETS.values():
        assert preset.deviations
        assert all(d.startswith(("paper:", "ours:", "left out")) for d in preset.deviations)
    none = {f.name.split(".")[0] for f in filters.build_chain("none").filters}
    assert none == {"text", "url"}


FETCHABLE = [
    *("text.valid", "url.present", "url.scheme", "url.credentials", "url.host", "url.port"),
    *("url.form", "url.length", "url.tracking_pixel"),
]
CHAINS = {
    "cogvlm": [
        *FETCHABLE,
        *("nsfw.score", "nsfw.tag", "nsfw.present", "aspect.ratio", "caption.present"),
        *("caption.boilerplate", "caption.hash", "caption.url", "caption.file_name"),
        *("caption.date", "caption.chars", "caption.words", "caption.alnum", "caption.contact"),
        *("caption.repetition", "political.lexicon"),
    ],
    "none": FETCHABLE,
}
"""The rules of each published preset: runs on disk have these in their facts. They never change."""

FACTS = {
    "cogvlm": "eb0645507b33460fd1335331c67df6a68cae9354526587b1daec60090879fa67",
    "none": "7d7ca4a126d6d1a8b45545e9c94f5847ea1ffc4f78574a56374879e131bd3141",
}
"""sha256 of the JSON of `Chain.spec()`: names, order, parameters and their defaults."""


def test_every_published_preset_is_pinned() -> None:
    assert {*CHAINS} == {*FACTS} <= {*filters.PRESETS}


@pytest.mark.parametrize("preset", CHAINS)
def test_a_preset_keeps_its_rules_their_order_and_its_fingerprint(preset: str) -> None:
    chain = filters.build_chain(preset)
    assert [rule.name for rule in chain.filters] == CHAINS[preset]
    assert hashlib.sha256(json.dumps(chain.spec()).encode()).hexdigest() == FACTS[preset]


def test_settings_reach_the_filter_and_the_fingerprint() -> None:
    plain = filters.build_chain("cogvlm")
    chain = filters.build_chain(
        "cogvlm",
        {
            "caption.words.minimum": "2",
            "nsfw.score.threshold": "0.45",
            "aspect.ratio.on_missing": "drop",
            "url.host.allow_addresses": "127.0.0.0/8, ::1/128",
            "url.port.ports": "80,81",
        },
    )
    spec = {entry["name"]: entry["parameters"] for entry in chain.spec()}
    assert spec["caption.words"] == {"minimum": 2, "maximum": 256}
    assert spec["nsfw.score"] == {"threshold": 0.45}
    assert spec["aspect.ratio"] == {"maximum": 6.0, "on_missing": "drop"}
    assert spec["url.host"] == {"allow_addresses": ["127.0.0.0/8", "::1/128"]}
    assert spec["url.port"]["ports"] == [80, 81]
    assert json.loads(json.dumps(chain.spec())) == chain.spec()
    assert chain.spec() != plain.spec() == filters.build_chain("cogvlm", {}).spec()
    assert list(chain.data_files()) == ["filters/data/political.txt"]
    assert all(len(digest) == 64 for digest in chain.data_files().values())
    assert filters.build_chain("none").data_files() == {}


@pytest.mark.parametrize(
    ("preset", "settings", "words"),
    [
        ("cogvml", {}, "no preset 'cogvml'; did you mean 'cogvlm'"),
        ("zzz", {}, f"no preset 'zzz'; known: {', '.join(filters.PRESETS)}"),
        ("cogvlm", {"caption.word.minimum": "1"}, "did you mean 'caption.words'"),
        ("cogvlm", {"minimum": "1"}, "no filter ''"),
        ("cogvlm", {"caption.words.minimun": "1"}, "did you mean 'minimum'"),
        ("cogvlm", {"caption.date.minimum": "1"}, "there is nothing to set"),
        ("cogvlm", {"caption.words.minimum": "three"}, "a whole number, not 'three'"),
        ("cogvlm", {"caption.words.minimum": "2.5"}, "a whole number"),
        ("cogvlm", {"nsfw.score.threshold": "half"}, "a number, not 'half'"),
        ("cogvlm", {"aspect.ratio.on_missing": "maybe"}, r"one of keep\|drop\|defer"),
        ("cogvlm", {"url.port.ports": "80,http"}, "a whole number, not 'http'"),
        ("cogvlm", {"url.port.ports": "0"}, "1 to 65535"),
        ("none", {"caption.words.minimum": "2"}, "preset 'none' does not use 'caption.words'"),
    ],
)
def test_a_wrong_setting_says_what_to_type(
    preset: str, settings: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        filters.build_chain(preset, settings)


def test_parsing_by_declared_type() -> None:
    assert parse_parameter(CaptionWords, "minimum", " 4 ") == 4
    assert parse_parameter(UrlPort, "ports", "80, 443") == (80, 443)
    assert parse_parameter(UrlPort, "allow_addresses", "") == ()
