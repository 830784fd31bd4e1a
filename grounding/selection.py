"""Which labelled images a grounding set keeps, so that more than a share of them has two boxes.

Goes in: for every image its number of boxes m and its rank u, 64 bits that depend on seed and key
only. Comes out: a cut, by which any worker decides about any image alone. In between lies one small
table (`Histogram`), merged by addition, so that no order, sharding or retry shows in the result.

An image with m = 1 is single, with m >= 2 multi; with none it does not take part. Let k1 of n1
singles and k2 of n2 multis be kept, and the share of multis have to be strictly above a/b, with
0 < a < b. Then:

    the share is k2 / (k1 + k2), so what is asked for is b*k2 > a*(k1 + k2), the same as
    a*k1 < (b - a)*k2, the same (both sides are integers) as a*k1 <= (b - a)*k2 - 1.

So k1 may be anything up to floor(((b - a)*k2 - 1) / a), and for k2 >= 1 that is never negative:
every such choice keeps the promise, whatever k2 is. Exactly a/b is refused, since there a*k1 equals
(b - a)*k2. Without a multi there is no choice at all. As the bound is taken from the number of
multis that the cut does keep, not from the one that was wanted, a cut of whole buckets keeps the
promise as well. Everything is an integer; nothing is rounded but by floor.

Why no more is possible: n1, n2, the target and the bound limit k1 + k2, and the bound grows with
k2. `prefer_multi` takes as many multis as there are up to the target, so no limit could be wider.
`fill_single` gives singles the w places which the bound allows within a full target, and multis all
others: if n2 has these, the target is full; if not, all multis are kept, and the limit is as wide.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shards.identity import Domain, UInt64, choice, key_words

Policy = Literal["prefer_multi", "fill_single"]
"""Fill the target with multis first, or with as many singles as the share allows."""

Share = tuple[int, int]
"""(a, b): the share of multis must be strictly above a/b."""

Bools = npt.NDArray[np.bool_]
Place = tuple[int, str]
"""A rank and the key that breaks ties."""

THREE_QUARTERS: Share = (3, 4)
NUM_BUCKETS = 65_536
_BUCKET_SHIFT = np.uint64(48)


def fraction(text: str) -> Share:
    """Return the two numbers of `3/4`.

    Raises:
        ValueError: Not two whole numbers, or not between 0 and 1.
    """
    match = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)
    if not match:
        raise ValueError(
            f"share {text!r} is not a fraction of two whole numbers; type one like 3/4"
        )
    return _checked((int(match.group(1)), int(match.group(2))))


def _checked(share: Share) -> Share:
    if not 0 < share[0] < share[1]:
        raise ValueError(
            f"share {share[0]}/{share[1]} is not between 0 and 1 (3/4: more than three of four "
            "images have two boxes); to keep such images only, ask for two boxes at least"
        )
    return share


def most_single(multi: int, share: Share = THREE_QUARTERS) -> int:
    """Return how many singles may stand beside so many multis; the bound of the module's proof."""
    above, whole = _checked(share)
    return ((whole - above) * multi - 1) // above if multi else 0


def targets(
    single: int,
    multi: int,
    target: int,
    share: Share = THREE_QUARTERS,
    policy: Policy = "prefer_multi",
) -> tuple[int, int]:
    """Return how many singles and multis are kept of those there are; (0, 0) without a multi.

    Args:
        single: Images with one box.
        multi: Images with two or more.
        target: Images wanted.
        share: The share of multis is strictly above it.
        policy: What a target that could be filled either way is filled with.
    """
    above, whole = _checked(share)
    if policy == "prefer_multi":
        kept_multi = min(multi, target)
    elif policy == "fill_single":
        places = ((whole - above) * target - 1) // whole if target else 0
        kept_multi = min(multi, target - min(single, places))
    else:
        raise ValueError(f"unknown policy {policy!r}; known: prefer_multi, fill_single")
    return min(single, target - kept_multi, most_single(kept_multi, share)), kept_multi


def ranks(keys: pa.Array, seed: int) -> UInt64:
    """Return u of each key: those that sort first are kept first."""
    return choice(Domain.SELECT, seed, key_words(keys))


