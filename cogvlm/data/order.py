"""Which sample comes when: arithmetic on counts, seed and step, so that a step number is a state.

An epoch of a shard set is a list that is never written down: its shards in a permuted order, the
samples of every `window` shards permuted among themselves. The list is cut into L contiguous
streams, equal to a sample. Global batch t is the next G/L samples of every stream: the same set
of samples for every way of dealing the streams to ranks and workers.

A mixture draws per stream. Of every `_BLOCK` draws of a stream each shard set has its exact share,
in a permuted order; each set goes through its own epochs, stream by stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from shards.identity import Domain, choice

Places = npt.NDArray[np.int64]

_BLOCK = 10_000
_CACHED_WINDOWS = 512


@dataclass(frozen=True)
class Draw:
    """One slot of a batch: which sample, and on which visit."""

    dataset: int  # number in the mixture
    epoch: int  # earlier visits of this shard set
    shard: int  # number in the manifest's order
    row: int  # number among the shard's (selected) samples, in key order


def permutation(domain: Domain, seed: int, size: int, *words: int) -> Places:
    """Return 0 .. size - 1 in an order that depends on these arguments alone, forever."""
    context = xxhash.xxh3_64_intdigest(",".join(map(str, words)).encode())
    ids = np.empty((size, 2), np.uint64)
    ids[:, 0] = np.arange(size, dtype=np.uint64)
    ids[:, 1] = np.uint64(context)
    return np.argsort(choice(domain, seed, ids), kind="stable")


def number(domain: Domain, seed: int, *words: int) -> int:
    """Return 63 well-mixed bits that depend on these arguments alone."""
    context = xxhash.xxh3_64_intdigest(",".join(map(str, words)).encode())
    return int(choice(domain, seed, np.array([[0, context]], np.uint64))[0]) >> 1


class ShardSetOrder:
    """The epochs of one shard set."""

    def __init__(self, counts: Sequence[int], *, seed: int, window: int, nth: int = 0) -> None:
        """Prepare the order.

        Args:
            counts: Samples of every shard.
            seed: Of the run.
            window: Shards whose samples are permuted together.
            nth: Of the shard set in a mixture; sets of equal counts get different orders.
        """
        self.counts = np.asarray(counts, np.int64)
        self.samples = int(self.counts.sum())
        self._key = seed, window, nth
        self._epoch: Any = lru_cache(maxsize=4)(self._lay_out)
        self._window: Any = lru_cache(maxsize=_CACHED_WINDOWS)(self._shuffle)

    def place(self, epoch: int, position: int) -> tuple[int, int]:
        """Return shard and row of a position in an epoch's list.

        The list is never written down: a billion samples would be gigabytes in every process. Two
        searches find the window and the shard; only the windows in use are permuted and cached.
        """
        _, starts = self._epoch(epoch)
        # "right": of windows and shards that begin or end at one place, empty ones are passed over.
        window = int(np.searchsorted(starts, position, "right")) - 1
        shards, ends, order = self._window(epoch, window)
        at = int(order[position - starts[window]])
        nth = int(np.searchsorted(ends, at, "right"))
        return int(shards[nth]), at - int(ends[nth - 1] if nth else 0)

    def _lay_out(self, epoch: int) -> tuple[Places, Places]:
        """Return the shards' order, and where each window begins."""
        seed, window, nth = self._key
        shards = permutation(Domain.EPOCH, seed, len(self.counts), nth, epoch)
        sizes = np.add.reduceat(self.counts[shards], np.arange(0, len(shards), window))
        return shards, np.concatenate([[0], sizes.cumsum()[:-1]])

    def _shuffle(self, epoch: int, at: int) -> tuple[Places, Places, Places]:
        """Return a window's shards, where each ends, and the order of their samples."""
        seed, window, nth = self._key
        shards = self._epoch(epoch)[0][at * window : (at + 1) * window]
        ends = self.counts[shards].cumsum()
        order = permutation(Domain.EPOCH, seed, int(ends[-1]), nth, epoch, at)
        return shards, ends, order.astype(np.uint32)  # half the memory of many windows


