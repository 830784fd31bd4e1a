"""Perfect answers score the maximum, unreadable ones are wrong and counted, order is nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogvlm.evaluation import scoring
from cogvlm.evaluation.questions import Question
from shards import boxtext

BOXES = [(0.1, 0.1, 0.4, 0.5), (0.5, 0.5, 0.9, 0.9), (0.0, 0.2, 0.2, 0.9)]


def question(truth: str, **fields) -> Question:
    known = {"references": (truth,), **fields}
    return Question(key=truth, place=(0, 0), text="?", truth=truth, **known)


GC = ["a red cat [[100,100,400,500]] sleeps", "two blue dogs [[500,500,900,900]] run"]
POINTED = [question(boxtext.encode([box]), boxes_xyxy=(box,)) for box in BOXES]
QUESTIONS = {
    "rec": POINTED,
    "grounded_vqa": POINTED,
    "grounded_caption": [
        question(GC[0], references=("a red cat sleeps",), phrases=(("a red cat", (BOXES[0],)),)),
        question(GC[1], references=("two blue dogs run",), phrases=(("blue dogs", (BOXES[1],)),)),
    ],
    "caption": [question("one red cat sleeps here"), question("two blue dogs run away")],
    "vqa": [question("red"), question("two dogs"), question("yes")],
    "exact": [question("red"), question("two dogs")],
    "anls": [question("red"), question("two dogs")],
    "choice": [question("A", choices=("x", "y")), question("C", choices=("u", "v", "w"))],
    "yes_no": [question("Yes"), question("no"), question("yes")],
}
MAIN = {"caption": ("cider", 1000), "grounded_caption": ("recall", 1), "anls": ("anls", 1)}
UNREADABLE = {
    **{"rec": "[[1,2]]", "grounded_vqa": "the left one", "grounded_caption": "[[1]]"},
    **{"choice": "?", "yes_no": "perhaps"},
}


@pytest.mark.parametrize("task", QUESTIONS)
def test_the_truth_scores_the_maximum_and_nothing_scores_zero(task: str) -> None:
    questions = QUESTIONS[task]
    name, most = MAIN.get(task, ("accuracy", 1))
    perfect = scoring.score(task, questions, [each.truth for each in questions])
    assert perfect.metrics[name] == pytest.approx(most)
    assert perfect.unparsable == {}
    nothing = scoring.score(task, questions, ["" for _ in questions])
    assert nothing.metrics[name] == 0
    assert sum(nothing.unparsable.values()) == len(questions)


@pytest.mark.parametrize("task", UNREADABLE)
def test_unreadable_answers_are_wrong_and_counted(task: str) -> None:
    questions = QUESTIONS[task]
    said = [UNREADABLE[task], *(each.truth for each in questions[1:])]
    score = scoring.score(task, questions, said)
    assert sum(score.unparsable.values()) == 1
    assert score.scores[0] == 0
    name, most = MAIN.get(task, ("accuracy", 1))
    assert score.metrics[name] == pytest.approx(most * (1 - 1 / len(questions)))


@given(st.sampled_from(sorted(QUESTIONS)), st.data())
def test_the_order_of_samples_is_nothing(task, data):
    questions = QUESTIONS[task]
    truths = [each.truth for each in questions]
    said = [data.draw(st.sampled_from([*truths, "", "[[1]]"])) for _ in questions]
    order = data.draw(st.permutations(range(len(questions))))
    name, most = MAIN.get(task, ("accuracy", 1))
    score = scoring.score(task, questions, said)
    turned = scoring.score(task, [questions[at] for at in order], [said[at] for at in order])
    assert 0 <= score.metrics[name] <= most + 1e-6
    assert turned.metrics[name] == pytest.approx(score.metrics[name])
    assert turned.unparsable == score.unparsable
    assert turned.scores == pytest.approx([score.scores[at] for at in order])


def test_constant_answers() -> None:
    assert scoring.constant_answer("yes_no", QUESTIONS["yes_no"]) in ("Yes", "no", "yes")
    assert scoring.constant_answer("vqa", [question("b"), question("a"), question("b")]) == "b"
    for task in ("rec", "grounded_vqa"):
        constant = scoring.constant_answer(task, POINTED)
        score = scoring.score(task, POINTED, [constant] * 3)
        assert score.metrics["accuracy"] == score.metrics["chance"]["constant_box"]["accuracy"] > 0
    with pytest.raises(ValueError, match="does not work for caption"):
        scoring.constant_answer("caption", QUESTIONS["caption"])


def test_the_likeliest_choice_by_hand() -> None:
    # Losses 2 of one token and 3 of three: the first by the sum, the second by the token.
    score, said = scoring.likelihoods(QUESTIONS["choice"][:1], [[(2.0, 1), (3.0, 3)]])
    assert said == ["A"]
    assert (score.metrics["accuracy"], score.metrics["accuracy_per_token"]) == (1, 0)
    assert score.metrics["chance"] == 0.5