@dataclass(frozen=True)
class Histogram:
    """How many images there are by kind and by the first 16 bits of u."""

    counts: npt.NDArray[np.int64]  # (2, NUM_BUCKETS): singles, multis

    @staticmethod
    def empty() -> Histogram:
        """Return a table of nothing."""
        return Histogram(np.zeros((2, NUM_BUCKETS), np.int64))

    def add(self, u: UInt64, boxes: npt.NDArray[np.integer]) -> None:
        """Count images by rank and number of boxes, in place."""
        bins = _buckets(u) + np.where(boxes >= 2, NUM_BUCKETS, 0)
        added = np.bincount(bins[boxes >= 1], minlength=2 * NUM_BUCKETS)
        self.counts[:] += added.reshape(2, NUM_BUCKETS)

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(self.counts + other.counts)

    @property
    def single(self) -> int:
        """Images with one box."""
        return int(self.counts[0].sum())

    @property
    def multi(self) -> int:
        """Images with two boxes or more."""
        return int(self.counts[1].sum())


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What is kept: the whole buckets below one of each kind, and in exact mode a part of that."""

    single_bucket: int  # 0..NUM_BUCKETS: of singles, the buckets below are kept
    multi_bucket: int
    single: int  # images that are kept in all: k1
    multi: int  # k2
    single_rest: int = 0  # still to be taken from the boundary bucket, see `exactly`
    multi_rest: int = 0
    single_last: Place | None = None  # the last image taken from the boundary bucket
    multi_last: Place | None = None

    def keeps(
        self, u: UInt64, boxes: npt.NDArray[np.integer], keys: pa.Array | None = None
    ) -> Bools:
        """Return which images are kept.

        Args:
            u: `ranks` of the images.
            boxes: Number of boxes of each.
            keys: Their keys, which a cut by `exactly` needs.
        """
        if self.single_rest or self.multi_rest:
            raise ValueError("this cut lacks its boundary buckets; complete it by `exactly`")
        is_multi = boxes >= 2
        limits = np.where(is_multi, self.multi_bucket, self.single_bucket)
        kept = (boxes >= 1) & (_buckets(u) < limits)
        if self.single_last or self.multi_last:
            if keys is None:
                raise ValueError(
                    "an exact cut decides by keys within a bucket; give the keys as well"
                )
            for row in np.flatnonzero(self.on_boundary(u, boxes)).tolist():
                last = self.multi_last if is_multi[row] else self.single_last
                kept[row] = last is not None and (int(u[row]), keys[row].as_py()) <= last
        return kept

    def on_boundary(self, u: UInt64, boxes: npt.NDArray[np.integer]) -> Bools:
        """Return which images lie in the first bucket of their kind that is not kept whole."""
        limits = np.where(boxes >= 2, self.multi_bucket, self.single_bucket)
        return (boxes >= 1) & (_buckets(u) == limits)

    def exactly(self, boundary: Iterable[tuple[int, int, str]]) -> Cut:
        """Return this cut with its numbers reached exactly.

        Args:
            boundary: (u, number of boxes, key) of all images `on_boundary`, in any order.

        Raises:
            ValueError: These are fewer than the table counted.
        """
        singles: set[Place] = set()
        multis: set[Place] = set()
        for u, boxes, key in boundary:
            (multis if boxes >= 2 else singles).add((u, key))
        return replace(
            self,
            single_rest=0,
            multi_rest=0,
            single_last=_last_of(singles, self.single_rest, "one box"),
            multi_last=_last_of(multis, self.multi_rest, "two boxes"),
        )


def cut(
    histogram: Histogram,
    target: int,
    share: Share = THREE_QUARTERS,
    policy: Policy = "prefer_multi",
    *,
    exact: bool = False,
) -> Cut:
    """Return the cut of whole buckets that comes closest to `targets` from below.

    It stays below by less than a bucket of each kind; with `exact` it names how many images of the
    boundary buckets make up for that, and `Cut.exactly` takes these.

    Raises:
        ValueError: No image with two boxes can be kept.
    """
    want_single, want_multi = targets(histogram.single, histogram.multi, target, share, policy)
    if not want_multi:
        raise ValueError(
            f"{histogram.multi:,} of {histogram.single + histogram.multi:,} images have two boxes "
            f"and the target is {target:,}: nothing can be selected; label more images, or lower "
            "the score threshold"
        )
    multi_bucket, whole_multi = _fitting(histogram.counts[1], want_multi)
    multi = want_multi if exact else whole_multi
    if not multi:
        raise ValueError(
            f"target {target:,} is less than one of {NUM_BUCKETS:,} buckets of "
            f"{histogram.multi:,} images with two boxes; ask for an exact selection"
        )
    # Never more than the wanted number, so that sets are nested as the target grows.
    want_single = min(want_single, most_single(multi, share))
    single_bucket, whole_single = _fitting(histogram.counts[0], want_single)
    single = want_single if exact else whole_single
    assert share[1] * multi > share[0] * (single + multi), "the share does not hold"
    return Cut(
        single_bucket=single_bucket,
        multi_bucket=multi_bucket,
        single=single,
        multi=multi,
        single_rest=single - whole_single,
        multi_rest=multi - whole_multi,
    )


def _fitting(counts: npt.NDArray[np.int64], most: int) -> tuple[int, int]:
    """Return how many buckets, from the first on, hold no more than that; and what they hold."""
    up_to = np.cumsum(counts)
    bucket = int(np.searchsorted(up_to, most, side="right"))
    return bucket, int(up_to[bucket - 1]) if bucket else 0


def _last_of(places: set[Place], count: int, kind: str) -> Place | None:
    if len(places) < count:
        raise ValueError(
            f"{count:,} images with {kind} are wanted of a boundary bucket and {len(places):,} were"
            " given; give all images of the table that the cut was made of, each once"
        )
    return sorted(places)[count - 1] if count else None


def _buckets(u: UInt64) -> npt.NDArray[np.int64]:
    return (u >> _BUCKET_SHIFT).astype(np.int64)


__all__ = [
    "NUM_BUCKETS",
    "THREE_QUARTERS",
    "Cut",
    "Histogram",
    "Policy",
    "Share",
    "cut",
    "fraction",
    "most_single",
    "ranks",
    "targets",
]