class Schedule:
    """What every stream draws at every step."""

    def __init__(
        self,
        counts: Sequence[Sequence[int]],
        weights: Sequence[float],
        *,
        seed: int,
        window: int,
        streams: int,
        global_batch: int,
    ) -> None:
        """Prepare the schedule.

        Args:
            counts: Samples per shard, of every shard set.
            weights: Of the shard sets, by samples; any positive numbers.
            seed: Of the run.
            window: Shards whose samples are permuted together.
            streams: L, a divisor of the global batch.
            global_batch: G, samples of an optimiser step.

        Raises:
            ValueError: A set is smaller than a mixture needs, or has too small a weight.
        """
        assert global_batch % streams == 0
        self.streams, self.per_step = streams, global_batch // streams
        self._seed = seed
        self._sets = [
            ShardSetOrder(samples, seed=seed, window=window, nth=nth)
            for nth, samples in enumerate(counts)
        ]
        self._shares = shares(weights)
        if self.is_mixture:
            for at, order in enumerate(self._sets):
                if order.samples < streams:
                    few = max(n for n in range(1, order.samples + 1) if global_batch % n == 0)
                    raise ValueError(
                        f"shard set {at + 1} of the mixture has {order.samples} samples for "
                        f"{streams} streams; use --streams {few}, or another divisor of "
                        f"--global_batch {global_batch} below it"
                    )
        self._block: Any = lru_cache(maxsize=_CACHED_WINDOWS)(self._deal)

    @property
    def is_mixture(self) -> bool:
        """Whether there are several shard sets; a mixture has no epoch."""
        return len(self._sets) > 1

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps in which every sample comes once; None for a mixture."""
        if self.is_mixture:
            return None
        longest = -(-self._sets[0].samples // self.streams)
        return -(-longest // self.per_step)

    def epoch(self, step: int) -> int | None:
        """Return the number of whole epochs before a step (from 0); None for a mixture."""
        steps = self.steps_per_epoch
        return None if steps is None else step // steps

    def draws(self, stream: int, step: int) -> list[Draw | None]:
        """Return what a stream gives to a step (from 0): G/L draws; None where an epoch is over."""
        if self.is_mixture:
            first = step * self.per_step
            return [self._mixed(stream, first + nth) for nth in range(self.per_step)]
        steps = self.steps_per_epoch
        assert steps is not None
        epoch, first = step // steps, step % steps * self.per_step
        start, end = self._bounds(0, stream)
        return [
            self._draw(0, epoch, start + at) if start + at < end else None
            for at in range(first, first + self.per_step)
        ]

    def _mixed(self, stream: int, at: int) -> Draw:
        block, within = divmod(at, _BLOCK)
        datasets, earlier = self._block(stream, block)
        dataset = int(datasets[within])
        start, end = self._bounds(dataset, stream)
        nth = block * self._shares[dataset] + int(earlier[within])
        epoch, position = divmod(nth, end - start)
        return self._draw(dataset, epoch, start + position)

    def _deal(self, stream: int, block: int) -> tuple[Places, Places]:
        """Return the shard set of every draw of a block, and how many it had before in it."""
        order = permutation(Domain.MIXTURE, self._seed, _BLOCK, stream, block)
        datasets = np.repeat(np.arange(len(self._shares)), self._shares)[order]
        earlier = np.empty(_BLOCK, np.int64)
        for dataset, share in enumerate(self._shares):
            earlier[datasets == dataset] = np.arange(share)
        return datasets, earlier

    def _bounds(self, dataset: int, stream: int) -> tuple[int, int]:
        samples = self._sets[dataset].samples
        return stream * samples // self.streams, (stream + 1) * samples // self.streams

    def _draw(self, dataset: int, epoch: int, position: int) -> Draw:
        return Draw(dataset, epoch, *self._sets[dataset].place(epoch, position))


def shares(weights: Sequence[float]) -> tuple[int, ...]:
    """Return how many of 10,000 draws each weight has, by the largest remainders.

    Raises:
        ValueError: A weight is not a positive number, or too small a part of the whole.
    """
    if not weights or not all(np.isfinite(weight) and weight > 0 for weight in weights):
        raise ValueError(f"mixture weights are {list(weights)}; each must be a positive number")
    exact = np.asarray(weights, np.float64) / sum(weights) * _BLOCK
    whole = np.floor(exact).astype(int)
    for at in np.argsort(whole - exact, kind="stable")[: _BLOCK - whole.sum()]:
        whole[at] += 1
    if min(whole) == 0:
        raise ValueError(
            f"a mixture weight of {min(weights):g} is less than 1 in {_BLOCK} draws; raise it or "
            "leave out the shard set"
        )
    return tuple(int(share) for share in whole)


def streams_of(global_batch: int, readers: int, wanted: int | None = None) -> int:
    """Return the number of streams L.

    Args:
        global_batch: G; L divides it.
        readers: Ranks x workers; L is a multiple of it.
        wanted: What the user asks for. Without it: the largest L up to 32 or 4 times `readers`,
            whichever is more. More streams let more world sizes resume with the same batches; each
            keeps a window of shards open.

    Raises:
        ValueError: L cannot be had; names the numbers that work.
    """
    if global_batch % readers:
        above = (global_batch // readers + 1) * readers
        near = f"{above - readers} or {above}" if above > readers else f"{above}"
        raise ValueError(
            f"--global_batch {global_batch} is not a multiple of ranks x workers = {readers}; use "
            f"{near}, or other --workers"
        )
    fitting = [n for n in range(readers, global_batch + 1, readers) if global_batch % n == 0]
    if wanted is None:
        return max(n for n in fitting if n <= max(32, 4 * readers))
    if wanted not in fitting:
        raise ValueError(
            f"--streams {wanted} must divide --global_batch {global_batch} and be a multiple of "
            f"ranks x workers = {readers}; possible: {', '.join(map(str, fitting))}"
        )
    return wanted
