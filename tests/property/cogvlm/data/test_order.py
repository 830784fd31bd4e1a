"""Sample order: every sample once an epoch, exact shares, the same batches however dealt.

The order is a promise to every run that resumes: the last tests hold a few draws literally.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cogvlm.data.order import Draw, Schedule, ShardSetOrder, number, permutation, shares, streams_of
from shards.identity import Domain

COUNTS = st.lists(st.integers(0, 12), min_size=1, max_size=10).filter(any)
WINDOWS = st.integers(1, 12)
SEEDS = st.integers(0, 2**63)
BATCHES = st.tuples(st.integers(1, 8), st.integers(1, 4))  # streams, samples of one a step
BLOCK = 10_000


def one_set(
    counts: list[int], *, seed: int = 0, window: int = 3, streams: int = 1, per_step: int = 1
) -> Schedule:
    return Schedule(
        [counts], [1.0], seed=seed, window=window, streams=streams, global_batch=streams * per_step
    )


def mixture(
    *weights: float, counts: tuple[list[int], ...] = ([5, 0, 9], [8], [3, 3, 4]), streams: int = 2
) -> Schedule:
    used = counts[: len(weights)]
    return Schedule(used, weights, seed=7, window=2, streams=streams, global_batch=streams * 50)


def places(counts: list[int]) -> list[tuple[int, int]]:
    return [(shard, row) for shard, count in enumerate(counts) for row in range(count)]


def epoch_of(schedule: Schedule, nth: int = 0) -> list[list[Draw]]:
    """Return what every stream draws in an epoch."""
    steps = schedule.steps_per_epoch
    assert steps is not None
    return [
        [
            draw
            for step in range(nth * steps, (nth + 1) * steps)
            for draw in schedule.draws(stream, step)
            if draw
        ]
        for stream in range(schedule.streams)
    ]


def drawn(schedule: Schedule, stream: int, number: int) -> list[Draw]:
    """Return the first draws of a mixture's stream."""
    steps = range(-(-number // schedule.per_step))
    found = [draw for step in steps for draw in schedule.draws(stream, step) if draw]
    return found[:number]


@given(COUNTS, WINDOWS, SEEDS, BATCHES, st.integers(0, 3))
def test_every_sample_of_an_epoch_comes_once(
    counts: list[int], window: int, seed: int, batch: tuple[int, int], nth: int
) -> None:
    streams, per_step = batch
    schedule = one_set(counts, seed=seed, window=window, streams=streams, per_step=per_step)
    draws = epoch_of(schedule, nth)
    assert sorted((d.shard, d.row) for d in itertools.chain(*draws)) == places(counts)
    assert {(d.dataset, d.epoch) for d in itertools.chain(*draws)} == {(0, nth)}
    lengths = [len(each) for each in draws]
    assert max(lengths) - min(lengths) <= 1


@given(COUNTS, WINDOWS, BATCHES)
def test_an_epoch_takes_as_few_steps_as_it_can(
    counts: list[int], window: int, batch: tuple[int, int]
) -> None:
    streams, per_step = batch
    schedule = one_set(counts, window=window, streams=streams, per_step=per_step)
    steps = schedule.steps_per_epoch
    assert steps == -(-sum(counts) // (streams * per_step))
    last = [schedule.draws(stream, steps - 1) for stream in range(streams)]
    assert any(draw is not None for draws in last for draw in draws)
    assert [schedule.epoch(step) for step in (0, steps - 1, steps)] == [0, 0, 1]


@given(COUNTS, WINDOWS, SEEDS, st.sampled_from([(1, 12), (2, 6), (3, 4), (4, 3), (6, 2), (12, 1)]))
def test_a_global_batch_is_the_same_for_every_way_to_deal_streams(
    counts: list[int], window: int, seed: int, deal: tuple[int, int]
) -> None:
    ranks, workers = deal
    schedule = one_set(counts, seed=seed, window=window, streams=12, per_step=2)
    expected = Counter(draw for stream in range(12) for draw in schedule.draws(stream, 0))
    dealt: Counter[Draw | None] = Counter()
    for rank, worker in itertools.product(range(ranks), range(workers)):
        apart = one_set(counts, seed=seed, window=window, streams=12, per_step=2)
        for stream in range(rank + worker * ranks, 12, ranks * workers):
            dealt.update(apart.draws(stream, 0))
    assert dealt == expected


@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 9), min_size=6, max_size=9).filter(lambda counts: sum(counts) > 20),
    WINDOWS,
    SEEDS,
)
def test_epochs_seeds_and_sets_have_orders_of_their_own(
    counts: list[int], window: int, seed: int
) -> None:
    def order(seed: int, nth: int, epoch: int) -> list[tuple[int, int]]:
        made = ShardSetOrder(counts, seed=seed, window=window, nth=nth)
        return [made.place(epoch, position) for position in range(sum(counts))]

    orders = [order(seed, 0, 0), order(seed, 0, 1), order(seed + 1, 0, 0), order(seed, 1, 0)]
    assert all(sorted(each) == places(counts) for each in orders)
    assert all(one != other for one, other in itertools.combinations(orders, 2))


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 6), min_size=12, max_size=40).filter(any),
    st.integers(1, 3),
    SEEDS,
    st.integers(1, 5),
)
def test_streams_share_the_shards_of_a_window_that_is_cut_only(
    counts: list[int], window: int, seed: int, streams: int
) -> None:
    read = [
        {draw.shard for draw in draws}
        for draws in epoch_of(one_set(counts, seed=seed, window=window, streams=streams))
    ]
    for at, mine in enumerate(read):
        before, after = set().union(*read[:at]), set().union(*read[at + 1 :])
        assert len(mine & before) <= window
        assert len(mine & after) <= window


