"""What a selection can reach: said before it is made, and before the GPU weeks, from a sample.

Goes in: numbers of images with one box and with two or more, of all images or of a sample of them.
Comes out: the largest set that the share allows, and a sentence about the target. What is known is
integers; only a forecast, which is an estimate, has fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from grounding.selection import THREE_QUARTERS, Histogram, Share, most_single

_Z = 2.2414
"""Each of two counts lies in its interval with 97.5 %, so both do with at least 95 %."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What can be kept of so many images."""

    single: int  # images with one box
    multi: int  # with two or more
    target: int
    share: Share

    @property
    def most(self) -> int:
        """The largest set with more multis than the share asks for."""
        return self.multi + min(self.single, most_single(self.multi, self.share))

    @property
    def natural_share(self) -> float | None:
        """Share of multis if everything is kept; None without images."""
        images = self.single + self.multi
        return self.multi / images if images else None

    @property
    def missing_multi(self) -> int:
        """Images with two boxes or more that the target lacks."""
        above, whole = self.share
        needed = max(above * self.target // whole + 1, self.target - self.single)
        return max(needed - self.multi, 0) if self.target else 0

    def sentence(self) -> str:
        """Say whether the target can be reached, and why not."""
        natural = "" if self.natural_share is None else f" (a share of {self.natural_share:.4f})"
        images = (
            f"of {self.single + self.multi:,} images with boxes, {self.multi:,} have two or "
            f"more{natural}"
        )
        rule = f"more than {self.share[0]}/{self.share[1]} with two boxes"
        if self.most >= self.target:
            return f"target {self.target:,} can be reached: {images}; {rule} allows {self.most:,}"
        return (
            f"target {self.target:,} cannot be reached: {images}; {rule} allows at most "
            f"{self.most:,}; {self.missing_multi:,} more images with two boxes are needed"
        )


def reach(histogram: Histogram, target: int, share: Share = THREE_QUARTERS) -> Reach:
    """Return what can be kept of the images of a table."""
    return Reach(single=histogram.single, multi=histogram.multi, target=target, share=share)


@dataclass(frozen=True)
class Forecast:
    """What may be expected of all images; the truth lies within low and high with 95 %."""

    low: Reach
    expected: Reach
    high: Reach

    def sentence(self) -> str:
        """Say whether the target will be reached."""
        target = self.expected.target
        if self.low.most >= target:
            verdict = f"target {target:,} will be reached"
        elif self.high.most < target:
            verdict = f"target {target:,} will not be reached"
        else:
            verdict = f"target {target:,} may be reached or not; label a larger sample"
        return (
            f"{verdict}: about {self.expected.most:,} images can be kept, between "
            f"{self.low.most:,} and {self.high.most:,} with 95 % confidence"
        )


def forecast(
    sample: Histogram, sample_share: float, target: int, share: Share = THREE_QUARTERS
) -> Forecast:
    """Return what a labelled sample says about all images.

    More images of either kind never allow a smaller set, so the ends of both counts' intervals
    give those of the set.

    Args:
        sample: The table of the sample.
        sample_share: Share of all images that were labelled (0.01: one of a hundred), chosen by
            hash of their keys or as whole shards of a mixed run, not as the first of a list.
        target: Images wanted.
        share: The share of multis is strictly above it.

    Raises:
        ValueError: The sample is not part of the images.
    """
    if not 0 < sample_share <= 1:
        raise ValueError(f"the sample's share must be above 0, at most 1, not {sample_share}")
    singles = _interval(sample.single, sample_share)
    multis = _interval(sample.multi, sample_share)
    return Forecast(
        *(
            Reach(single=single, multi=multi, target=target, share=share)
            for single, multi in zip(singles, multis, strict=True)
        )
    )


def _interval(count: int, sample_share: float) -> tuple[int, int, int]:
    """Return low, expected and high size of a group of which the sample holds `count`.

    Of n images count ones come with variance n * share * (1 - share); the ends are those n for
    which the count is just _Z deviations off (the score interval, good for small counts as well).
    """
    spread = _Z * _Z * (1 - sample_share)
    middle, half = count + spread / 2, math.sqrt(count * spread + spread * spread / 4)
    low = max((middle - half) / sample_share, count)
    return math.floor(low), round(count / sample_share), math.ceil((middle + half) / sample_share)
