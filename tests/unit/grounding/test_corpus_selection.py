"""Which images a set keeps: numbers of images in, numbers and sets of keys out."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from helpers.paths import GOLDEN

from grounding.selection import (
    NUM_BUCKETS,
    Histogram,
    cut,
    fraction,
    most_single,
    ranks,
    targets,
)
from shards.identity import Domain, choice, hex_strings, key_words

GOLDEN = json.loads((GOLDEN / "grounding" / "selection_cases.json").read_text())


def table(single: int, multi: int) -> Histogram:
    """Return a table of so many images, spread evenly over the buckets."""
    counts = np.array([np.full(NUM_BUCKETS, each // NUM_BUCKETS) for each in (single, multi)])
    for row, each in zip(counts, (single, multi), strict=True):
        row[: each % NUM_BUCKETS] += 1
    return Histogram(counts)


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_golden_numbers(case):
    share = tuple(GOLDEN["strict_share_over"])
    found = targets(case["single"], case["multi"], case["target"], share, case["policy"])
    assert found == (case["take_single"], case["take_multi"])
    if case["share"] is not None:
        assert found[1] / sum(found) == pytest.approx(case["share"], abs=1e-9)


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_golden_numbers_by_an_exact_cut_of_a_table(case):
    share = tuple(GOLDEN["strict_share_over"])
    given = table(case["single"], case["multi"])
    if not case["take_multi"]:
        with pytest.raises(ValueError, match="nothing can be selected"):
            cut(given, case["target"], share, case["policy"], exact=True)
        return
    found = cut(given, case["target"], share, case["policy"], exact=True)
    assert (found.single, found.multi) == (case["take_single"], case["take_multi"])


def test_a_cut_of_whole_buckets_is_less_than_a_bucket_short():
    given = table(60_000_000, 45_000_000)
    for policy in ("prefer_multi", "fill_single"):
        want_single, want_multi = targets(60_000_000, 45_000_000, 40_000_000, (3, 4), policy)
        found = cut(given, 40_000_000, (3, 4), policy)
        assert want_multi - 45_000_000 / NUM_BUCKETS - 1 < found.multi <= want_multi
        # Singles are short by their own bucket, and by a third of what multis lack.
        lacking = 60_000_000 / NUM_BUCKETS + 45_000_000 / NUM_BUCKETS / 3 + 2
        assert want_single - lacking < found.single <= want_single
        assert 4 * found.multi > 3 * (found.single + found.multi)


def test_just_three_of_four_is_not_more_than_that():
    assert targets(1, 3, 4) == (0, 3)
    assert targets(1, 4, 5) == (1, 4)
    assert most_single(3) == 0 and most_single(4) == 1 and most_single(0) == 0


def test_everything_is_kept_if_the_share_is_there():
    found = cut(table(10, 90), 1000)
    assert (found.single, found.multi) == (10, 90)
    assert (found.single_bucket, found.multi_bucket) == (NUM_BUCKETS, NUM_BUCKETS)


def test_a_target_within_a_bucket_needs_an_exact_cut():
    given = Histogram.empty()
    given.add(np.zeros(10, np.uint64), np.full(10, 2))
    with pytest.raises(ValueError, match=r"target 5 is less than .* ask for an exact selection"):
        cut(given, 5)
    assert cut(given, 5, exact=True).multi == 5


@pytest.mark.parametrize("target", [0, 1, 2])
def test_small_targets(target):
    for policy in ("prefer_multi", "fill_single"):
        assert targets(10, 10, target, (3, 4), policy) == (0, target)


def test_an_unknown_policy_is_named():
    with pytest.raises(ValueError, match="unknown policy 'most'; known: prefer_multi, fill_single"):
        targets(1, 1, 1, (3, 4), "most")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3/4", (3, 4)), (" 1 / 2 ", (1, 2)), ("75/100", (75, 100)), ("9999/10000", (9999, 10000))],
)
def test_fractions(text, expected):
    assert fraction(text) == expected


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("0.75", "'0.75' is not a fraction of two whole numbers; type one like 3/4"),
        ("75%", "not a fraction"),
        ("", "not a fraction"),
        ("-1/2", "not a fraction"),
        ("3/4/5", "not a fraction"),
        ("٣/٤", "not a fraction"),
        ("4/4", "4/4 is not between 0 and 1"),
        ("5/4", "5/4 is not between"),
        ("0/4", "0/4 is not between"),
        ("3/0", "3/0 is not between"),
    ],
)
def test_fractions_that_are_none(text, detail):
    with pytest.raises(ValueError, match=detail):
        fraction(text)


def test_a_rank_is_the_hash_of_seed_and_key():
    keys = pa.array(["00" * 16, "0123456789abcdef" * 2])
    assert ranks(keys, 7).tolist() == choice(Domain.SELECT, 7, key_words(keys)).tolist()
    assert ranks(keys, 8).tolist() != ranks(keys, 7).tolist()


def test_images_are_counted_by_kind_and_bucket():
    given = Histogram.empty()
    given.add(np.array([0, 1 << 48, (1 << 64) - 1, 0], np.uint64), np.array([1, 2, 30, 0]))
    assert given.counts[:, :2].tolist() == [[1, 0], [0, 1]]
    assert given.counts[1, -1] == 1
    assert (given.single, given.multi) == (1, 2)


def test_images_without_a_box_take_no_part():
    u, boxes = np.arange(8, dtype=np.uint64), np.array([0, 2, 2, 2, 2, 2, 1, 0])
    given = Histogram.empty()
    given.add(u, boxes)
    whole = cut(given + given, 100)
    assert (whole.single, whole.multi) == (2, 10)
    assert whole.keeps(u, boxes).tolist() == (boxes >= 1).tolist()


def in_one_bucket() -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """Return ranks, boxes and keys of 40 images, with ties, of which half have two boxes."""
    u = np.array([number // 4 for number in range(40)], np.uint64)
    keys = hex_strings(b"".join((977 * number % 1000).to_bytes(16, "big") for number in range(40)))
    return u, np.array([1, 2] * 20), keys


def test_an_exact_cut_takes_the_first_by_rank_then_key():
    u, boxes, keys = in_one_bucket()
    given = Histogram.empty()
    given.add(u, boxes)
    open_cut = cut(given, 9, exact=True, policy="fill_single")
    assert (open_cut.single, open_cut.multi) == (2, 7)
    assert open_cut.on_boundary(u, boxes).all()
    rows = [*zip(u.tolist(), boxes.tolist(), keys.to_pylist(), strict=True)]
    closed = open_cut.exactly(reversed(rows))
    kept = closed.keeps(u, boxes, keys)
    for count, own in ((2, 1), (7, 2)):
        ordered = sorted((rank, key) for rank, m, key in rows if m == own)
        chosen = {
            (rank, key)
            for (rank, m, key), keep in zip(rows, kept, strict=True)
            if keep and m == own
        }
        assert chosen == {*ordered[:count]}
    assert open_cut.exactly(rows + rows) == closed  # retried work gives rows twice


def test_an_exact_cut_says_what_it_lacks():
    u, boxes, keys = in_one_bucket()
    given = Histogram.empty()
    given.add(u, boxes)
    open_cut = cut(given, 9, exact=True)
    with pytest.raises(ValueError, match="complete it by `exactly`"):
        open_cut.keeps(u, boxes, keys)
    with pytest.raises(ValueError, match=r"9 images with two boxes are wanted .* and 1 were given"):
        open_cut.exactly([(0, 2, "a")])
    closed = open_cut.exactly(zip(u.tolist(), boxes.tolist(), keys.to_pylist(), strict=True))
    with pytest.raises(ValueError, match="give the keys as well"):
        closed.keeps(u, boxes)
