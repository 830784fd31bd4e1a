"""The metrics of phrase grounding, each short and with its protocol stated.

Goes in: gold and predicted boxes of phrases, sets of spans. Comes out: `Ratio`s, which keep both
numbers and have no value where there is nothing to divide by. Overlap is IoU >= 0.5 on continuous
boxes everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from grounding import geometry

Floats = npt.NDArray[np.float64]
Protocol = Literal["any", "merged"]

MIN_IOU = 0.5
KS = (1, 5, 10)
OVERALL = "all"

# Boxes are pixels divided by the size: an overlap of exactly a half may come out a hair below.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Ratio:
    """So many of so many."""

    hits: int
    total: int

    @property
    def value(self) -> float | None:
        """The share; None where there is nothing to divide by."""
        return self.hits / self.total if self.total else None


@dataclass(frozen=True)
class Localised:
    """A phrase with annotated boxes, and what was predicted for it."""

    gold_G4: Floats  # xyxy in 0..1, at least one
    boxes_N4: Floats  # xyxy in 0..1, the highest score first; equal scores as they were given
    scores_N: Floats
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Agreement:
    """Two sets and what they share."""

    shared: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float | None:
        """Share of the predicted; None where nothing was predicted."""
        return Ratio(self.shared, self.predicted).value

    @property
    def recall(self) -> float | None:
        """Share of the gold; None where there is no gold."""
        return Ratio(self.shared, self.gold).value

    @property
    def f1(self) -> float | None:
        """Their harmonic mean; None where both sets are empty."""
        return Ratio(2 * self.shared, self.predicted + self.gold).value

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.shared + other.shared, self.predicted + other.predicted, self.gold + other.gold
        )


@dataclass(frozen=True)
class AtThreshold:
    """How good the boxes are whose score is above a threshold."""

    threshold: float
    precision: Ratio  # of (phrase, box) pairs: those that overlap a gold box of the phrase
    coverage: Ratio  # of gold phrases: those with at least one pair, right or wrong


def localised(
    gold_xyxy: npt.ArrayLike,
    boxes_xyxy: npt.ArrayLike,
    scores: npt.ArrayLike,
    categories: Sequence[str] = (),
) -> Localised:
    """Put predictions in order of their scores; the sort is stable, so that ties keep theirs."""
    order = geometry.by_score(scores)
    return Localised(
        np.asarray(gold_xyxy, np.float64).reshape(-1, 4),
        np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)[order],
        np.asarray(scores, np.float64)[order],
        tuple(categories),
    )


def hits(phrase: Localised, protocol: Protocol = "any") -> npt.NDArray[np.bool_]:
    """Return (n,), for each predicted box whether it is right.

    `any`: it overlaps any gold box of the phrase. `merged`: it overlaps the smallest box around
    all gold boxes of the phrase.
    """
    gold = phrase.gold_G4 if protocol == "any" else hull(phrase.gold_G4)
    overlaps = geometry.iou(phrase.boxes_N4, gold)
    return np.asarray((overlaps >= MIN_IOU - _ROUNDING).any(axis=1))


def hull(boxes_N4: Floats) -> Floats:
    """Return (1, 4), the smallest box around boxes."""
    return np.concatenate([boxes_N4[:, :2].min(axis=0), boxes_N4[:, 2:].max(axis=0)])[None]


def recall_at(
    phrases: Iterable[Localised], protocol: Protocol, ks: Sequence[int] = KS
) -> dict[str, dict[int, Ratio]]:
    """Return R@k of phrases per category and over all, the protocol of Flickr30k Entities.

    A phrase is found at k when one of its first k boxes is right; it counts once in each of its
    categories. The list of a phrase ends with one box of zeros, so that a phrase without
    predictions is a miss and not a gap.
    """
    counts_of: dict[str, list[int]] = {OVERALL: [0] * (len(ks) + 1)}
    for phrase in phrases:
        right = np.append(hits(phrase, protocol), False)  # the box of zeros overlaps nothing
        at_k = [bool(right[:k].any()) for k in ks]
        for name in dict.fromkeys((OVERALL, *phrase.categories)):
            counts = counts_of.setdefault(name, [0] * (len(ks) + 1))
            counts_of[name] = [a + b for a, b in zip(counts, (*at_k, 1), strict=True)]
    return {
        name: {k: Ratio(hit, counts[-1]) for k, hit in zip(ks, counts, strict=False)}
        for name, counts in counts_of.items()
    }


def accuracy(expressions: Iterable[Localised]) -> Ratio:
    """Return the share of referring expressions whose first box is right (REC, top-1)."""
    return recall_at(expressions, "any", (1,))[OVERALL][1]


def at_thresholds(phrases: Sequence[Localised], thresholds: Sequence[float]) -> list[AtThreshold]:
    """Return precision and coverage of the boxes above each threshold, `any` protocol."""
    right = [hits(phrase) for phrase in phrases]
    table = []
    for threshold in thresholds:
        kept = [phrase.scores_N > threshold for phrase in phrases]
        correct = sum(int((good & keep).sum()) for good, keep in zip(right, kept, strict=True))
        pairs = sum(int(keep.sum()) for keep in kept)
        covered = sum(bool(keep.any()) for keep in kept)
        table.append(AtThreshold(threshold, Ratio(correct, pairs), Ratio(covered, len(phrases))))
    return table


def agreement(predicted: Iterable[tuple[int, int]], gold: Iterable[tuple[int, int]]) -> Agreement:
    """Return how far two sets of spans of one caption agree."""
    ours, theirs = set(predicted), set(gold)
    return Agreement(len(ours & theirs), len(ours), len(theirs))


def box_agreement(predicted_xyxy: npt.ArrayLike, gold_xyxy: npt.ArrayLike) -> Agreement:
    """Return how many boxes of two lists are the same, each used once, best overlaps first."""
    ours = np.asarray(predicted_xyxy, np.float64).reshape(-1, 4)
    theirs = np.asarray(gold_xyxy, np.float64).reshape(-1, 4)
    overlaps = geometry.iou(ours, theirs)
    shared = 0
    while overlaps.size and overlaps.max() >= MIN_IOU - _ROUNDING:
        one, other = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
        overlaps[one, :] = 0
        overlaps[:, other] = 0
        shared += 1
    return Agreement(shared, len(ours), len(theirs))


def total(parts: Iterable[Agreement]) -> Agreement:
    """Return the sums over captions."""
    return sum(parts, Agreement(0, 0, 0))


def ratio_json(ratio: Ratio) -> Mapping[str, float | int | None]:
    """Return a ratio with both its numbers; the value is null where it has none."""
    return {"value": ratio.value, "hits": ratio.hits, "total": ratio.total}


def agreement_json(agreed: Agreement) -> Mapping[str, float | int | None]:
    """Return an agreement with its numbers; null where there is nothing to divide by."""
    return {
        "precision": agreed.precision,
        "recall": agreed.recall,
        "f1": agreed.f1,
        "shared": agreed.shared,
        "predicted": agreed.predicted,
        "gold": agreed.gold,
    }
