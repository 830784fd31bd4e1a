"""Metrics of answers that are text: VQA accuracy, exact match, ANLS, yes/no, choices.

Goes in: an answer, and what it should have been. Comes out: a score in 0..1, or what was read from
the answer; None where nothing could be read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ANLS_THRESHOLD = 0.5

_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_NUMBERS = {"none": "0", **{word: str(number) for number, word in enumerate(_WORDS)}}
_ARTICLES = frozenset(("a", "an", "the"))
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_STOP = re.compile(r"\.(?!\d)")

# Answers are typed without apostrophes as often as with them.
_CONTRACTED = """
ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't
needn't shan't shouldn't wasn't weren't won't wouldn't
could've might've must've should've would've they've we've you've
couldn't've hadn't've mightn't've shouldn't've wouldn't've
he'd he'd've he's how'd how'll how's i'd've i'm i've it'd it'd've it'll let's ma'am
she'd've she's somebody'd somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're we'd've what'll what're what's what've when's where'd where's
where've who'd who'd've who'll who's who've why'll why're why's y'all y'all'll y'all'd've you'd
you'd've you'll you're not've o'clock 'twas
"""


def _without_apostrophes(word: str) -> list[str]:
    """Return a word with one or more of its apostrophes left out."""
    first, *others = word.split("'")
    forms = [first]
    for part in others:
        forms = [form + mark + part for form in forms for mark in ("", "'")]
    return [form for form in forms if form != word]


_CONTRACTIONS = {form: word for word in _CONTRACTED.split() for form in _without_apostrophes(word)}


def normalised(answer: str) -> str:
    """Return an answer as the VQA evaluation compares it.

    In this order: punctuation goes (in the middle of a word it leaves a space, next to a space or
    where the answer has a number with a comma it leaves nothing), full stops go unless a digit
    follows, all is lower case, number words up to ten are digits, articles go, contractions get
    their apostrophes. The official code leaves this out where all ten annotators agree; here it is
    done always, on both sides.
    """
    text = " ".join(answer.split())
    cleaned = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        gone = beside_space or _COMMA_IN_NUMBER.search(text)
        cleaned = cleaned.replace(mark, "" if gone else " ")
    words = [_NUMBERS.get(word, word) for word in _STOP.sub("", cleaned).lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answer: str, references: Sequence[str]) -> float:
    """Return the VQA accuracy of an answer against those of several people.

    Each person is left out once: the answer is worth min(1, matches / 3) against the others, and
    the mean is the score. With fewer than four people that could not reach 1, so there the score is
    whether anyone agrees.

    Raises:
        ValueError: There is no reference.
    """
    _require(references)
    ours = normalised(answer)
    matches = sum(normalised(each) == ours for each in references)
    people = len(references)
    if people < 4:
        return float(matches > 0)
    left_out = min(1.0, (matches - 1) / 3) if matches else 0.0
    return (matches * left_out + (people - matches) * min(1.0, matches / 3)) / people


def exact(answer: str, references: Sequence[str]) -> float:
    """Return 1 where an answer is one of the references, case and spaces aside."""
    _require(references)
    return float(_plain(answer) in {_plain(each) for each in references})


def anls(answer: str, references: Sequence[str], threshold: float = ANLS_THRESHOLD) -> float:
    """Return the normalised Levenshtein similarity to the nearest reference, case aside.

    Similarity is 1 - distance / length of the longer one; 0 where distance / length reaches the
    threshold.
    """
    _require(references)
    best = 0.0
    for reference in references:
        ours, theirs = _plain(answer), _plain(reference)
        far = levenshtein(ours, theirs) / max(len(ours), len(theirs), 1)
        best = max(best, 1 - far if far < threshold else 0.0)
    return best


def levenshtein(one: str, other: str) -> int:
    """Return the fewest insertions, deletions and exchanges that make one text the other."""
    row = list(range(len(other) + 1))
    for done, letter in enumerate(one, 1):
        last, row[0] = row[0], done
        for place, wanted in enumerate(other, 1):
            changed = last + (letter != wanted)
            last = row[place]
            row[place] = min(changed, row[place] + 1, row[place - 1] + 1)
    return row[-1]


_BARE_LETTER = re.compile(r"\s*\(?([A-Za-z])[).:]?\s*")
_LETTER_FIRST = re.compile(r"\s*(?:\(?([A-Z])[).:,]|([B-HJ-Z])\s)")  # "A dog", "I think": words


def letter_of(answer: str, choices: Sequence[str]) -> int | None:
    """Return which choice an answer names: by a letter alone, its whole text, or a letter first."""
    bare, first = _BARE_LETTER.fullmatch(answer), _LETTER_FIRST.match(answer)
    if bare and (at := LETTERS.index(bare[1].upper())) < len(choices):
        return at
    texts = [normalised(each) for each in choices]
    if texts.count(ours := normalised(answer)) == 1:
        return texts.index(ours)
    if first and (at := LETTERS.index(first[1] or first[2])) < len(choices):
        return at
    return None


def yes_or_no(answer: str) -> bool | None:
    """Return what an answer says by its first word; None where that is neither."""
    first = next(iter(re.findall(r"\w+", answer.lower())), "")
    return {"yes": True, "no": False}.get(first)


@dataclass(frozen=True)
class YesNo:
    """How yes/no questions were answered. Yes is the positive answer."""

    right_yes: int
    wrong_yes: int
    right_no: int
    wrong_no: int
    unparsable_yes: int = 0  # neither was said, yes was right
    unparsable_no: int = 0

    @property
    def total(self) -> int:
        """All questions."""
        answered = self.right_yes + self.wrong_yes + self.right_no + self.wrong_no
        return answered + self.unparsable_yes + self.unparsable_no

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; an unparsable one is wrong."""
        return ratio(self.right_yes + self.right_no, self.total)

    @property
    def precision(self) -> float | None:
        """Share of the yes that were right."""
        return ratio(self.right_yes, self.right_yes + self.wrong_yes)

    @property
    def recall(self) -> float | None:
        """Share of the questions to be answered yes that were."""
        return ratio(self.right_yes, self.right_yes + self.wrong_no + self.unparsable_yes)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall."""
        missed = self.wrong_no + self.unparsable_yes
        return ratio(2 * self.right_yes, 2 * self.right_yes + self.wrong_yes + missed)

    @property
    def yes_share(self) -> float | None:
        """Share of all questions that were answered yes."""
        return ratio(self.right_yes + self.wrong_yes, self.total)


def yes_no(pairs: Iterable[tuple[bool | None, bool]]) -> YesNo:
    """Count pairs of what was said (None: neither) and what is right."""
    counts = Counter(pairs)
    return YesNo(
        right_yes=counts[True, True],
        wrong_yes=counts[True, False],
        right_no=counts[False, False],
        wrong_no=counts[False, True],
        unparsable_yes=counts[None, True],
        unparsable_no=counts[None, False],
    )


def ratio(part: float, whole: float) -> float | None:
    """Return a share; None where there is nothing to divide by."""
    return part / whole if whole else None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _require(references: Sequence[str]) -> None:
    if not references:
        raise ValueError("there is no reference to compare the answer with")
