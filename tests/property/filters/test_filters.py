"""Properties of the rules: equal to the slow reference, row by row; blind to batch borders."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
from helpers.filters.filter_rows import answers, batch_of, row
from helpers.filters.reference_common import listed
from helpers.filters.reference_filters import REFERENCE
from hypothesis import example, given, settings
from hypothesis import strategies as st

import filters
from filters.base import Filter

# Unassigned characters are left out: Python and RE2 may know different versions of Unicode.
CHARACTERS = st.characters(exclude_categories=("Cs", "Cn", "Co"))

CAPTION_PIECES = st.sampled_from(
    listed(
        """IMG_1234 .jpg DSC 2019-05-12 5th May of at 10:30 pm https://example.org/a www.a.org b.com
        a@b.org @2x. image for picture of ... +30 697 435 0179 402-505-6600 (415)555-2671 Tel: call
        ISBN 978-0-306-40615-7 d41d8cd98f00b204e9800998ecf8427e 123456 # don't e\u0301 猫 が カー
        แมว ລາວ ខ្មែរ قطة हिन्दी می\u200cخواهم 고양이 🎉 — ’ _ president Trump Putin vote for election
        Trump Tower prime minister party Élection présidentielle Путин ſ \u212a İ ß 5月 年 screen
        shot p123456"""
    )
)
CAPTIONS = st.none() | st.lists(
    CAPTION_PIECES | st.text(CHARACTERS, max_size=6) | st.text("aA1 .-_@:/()+", max_size=8),
    max_size=14,
).flatmap(lambda parts: st.sampled_from([" ", "", "-"]).map(lambda glue: glue.join(parts)))

HOSTS = st.sampled_from(
    listed(
        """example.org localhost a.local 127.0.0.1 127.1 2130706433 0x7f.1 10.0.0.1 8.8.8.8
        1.2.3.256 [::1] [::ffff:10.0.0.1] [2606:4700::1111] [2002:7f00:1::] [::g] intranet Bücher.de
        a_b.org example.org. 1.2.3.4.5 user@example.org u:p@127.0.0.1 home.arpa x.home.arpa 0x
        08.1"""
    )
) | st.text(CHARACTERS, max_size=8)
PORTS = st.sampled_from(["", ":80", ":443", ":8080", ":81", ":0080", ":99999", ":", ":x"])
PATHS = st.sampled_from(
    ["", "/", "/a.jpg", "/1x1.gif", "/Spacer.GIF?x", "/blank.gif#t", "/a/pixel.gif/", "?q=/1x1.gif"]
) | st.text(CHARACTERS, max_size=8).map(lambda tail: "/" + tail)
SCHEMES = st.sampled_from(
    ["https://", "http://", "HTTP://", "ftp://", "data:", "//", "", "a:", " "]
)
URLS = st.none() | st.tuples(SCHEMES, HOSTS, PORTS, PATHS).map("".join) | st.text(CHARACTERS)

SCORES = st.none() | st.floats(width=32) | st.sampled_from([0.0, 0.5, 0.45, 1.0, math.nan])
TAGS = st.none() | st.sampled_from(["NSFW", "unsure", " Unlikely", "safe", "", "NSFW?"])
SIDES = st.none() | st.integers(-2, 40) | st.integers(-(2**31), 2**31 - 1)

ROWS = st.builds(
    row,
    url=URLS,
    caption=CAPTIONS,
    width=SIDES,
    height=SIDES,
    nsfw_score=SCORES,
    nsfw_tag=TAGS,
    invalid_text=st.booleans(),
)
# A rule costs the same for ten rows as for one, so rows that are judged one by one come in tens.
TABLES = st.lists(ROWS, min_size=6, max_size=14)


@given(TABLES)
@example([])
@settings(max_examples=120)
def test_rules_equal_the_reference(rows: list[dict[str, Any]]) -> None:
    batch = batch_of(rows)
    for rule in filters.build_chain("cogvlm").filters:
        expected = [REFERENCE[rule.name](one) for one in rows]
        assert answers(rule, batch) == expected, rule.name


STRICTER: list[tuple[type[Filter], str, list[float]]] = [
    (filters.FILTERS["nsfw.score"], "threshold", [1.0, 0.7, 0.5, 0.45, 0.1]),
    (filters.FILTERS["aspect.ratio"], "maximum", [20.0, 6.0, 2.5, 1.0]),
    (filters.FILTERS["url.length"], "maximum", [2048, 30, 10, 1]),
    (filters.FILTERS["caption.chars"], "minimum", [0, 1, 6, 20]),
    (filters.FILTERS["caption.chars"], "maximum", [1000, 30, 6]),
    (filters.FILTERS["caption.words"], "minimum", [0, 1, 3, 5]),
    (filters.FILTERS["caption.words"], "maximum", [256, 7, 3]),
    (filters.FILTERS["caption.alnum"], "minimum", [0.0, 0.3, 0.5, 1.0]),
    (filters.FILTERS["caption.repetition"], "maximum", [1.0, 0.5, 0.2, 0.1, 0.0]),
    (filters.FILTERS["political.lexicon"], "minimum_terms", [4, 3, 2, 1]),
]


@pytest.mark.parametrize(("rule", "name", "values"), STRICTER)
@given(rows=TABLES)
@example(rows=[])
@settings(max_examples=15)
def test_stricter_never_keeps_more_and_equals_the_reference(
    rule: type[Filter], name: str, values: list[float], rows: list[dict[str, Any]]
) -> None:
    batch = batch_of(rows)
    before = np.ones(len(rows), dtype=np.bool_)
    for value in values:
        one = rule(**{name: value})
        kept = one.verdicts(batch) <= 0
        assert not (kept & ~before).any()
        before = kept
        parameters = {f.name: getattr(one, f.name) for f in dataclasses.fields(one)}
        assert answers(one, batch) == [REFERENCE[one.name](r, **parameters) for r in rows]


@given(rows=st.lists(ROWS, min_size=2, max_size=6), cuts=st.lists(st.integers(0, 6), max_size=3))
@settings(max_examples=60)
def test_batch_borders_do_not_matter(rows: list[dict[str, Any]], cuts: list[int]) -> None:
    batch = batch_of(rows)
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    for rule in filters.build_chain("cogvlm").filters:
        parts = [answers(rule, batch.slice(a, b - a)) for a, b in itertools.pairwise(edges)]
        assert [x for part in parts for x in part] == answers(rule, batch), rule.name


@given(TABLES)
@example([])
@settings(max_examples=50)
def test_the_two_funnel_modes_agree(rows: list[dict[str, Any]]) -> None:
    chain = filters.build_chain("cogvlm")
    full = filters.apply_chain(batch_of(rows), chain, "full")
    first = filters.apply_chain(batch_of(rows), chain, "first")
    assert first.keep.tolist() == full.keep.tolist()
    assert first.owner.tolist() == full.owner.tolist()
    assert first.safety_owner.tolist() == full.safety_owner.tolist()
    assert first.deferred.tolist() == full.deferred.tolist()
    assert first.counts.owned == full.counts.owned
    assert first.counts.rows == first.counts.kept + sum(first.counts.owned.values())


@given(TABLES)
@example([])
@settings(max_examples=40)
def test_full_mode_counts_what_the_rules_say(rows: list[dict[str, Any]]) -> None:
    chain = filters.build_chain("cogvlm")
    result = filters.apply_chain(batch_of(rows), chain, "full")
    failing = [{i for i, f in enumerate(chain.filters) if _fails(f, one)} for one in rows]
    counts = result.counts
    assert counts.alone is not None
    assert counts.overlap is not None
    for i, rule in enumerate(chain.filters):
        assert counts.alone[rule.name] == sum(failed == {i} for failed in failing)
        for j in range(len(chain.filters)):
            assert counts.overlap[i][j] == sum({i, j} <= failed for failed in failing)
    lists = result.reason_lists().to_pylist()
    assert [len(reasons) for reasons in lists] == [len(failed) for failed in failing]


def _fails(rule: Filter, one: dict[str, Any]) -> bool:
    return REFERENCE[rule.name](one) not in (None, "(deferred)")
