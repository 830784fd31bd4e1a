"""What holds for every selection: its share, its size, and who is in it."""

from __future__ import annotations

import itertools
from functools import reduce
from operator import add

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.selection import Histogram, cut, ranks, targets
from shards.identity import hex_strings

POLICIES = ("prefer_multi", "fill_single")
SHARES = st.tuples(st.integers(1, 50), st.integers(1, 50)).map(lambda ab: (ab[0], sum(ab)))
COUNTS = st.integers(0, 200_000_000)


@given(COUNTS, COUNTS, COUNTS, SHARES, st.sampled_from(POLICIES))
def test_the_share_is_strictly_above_the_bound(single, multi, target, share, policy):
    kept_single, kept_multi = targets(single, multi, target, share, policy)
    assert 0 <= kept_single <= single and 0 <= kept_multi <= multi
    assert kept_single + kept_multi <= target
    if kept_multi:
        assert share[1] * kept_multi > share[0] * (kept_single + kept_multi)
    else:
        assert kept_single == 0 and 0 in (multi, target)


@pytest.mark.parametrize("share", [(3, 4), (1, 2), (2, 3), (2, 5), (9, 10)])
def test_no_choice_is_larger(share):
    above, whole = share
    for single, multi, target in itertools.product(range(10), range(10), range(1, 15)):
        allowed = [
            (one, two)
            for one in range(single + 1)
            for two in range(multi + 1)
            if one + two <= target and whole * two > above * (one + two)
        ]
        most = max((one + two for one, two in allowed), default=0)
        by_multi, by_single = (targets(single, multi, target, share, each) for each in POLICIES)
        assert sum(by_multi) == sum(by_single) == most
        if allowed:
            largest = [pair for pair in allowed if sum(pair) == most]
            assert by_multi == min(largest)  # with as many multis as possible
            assert by_single == max(largest)  # with as many singles


@given(COUNTS, COUNTS, COUNTS, SHARES, st.sampled_from(POLICIES))
def test_numbers_never_fall_as_the_target_grows(single, multi, target, share, policy):
    less = targets(single, multi, target, share, policy)
    more = targets(single, multi, target + 1, share, policy)
    assert less[0] <= more[0] and less[1] <= more[1]


def population(size: int, seed: int = 0) -> tuple[pa.Array, np.ndarray]:
    """Return keys and numbers of boxes."""
    draw = np.random.default_rng(seed)
    return hex_strings(draw.bytes(16 * size)), draw.choice(4, size, p=[0.1, 0.4, 0.3, 0.2])


def chosen(
    keys: pa.Array,
    boxes: np.ndarray,
    target: int,
    policy: str = "prefer_multi",
    *,
    exact: bool = False,
    seed: int = 3,
    shards: int = 1,
) -> set[str]:
    """Return the keys that a selection keeps, made shard by shard."""
    u = ranks(keys, seed)
    parts = np.array_split(np.arange(len(keys)), shards)
    tables = []
    for part in parts:
        tables.append(Histogram.empty())
        tables[-1].add(u[part], boxes[part])
    found = cut(reduce(add, reversed(tables)), target, policy=policy, exact=exact)
    if exact:
        found = found.exactly(
            (int(u[row]), int(boxes[row]), keys[row].as_py())
            for part in parts
            for row in part[found.on_boundary(u[part], boxes[part])].tolist()
        )
    kept = [part[found.keeps(u[part], boxes[part], keys.take(part))] for part in parts]
    rows = np.concatenate(kept)
    multi = int((boxes[rows] >= 2).sum())
    assert (len(rows) - multi, multi) == (found.single, found.multi)
    assert 4 * multi > 3 * len(rows)
    return {*keys.take(pa.array(rows)).to_pylist()}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_neither_order_nor_shards_show(policy, exact):
    keys, boxes = population(4000)
    expected = chosen(keys, boxes, 1500, policy, exact=exact)
    order = np.random.default_rng(1).permutation(len(keys))
    for shards in (1, 2, 7):
        assert chosen(keys, boxes, 1500, policy, exact=exact, shards=shards) == expected
        mixed = chosen(
            keys.take(pa.array(order)), boxes[order], 1500, policy, exact=exact, shards=shards
        )
        assert mixed == expected


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_sets_are_nested_as_the_target_grows(policy, exact):
    keys, boxes = population(3000)
    sets = [
        chosen(keys, boxes, target, policy, exact=exact)
        for target in [*range(50, 150), *range(200, 3400, 150)]
    ]
    assert all(one <= other for one, other in itertools.pairwise(sets))
    if exact:
        assert [len(each) for each in sets[:100]] == [*range(50, 150)]


@pytest.mark.parametrize("exact", [False, True])
def test_another_seed_chooses_others_and_as_many(exact):
    keys, boxes = population(4000)
    one, other = (chosen(keys, boxes, 1500, exact=exact, seed=seed) for seed in (3, 4))
    assert abs(len(one) - len(other)) <= (0 if exact else 4)
    assert len(one & other) < 0.9 * len(one)


def test_the_choice_of_an_image_does_not_depend_on_others_but_for_the_cut():
    """In a population that has grown by a tenth, those kept are the first of a longer line."""
    keys, boxes = population(4000)
    fewer, more = (chosen(keys[:n], boxes[:n], 10_000) for n in (3600, 4000))
    multis = {key for key, m in zip(keys[:3600].to_pylist(), boxes, strict=False) if m >= 2}
    assert multis <= fewer and multis <= more