@given(COUNTS, WINDOWS, st.integers(0, 2))
def test_the_samples_of_a_window_of_shards_stay_together(
    counts: list[int], window: int, epoch: int
) -> None:
    order = ShardSetOrder(counts, seed=3, window=window)
    found = [order.place(epoch, position)[0] for position in range(sum(counts))]
    open_at = [{*found[at:]} & {*found[: at + 1]} for at in range(len(found))]
    assert max(map(len, open_at)) <= window


@settings(max_examples=4)
@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=3), st.integers(1, 3))
def test_a_mixtures_shares_are_exact_in_every_block(weights: list[float], streams: int) -> None:
    assume(min(weights) / sum(weights) > 1e-4)
    schedule = mixture(*weights, streams=streams)
    draws = drawn(schedule, streams - 1, 2 * BLOCK)
    for block in (draws[:BLOCK], draws[BLOCK:]):
        found = Counter(draw.dataset for draw in block)
        assert tuple(found[at] for at in range(len(weights))) == shares(weights)


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=20))
def test_shares_add_up_and_are_off_by_less_than_a_draw(weights: list[float]) -> None:
    assume(min(weights) / sum(weights) >= 1e-4)
    found = shares(weights)
    assert sum(found) == BLOCK
    exact = [weight / sum(weights) * BLOCK for weight in weights]
    assert all(abs(one - other) < 1 for one, other in zip(found, exact, strict=True))


@pytest.mark.parametrize("weights", [[], [1, 0], [1, -1], [1, float("nan")], [float("inf"), 1]])
def test_a_weight_is_a_positive_number(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="each must be a positive number"):
        shares(weights)


def test_a_weight_too_small_to_be_drawn_is_an_error() -> None:
    with pytest.raises(ValueError, match="weight of 1e-05 is less than 1 in 10000 draws; raise it"):
        shares([1e-5, 1])


@settings(max_examples=20)
@given(st.integers(1, 3), st.sampled_from([(1, 1), (3, 1), (0.2, 0.8), (1, 1, 2)]))
def test_a_set_of_a_mixture_is_gone_through_in_epochs(
    streams: int, weights: tuple[float, ...]
) -> None:
    counts = ([5, 0, 9], [8], [3, 3, 4])
    schedule = mixture(*weights, counts=counts, streams=streams)
    seen: list[list[tuple[int, int]]] = [[] for _ in weights]  # the samples of the first epoch
    for stream in range(streams):
        draws = drawn(schedule, stream, 600)
        for dataset in range(len(weights)):
            mine = [draw for draw in draws if draw.dataset == dataset]
            epochs = [
                [(draw.shard, draw.row) for draw in group]
                for _, group in itertools.groupby(mine, key=lambda draw: draw.epoch)
            ]
            assert [draw.epoch for draw in mine] == sorted(draw.epoch for draw in mine)
            assert all(len(each) == len({*each}) == len(epochs[0]) for each in epochs[:-1])
            assert len(epochs) > 2
            seen[dataset] += epochs[0]
    assert [sorted(each) for each in seen] == [places(each) for each in counts[: len(weights)]]


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 500)), min_size=2, max_size=12),
    st.sampled_from([(1.0,), (1.0, 2.0)]),
    st.randoms(use_true_random=False),
)
def test_draws_do_not_depend_on_what_was_asked_before(
    asked: list[tuple[int, int]], weights: tuple[float, ...], dice: object
) -> None:
    one = mixture(*weights, streams=4)
    expected = {pair: one.draws(*pair) for pair in asked}
    other = mixture(*weights, streams=4)
    for pair in dice.sample(asked, len(asked)):  # type: ignore[attr-defined]
        assert other.draws(*pair) == expected[pair]
        assert mixture(*weights, streams=4).draws(*pair) == expected[pair]


def test_a_mixture_needs_a_sample_of_every_set_for_every_stream() -> None:
    told = "shard set 2 of the mixture has 5 samples for 12 streams; use --streams 4, or another"
    with pytest.raises(ValueError, match=told):
        mixture_of_two([30], [2, 3], streams=12)
    assert mixture_of_two([30], [2, 3], streams=4).is_mixture


