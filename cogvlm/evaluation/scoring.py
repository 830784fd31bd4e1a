"""Answers to numbers: the metrics of each task, and the score of each answer.

Goes in: questions and answers. Comes out: a `Score`. A share has no value (None) where there is
nothing to divide by. An answer that cannot be read is wrong, and is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogvlm.evaluation import answers as text
from cogvlm.evaluation import boxes, cider

if TYPE_CHECKING:
    from cogvlm.evaluation.questions import Question

Metrics = dict[str, Any]  # plain JSON

CONSTANT = ("rec", "grounded_vqa", "vqa", "exact", "anls", "choice", "yes_no")
"""Tasks that one and the same answer to all questions can be tried on."""


@dataclass(frozen=True)
class Score:
    """How a task went."""

    metrics: Metrics
    scores: list[float]  # of every answer: 0..1, or CIDEr-D for captions
    unparsable: dict[str, int]  # answers that could not be read, by fault; wrong, all of them


def score(task: str, questions: Sequence[Question], answers: Sequence[str]) -> Score:
    """Return how good answers are.

    Args:
        task: One of `TASKS`.
        questions: At least one.
        answers: The answer to each.
    """
    assert questions and len(questions) == len(answers)
    return TASKS[task](questions, answers)


def _first_box(questions: Sequence[Question], answers: Sequence[str]) -> Score:
    read = [boxes.first_box(answer) for answer in answers]
    scores = [
        float(first.box is not None and boxes.is_right(first.box, question.boxes_xyxy))
        for first, question in zip(read, questions, strict=True)
    ]
    gold = [question.boxes_xyxy for question in questions]
    best, share = boxes.constant_box(gold)
    metrics: Metrics = {
        "accuracy": _mean(scores),
        "min_iou": boxes.MIN_IOU,
        "chance": {
            "constant_box": {"accuracy": share, "box_xyxy": [round(side, 4) for side in best]},
            "random_box": {"accuracy": boxes.random_boxes(gold)},
        },
    }
    return Score(metrics, scores, _faults(first.fault for first in read))


def _grounded_caption(questions: Sequence[Question], answers: Sequence[str]) -> Score:
    matches = [
        boxes.recalled(answer, question.phrases)
        for answer, question in zip(answers, questions, strict=True)
    ]
    phrases = sum(len(match.named) for match in matches)
    captions = [boxes.without_boxes(answer) for answer in answers]
    references = [question.references for question in questions]
    agree = [text.exact(*pair) for pair in zip(captions, references, strict=True)]
    metrics: Metrics = {
        "recall": text.ratio(sum(sum(match.named) for match in matches), phrases),
        "recall_any_words": text.ratio(sum(sum(match.anywhere) for match in matches), phrases),
        "phrases": phrases,
        "caption_cider": _mean(cider.cider_d(captions, references)),
        "caption_exact": _mean(agree),
    }
    faults = {
        "malformed": sum(match.malformed > 0 for match in matches),
        "missing": sum("[[" not in answer for answer in answers),
    }
    scores = [text.ratio(sum(one.named), len(one.named)) or 0.0 for one in matches]
    return Score(metrics, scores, {name: count for name, count in faults.items() if count})


def _caption(questions: Sequence[Question], answers: Sequence[str]) -> Score:
    references = [question.references for question in questions]
    scores = cider.cider_d(answers, references)
    per_image = _mean([len(captions) for captions in references])
    metrics = {"cider": _mean(scores), "references_per_image": per_image}
    return Score(metrics, scores, _faults("" if answer.strip() else "empty" for answer in answers))


def _by_references(metric: Callable[[str, Sequence[str]], float], name: str) -> Any:
    def scored(questions: Sequence[Question], answers: Sequence[str]) -> Score:
        pairs = zip(answers, questions, strict=True)
        scores = [metric(answer, question.references) for answer, question in pairs]
        empty = _faults("" if answer.strip() else "empty" for answer in answers)
        return Score({name: _mean(scores)}, scores, empty)

    return scored


def _choice(questions: Sequence[Question], answers: Sequence[str]) -> Score:
    read = [text.letter_of(*pair) for pair in zip(answers, _choices(questions), strict=True)]
    right = [text.LETTERS.index(question.truth) for question in questions]
    scores = [float(ours == theirs) for ours, theirs in zip(read, right, strict=True)]
    metrics = {"accuracy": _mean(scores), "chance": _chance(questions)}
    return Score(metrics, scores, _faults("no_choice" if at is None else "" for at in read))


def _yes_no(questions: Sequence[Question], answers: Sequence[str]) -> Score:
    read = [text.yes_or_no(answer) for answer in answers]
    right = [bool(text.yes_or_no(question.truth)) for question in questions]
    counts = text.yes_no(zip(read, right, strict=True))
    metrics: Metrics = {
        name: getattr(counts, name)
        for name in ("accuracy", "precision", "recall", "f1", "yes_share")
    }
    metrics["yes_share_of_truth"] = _mean([float(answer) for answer in right])
    scores = [float(ours == theirs) for ours, theirs in zip(read, right, strict=True)]
    return Score(metrics, scores, _faults("neither" if answer is None else "" for answer in read))


TASKS: dict[str, Callable[[Sequence[Question], Sequence[str]], Score]] = {
    "rec": _first_box,
    "grounded_vqa": _first_box,
    "grounded_caption": _grounded_caption,
    "caption": _caption,
    "vqa": _by_references(text.vqa_accuracy, "accuracy"),
    "exact": _by_references(text.exact, "accuracy"),
    "anls": _by_references(text.anls, "anls"),
    "choice": _choice,
    "yes_no": _yes_no,
}


def likelihoods(
    questions: Sequence[Question], nats: Sequence[Sequence[tuple[float, int]]]
) -> tuple[Score, list[str]]:
    """Return the score of the likeliest choices, and their letters.

    Args:
        questions: With choices.
        nats: For each choice of each question, the loss of its tokens and their number.
    """
    right = [text.LETTERS.index(question.truth) for question in questions]
    chosen = [_least([loss for loss, _ in choices]) for choices in nats]
    by_token = [_least([loss / count for loss, count in choices]) for choices in nats]
    scores = [float(ours == theirs) for ours, theirs in zip(chosen, right, strict=True)]
    shares = [float(ours == theirs) for ours, theirs in zip(by_token, right, strict=True)]
    metrics: Metrics = {
        "accuracy": _mean(scores),
        "accuracy_per_token": _mean(shares),
        "chance": _chance(questions),
    }
    return Score(metrics, scores, {}), [text.LETTERS[at] for at in chosen]


def constant_answer(task: str, questions: Sequence[Question]) -> str:
    """Return the one answer that is given to all questions when nobody looks at them.

    Raises:
        ValueError: There is no such answer for the task.
    """
    if TASKS.get(task) is _first_box:
        from shards import boxtext

        best, _ = boxes.constant_box([question.boxes_xyxy for question in questions])
        return boxtext.encode([best])
    if task in CONSTANT:
        given = Counter(answer for question in questions for answer in question.references)
        return min(given, key=lambda answer: (-given[answer], answer))
    raise ValueError(f"--blind constant does not work for {task}; use --blind shuffled")


def _choices(questions: Sequence[Question]) -> list[tuple[str, ...]]:
    return [question.choices for question in questions]


def _chance(questions: Sequence[Question]) -> float | None:
    return _mean([1 / len(choices) for choices in _choices(questions)])


def _least(values: Sequence[float]) -> int:
    return min(range(len(values)), key=values.__getitem__)


def _mean(values: Sequence[float]) -> float | None:
    return text.ratio(sum(values), len(values))


def _faults(names: Any) -> dict[str, int]:
    return dict(Counter(fault for fault in names if fault))
