"""What a set can reach: numbers of images in, the largest set and a sentence out."""

from __future__ import annotations

import numpy as np
import pytest

from grounding.forecast import Reach, forecast, reach
from grounding.selection import NUM_BUCKETS, Histogram, targets


def table(single: int, multi: int) -> Histogram:
    counts = np.zeros((2, NUM_BUCKETS), np.int64)
    counts[:, 0] = single, multi
    return Histogram(counts)


def test_an_impossible_target_is_said_to_be_so():
    assert reach(table(60_000_000, 30_000_000), 40_000_000).sentence() == (
        "target 40,000,000 cannot be reached: of 90,000,000 images with boxes, 30,000,000 have two "
        "or more (a share of 0.3333); more than 3/4 with two boxes allows at most 39,999,999; "
        "1 more images with two boxes are needed"
    )


def test_a_possible_target_is_said_to_be_so():
    assert reach(table(60_000_000, 30_000_001), 40_000_000).sentence() == (
        "target 40,000,000 can be reached: of 90,000,001 images with boxes, 30,000,001 have two or "
        "more (a share of 0.3333); more than 3/4 with two boxes allows 40,000,001"
    )


def test_without_images_there_is_no_share():
    nothing = reach(table(0, 0), 8)
    assert nothing.natural_share is None
    assert nothing.sentence().startswith("target 8 cannot be reached: of 0 images with boxes, 0 ")


def test_the_largest_set_and_what_is_missing_are_those_of_the_rule():
    for share in ((3, 4), (1, 2), (2, 5)):
        for single in range(12):
            for multi in range(12):
                for target in range(1, 20):
                    found = Reach(single=single, multi=multi, target=target, share=share)
                    assert found.most == sum(targets(single, multi, single + multi, share))
                    lacking = found.missing_multi
                    assert (found.most >= target) == (lacking == 0)
                    enough = Reach(single=single, multi=multi + lacking, target=target, share=share)
                    assert enough.most >= target
                    if lacking:
                        less = multi + lacking - 1
                        assert sum(targets(single, less, target, share)) < target


def test_a_sample_of_everything_is_no_estimate():
    found = forecast(table(500, 1000), 1.0, 900)
    assert found.low == found.expected == found.high == reach(table(500, 1000), 900)


def test_a_forecast_in_words():
    sample = table(600_000, 310_000)
    assert forecast(sample, 0.01, 40_000_000).sentence() == (
        "target 40,000,000 will be reached: about 41,333,333 images can be kept, between "
        "41,168,103 and 41,499,226 with 95 % confidence"
    )
    assert forecast(sample, 0.01, 41_300_000).sentence().startswith("target 41,300,000 may be")
    assert forecast(sample, 0.01, 42_000_000).sentence().startswith("target 42,000,000 will not")


@pytest.mark.parametrize("sample_share", [0.0, -0.1, 1.1, float("nan")])
def test_a_sample_is_a_part(sample_share):
    with pytest.raises(ValueError, match="share must be above 0, at most 1"):
        forecast(table(1, 1), sample_share, 1)


@pytest.mark.parametrize(("single", "multi"), [(0, 40), (900, 300), (60_000, 30_000)])
def test_the_truth_lies_within_the_interval(single, multi):
    draw = np.random.default_rng(0)
    truth = reach(table(single, multi), 1).most
    samples = zip(draw.binomial(single, 0.05, 1000), draw.binomial(multi, 0.05, 1000), strict=True)
    found = [forecast(table(int(one), int(two)), 0.05, 1) for one, two in samples]
    assert sum(each.low.most <= truth <= each.high.most for each in found) >= 940
