"""CIDEr-D of captions against several references each, in plain Python.

CIDEr compares the words and the runs of up to four words of two captions. A run counts for more
the fewer images have it in their references; -D cuts repeated runs and different lengths down.
The scale is the one of papers: 100 is their "100.0"; the maximum is 1000.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

MAX_RUN = 4
SIGMA = 6.0  # of the penalty on different lengths, in words
SCALE = 1000.0  # 10, as CIDEr-D has it, in per cent

Runs = Counter[tuple[str, ...]]

_SPLIT = re.compile(
    r"""
    (?:[a-z]\.){2,}                     # U.S.
    | \d+(?:[.,:/]\d+)*                 # 3.5, 1,000, 10:30, 1/2
    | n't\b | '(?:s|m|d|ll|re|ve)\b     # the endings of contractions
    | \w+?(?=n't\b)                     # what stands before one of them
    | \w+(?:-\w+)*                      # words, with their hyphens
    | \.\.\. | --                       # dropped below, as all that follows
    | \S
    """,
    re.VERBOSE,
)
_DROPPED = frozenset([*"\"'`.,?!:;-()[]{}“”‘’…—–", "...", "--"])
_PAIRS = ("can not", "gon na", "wan na", "got ta", "gim me", "lem me")
_JOINED = {pair.replace(" ", ""): tuple(pair.split()) for pair in _PAIRS}


def words_of(caption: str) -> list[str]:
    """Return the words of a caption, much as the Penn Treebank splits them, without punctuation.

    Lower case; `isn't` is `is n't`, `man's` is `man 's`, `cannot` is `can not`; hyphenated words,
    numbers and abbreviations such as `U.S.` stay whole; `$`, `%`, `&` are words; other punctuation
    and brackets are dropped.
    """
    text = caption.lower().replace("’", "'")
    words: list[str] = []
    for word in _SPLIT.findall(text):
        if word not in _DROPPED:
            words += _JOINED.get(word, (word,))
    return words


def cider_d(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Return the score of each caption; CIDEr-D of the set is their mean.

    How rare a run is comes from the references given here: another set gives other scores, and a
    set of one image gives 0, because nothing in it is rarer than anything else.

    Args:
        captions: One for each image.
        references: Of each image, at least one.

    Raises:
        ValueError: The lists differ in length, or an image has no reference.
    """
    if len(captions) != len(references):
        raise ValueError(f"{len(captions)} captions for the references of {len(references)} images")
    if any(not each for each in references):
        raise ValueError("an image has no reference caption")
    runs = [[_runs(words_of(each)) for each in texts] for texts in references]
    rare = _rarity(runs)
    return [
        _score(_runs(words_of(caption)), texts, rare, math.log(max(1, len(references))))
        for caption, texts in zip(captions, runs, strict=True)
    ]


def _runs(words: Sequence[str]) -> list[Runs]:
    """Return how often each run occurs, for runs of 1 to MAX_RUN words."""
    return [
        Counter(tuple(words[at : at + size]) for at in range(len(words) - size + 1))
        for size in range(1, MAX_RUN + 1)
    ]


def _rarity(images: Sequence[Sequence[Sequence[Runs]]]) -> Mapping[tuple[str, ...], float]:
    """Return log(images / images that have it in a reference) of every run of the references."""
    grams: Counter[tuple[str, ...]] = Counter()
    for texts in images:
        grams.update({run for text in texts for runs in text for run in runs})
    return {run: math.log(len(images) / count) for run, count in grams.items()}


def _score(
    ours: Sequence[Runs],
    references: Sequence[Sequence[Runs]],
    rare: Mapping[tuple[str, ...], float],
    rarest: float,
) -> float:
    total = 0.0
    for theirs in references:
        apart = ours[0].total() - theirs[0].total()
        likeness = sum(_likeness(*pair, rare, rarest) for pair in zip(ours, theirs, strict=True))
        total += likeness / MAX_RUN * math.exp(-(apart**2) / (2 * SIGMA**2))
    return SCALE * total / len(references)


def _likeness(
    ours: Runs, theirs: Runs, rare: Mapping[tuple[str, ...], float], rarest: float
) -> float:
    """Return the cosine of two weighted counts, ours cut to theirs in the product."""

    def weigh(runs: Runs) -> dict[tuple[str, ...], float]:
        # A run that no reference has is as rare as one that a single image has.
        return {run: count * rare.get(run, rarest) for run, count in runs.items()}

    mine, other = weigh(ours), weigh(theirs)
    product = sum(min(mine[run], other[run]) * other[run] for run in mine.keys() & other.keys())
    lengths = math.hypot(*mine.values()) * math.hypot(*other.values())
    return min(1.0, product / lengths) if lengths else 0.0