def mixture_of_two(one: list[int], other: list[int], streams: int) -> Schedule:
    return Schedule([one, other], [1, 1], seed=0, window=1, streams=streams, global_batch=12)


def test_a_mixture_has_no_epoch() -> None:
    assert mixture(1, 1).steps_per_epoch is None
    assert mixture(1, 1).epoch(1000) is None


@given(st.integers(1, 600), st.integers(1, 40))
def test_a_batch_that_readers_cannot_share_is_told_ones_that_they_can(
    global_batch: int, readers: int
) -> None:
    if global_batch % readers == 0:
        found = streams_of(global_batch, readers)
        assert global_batch % found == 0 and found % readers == 0
        return
    with pytest.raises(
        ValueError, match=f"--global_batch {global_batch} is not a multiple"
    ) as told:
        streams_of(global_batch, readers)
    words = str(told.value).partition("; use ")[2].partition(", or")[0]
    offered = [int(word) for word in words.split(" or ")]
    assert len({*offered}) == len(offered) and offered
    for each in offered:
        assert streams_of(each, readers) % readers == 0


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 600))
def test_streams_that_cannot_be_had_are_told_all_that_can(
    factor: int, readers: int, wanted: int
) -> None:
    global_batch = factor * readers
    fitting = [n for n in range(1, global_batch + 1) if n % readers == 0 and global_batch % n == 0]
    if wanted in fitting:
        assert streams_of(global_batch, readers, wanted) == wanted
        return
    with pytest.raises(ValueError, match=f"--streams {wanted} must divide") as told:
        streams_of(global_batch, readers, wanted)
    offered = [int(word) for word in re.findall(r"\d+", str(told.value).partition("possible: ")[2])]
    assert offered == fitting
    assert [streams_of(global_batch, readers, each) for each in offered] == offered


@pytest.mark.parametrize(
    ("global_batch", "readers", "expected"),
    [(64, 1, 32), (16, 1, 16), (4096, 8, 32), (512, 512, 512), (1024, 384, None), (768, 96, 384)],
)
def test_streams_are_as_many_as_are_sensible(
    global_batch: int, readers: int, expected: int | None
) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="use 768 or 1152"):
            streams_of(global_batch, readers)
    else:
        assert streams_of(global_batch, readers) == expected


@given(SEEDS, st.integers(0, 50), st.lists(st.integers(0, 5), max_size=3))
def test_a_permutation_is_one(seed: int, size: int, words: list[int]) -> None:
    found = permutation(Domain.EPOCH, seed, size, *words)
    assert sorted(found.tolist()) == [*range(size)]
    assert np.array_equal(found, permutation(Domain.EPOCH, seed, size, *words))


# A change of these numbers changes what every resumed run sees next. Name it in CHANGELOG.md
# as a break of the sample order.

GOLDEN_SET = [
    [(0, 2, 0), (0, 2, 3)],
    [(0, 0, 0), (0, 0, 2)],
    [(0, 2, 1), (0, 2, 2)],
    [(0, 0, 1), (0, 3, 0)],
    [None, None],
    [(0, 3, 1), None],
    [(1, 0, 1), (1, 0, 2)],
    [(1, 2, 0), (1, 2, 2)],
]
GOLDEN_MIXTURE = [
    (0, 0, 1, 2),
    (0, 0, 0, 0),
    (0, 0, 0, 2),
    (0, 0, 0, 1),
    (0, 1, 0, 0),
    (0, 1, 1, 2),
    (0, 1, 0, 2),
    (0, 1, 1, 0),
    (1, 0, 0, 4),
    (0, 2, 1, 1),
    (0, 3500, 1, 3),
    (0, 3500, 0, 1),
    (0, 3500, 0, 0),
    (0, 3500, 1, 1),
    (1, 2000, 0, 1),
    (1, 2000, 0, 2),
    (1, 2000, 0, 3),
    (1, 2001, 0, 0),
    (1, 2001, 0, 5),
    (0, 3501, 1, 2),
]
GOLDEN_NUMBER = 5631580264145465526


def test_golden_order_of_a_set() -> None:
    schedule = one_set([3, 0, 4, 2], seed=42, window=2, streams=2, per_step=2)
    found = [
        [astuple(draw)[1:] if draw else None for draw in schedule.draws(stream, step)]
        for step in range(4)
        for stream in range(2)
    ]
    assert found == GOLDEN_SET


def test_golden_order_of_a_mixture() -> None:
    found = [
        astuple(draw)
        for step in (0, 2000)
        for draw in Schedule(
            [[3, 4], [6]], [0.7, 0.3], seed=42, window=2, streams=2, global_batch=20
        ).draws(1, step)
        if draw
    ]
    assert found == GOLDEN_MIXTURE


def test_golden_number() -> None:
    assert number(Domain.DROPOUT, 42, 1, 2) == GOLDEN_NUMBER
