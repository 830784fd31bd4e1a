"""From captions to boxes: what `stats/yields.json` of a grounding run says, as numbers to show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grounding.selection import fraction
from pipelines.ground_job.run import YIELDS
from pipelines.report_page.charts import columns
from pipelines.report_page.runs import ReportedRun
from pipelines.report_page.svg import Svg
from pipelines.report_page.words import shown

_SCORE_BINS = 20  # of 0..1
_MOST_BOXES = 10  # images with more are counted with these
_HEADS = 20


@dataclass(frozen=True)
class Share:
    """The rule of two boxes, computed from the selection's numbers."""

    images: int
    two_boxes: int
    rule: str  # "3/4"
    holds: bool


@dataclass(frozen=True)
class Head:
    """A head of phrases."""

    word: str
    count: int  # phrases that have it
    boxed: int  # of these, with a box


@dataclass(frozen=True)
class Yields:
    """What a grounding run yielded."""

    share: Share | None
    images: Svg  # images by number of boxes
    scores: Svg  # detected boxes by score
    outcomes: tuple[tuple[str, int], ...]  # of detected boxes
    dropped: tuple[tuple[str, int], ...]  # phrases that were never looked for, by reason
    heads: tuple[Head, ...]


def yields(run: ReportedRun) -> Yields | None:
    """Read a run's yields; None where it has no such file."""
    if not run.store.exists(YIELDS):
        return None
    facts: dict[str, Any] = json.loads(run.store.read(YIELDS))
    by_boxes = _counts(facts, "images_by_boxes")
    scores = _counts(facts, "scores")
    names = [str(number) for number in range(_MOST_BOXES)] + [f"{_MOST_BOXES}+"]
    bins = [f"{place / _SCORE_BINS:.2f}" for place in range(_SCORE_BINS)]
    heads = facts.get("heads", {}).items()
    return Yields(
        share=_share(run, facts.get("selected")),
        images=columns(
            "images by their number of boxes",
            [(name, by_boxes.get(f"{place:02d}", 0)) for place, name in enumerate(names)],
        ),
        scores=columns(
            "detected boxes by score",
            [(name, scores.get(f"{place:02d}", 0)) for place, name in enumerate(bins)],
        ),
        outcomes=_commonest(_counts(facts, "box_outcomes")),
        dropped=_commonest(_counts(facts, "chunks_dropped")),
        heads=tuple(
            Head(shown(word, 40), count, boxed)
            for word, (count, boxed) in sorted(heads, key=lambda head: (-head[1][0], head[0]))
        )[:_HEADS],
    )


def _share(run: ReportedRun, selected: Mapping[str, int] | None) -> Share | None:
    rule = run.recorded.get("options", {}).get("two_box_share")
    if selected is None or rule is None:
        return None
    above, whole = fraction(rule)
    images, two_boxes = selected["images"], selected["two_boxes"]
    return Share(images, two_boxes, rule, whole * two_boxes > above * images)


def _counts(facts: Mapping[str, Any], name: str) -> dict[str, int]:
    return dict(facts.get(name, {}))


def _commonest(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple((shown(name), count) for name, count in ordered if count)
