"""Settings of how tasks ask: units, languages, markers, negatives, and which text is a target."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from helpers.cogvlm.task_examples import (
    CAPTION,
    CHUNKS,
    LEFT,
    LEFT_TEXT,
    LOOKING,
    RIGHT,
    RIGHT_TEXT,
    WHAT,
    WHERE,
    asked,
    dialogue,
    example,
    grounded,
    skipped,
    told,
)

from cogvlm.data import tasks
from cogvlm.data.tasks import SkipReason, TaskOptions, check_prompts
from cogvlm.training.config import TrainConfig

HAN = re.compile("[\u4e00-\u9fff]")

LAWN = "a dog on a lawn beside a cat"
DOG, DOG_ON_LAWN, A_LAWN, A_CAT = (0, 5), (0, 15), (9, 15), (23, 28)
WHOLE = [0.0, 0.4, 0.9, 1.0]


def lawn(**changes: Any) -> dict[str, Any]:
    boxes = {DOG: LEFT, A_LAWN: WHOLE, A_CAT: RIGHT}
    around = {DOG: DOG_ON_LAWN, A_LAWN: A_LAWN, A_CAT: A_CAT}
    return {
        "noun_chunks": [[*span, *box, 0.9] for span, box in boxes.items()],
        "ref_exps": [[*around[span], *box, 0.9] for span, box in boxes.items()],
        "phrases": [
            {
                "start": span[0],
                "end": span[1],
                "head_lemma": LAWN[span[0] : span[1]].split()[-1],
                "expr_start": outer[0],
                "expr_end": outer[1],
            }
            for span, outer in around.items()
        ],
        **changes,
    }


@pytest.mark.parametrize("fields", [lawn(), lawn(phrases=None)])
def test_expressions_that_lie_in_another_are_left_out(fields: dict[str, Any]) -> None:
    given = example(LAWN, fields, grounding_units="expressions")
    assert [LAWN[each.start : each.end] for each in tasks.recs(given)] == [
        "a dog on a lawn",
        "a cat",
    ]
    assert tasks.grounded_captions(given) == [
        f"a dog on a lawn {LEFT_TEXT} beside a cat {RIGHT_TEXT}"
    ]
    found = {told("rec", example(LAWN, fields, grounding_units="expressions", key=f"{key}"))
             for key in range(1000)}  # fmt: skip
    assert found == {
        f"<0>{question}{{{answer}|}}"
        for phrase, answer in (("the dog on a lawn", LEFT_TEXT), ("the cat", RIGHT_TEXT))
        for question in asked(WHERE, phrase=phrase)
    }
    chunks = [LAWN[each.start : each.end] for each in tasks.recs(example(LAWN, fields))]
    assert chunks == ["a dog", "a lawn", "a cat"]


@pytest.mark.parametrize("has_records", [True, False])
def test_an_expression_is_about_its_first_thing(has_records: bool) -> None:
    caption = "a dog on a lawn and a lawn chair near a dog"
    spans = {(0, 5): (0, 15), (9, 15): (9, 15), (20, 32): (20, 32), (38, 43): (38, 43)}
    rows = [[*outer, *LEFT[:2], *RIGHT[2:], 0.9] for outer in spans.values()]
    rows[0][2:6] = LEFT  # the first dog is another than the second
    fields: dict[str, Any] = {
        "noun_chunks": [[*span, *row[2:]] for span, row in zip(spans, rows, strict=True)],
        "ref_exps": rows,
    }
    if has_records:
        fields["phrases"] = [
            {"start": span[0], "end": span[1], "expr_start": outer[0], "expr_end": outer[1]}
            for span, outer in spans.items()
        ]
    given = example(caption, fields, grounding_units="expressions")
    found = {caption[each.start : each.end]: why for each, why in tasks.judged(given, "rec")}
    assert found == {"a dog on a lawn": "same_head", "a lawn chair": None, "a dog": "same_head"}


def test_ambiguous_phrases_are_asked_for_only_where_that_is_wanted() -> None:
    def men(**options: Any) -> list[str]:
        given = grounded(LOOKING, [[0, 5, *LEFT, 0.9], [24, 35, *RIGHT, 0.9]], **options)
        recs, regs = tasks.gc_to_recs_and_regs(given)
        assert len(recs) == len(regs)
        return [each.expression for each in recs]

    assert men() == []
    assert men(keep_ambiguous=True) == ["the man", "another man"]


@pytest.mark.parametrize("name", ["noun_chunks", "ref_exps"])
@pytest.mark.parametrize("row", [[0, 99, *LEFT, 0.9], [0, 5, *LEFT], [0, 5, *LEFT, "1"]])
def test_broken_rows_of_expressions_are_named(name: str, row: list[Any]) -> None:
    given = example(LAWN, lawn(**{name: [row]}), grounding_units="expressions")
    assert skipped("rec", given)[0] == SkipReason.BAD_BOXES


@pytest.mark.parametrize("task", ["rec", "reg", "grounded_caption"])
def test_questions_in_the_language_of_the_run(task: str) -> None:
    def asked_in(language: str) -> set[str]:
        return {
            told(task, grounded(CAPTION, CHUNKS[:1], key=f"{key}", prompt_language=language))
            for key in range(800)
        }

    english, chinese = asked_in("en"), asked_in("zh")
    assert english.isdisjoint(chinese)
    assert asked_in("both") == english | chinese
    assert len(chinese) == len(tasks.pool(task, "zh"))  # type: ignore[arg-type]


def test_both_languages_come_equally_often() -> None:
    given = [example(key=f"{key}", prompt_language="both") for key in range(2000)]
    assert 900 < sum(each.language("rec") == "zh" for each in given) < 1100


def test_a_users_wordings_are_used(tmp_path: Path) -> None:
    (tmp_path / "rec.en.txt").write_text("Spot {phrase}!\n")
    given = grounded(CAPTION, CHUNKS[:1], prompts=str(tmp_path))
    assert told("rec", given) == f"<0>Spot the red square!{{{LEFT_TEXT}|}}"
    assert told("reg", given) in {
        f"<0>{question}{{A red square.|}}" for question in asked(WHAT, boxes=LEFT_TEXT)
    }


@pytest.mark.parametrize(
    ("task", "template", "start"),
    [
        ("rec", "base", "<0>rec: "),
        ("rec", "chat", "<0>Question: rec: "),
        ("reg", "base", "<0>reg: "),
        ("grounded_caption", "base", "<0>grounded_caption: "),
        ("caption", "base", "<0>{a red square"),  # nothing is asked
    ],
)
def test_the_task_before_the_question(task: str, template: str, start: str) -> None:
    given = grounded(CAPTION, CHUNKS, template=template, task_prefix=True)
    plain = grounded(CAPTION, CHUNKS, template=template)
    assert told(task, given).startswith(start)
    assert told(task, given).replace(tasks.prefix(task), "") == told(task, plain)


@pytest.mark.parametrize("task", ["dialogue", "vqa", "grounded_vqa"])
def test_the_task_before_every_question_of_a_conversation(task: str) -> None:
    given = dialogue("<image> why?", "sun", "and?", "rain", task_prefix=True)
    assert told(task, given) == f"{task}: <0> why?{{sun|}}\n{task}: and?{{rain|}}"


def test_captions_that_are_asked_for() -> None:
    found = {
        told("caption", example(template="chat", key=f"{key}", caption_requests=True))
        for key in range(500)
    }
    assert found == {
        f"<0>Question: {question} Answer:{{{CAPTION}|}}" for question in tasks.pool("caption")
    }


def test_grounded_questions_ask_for_boxes_where_the_answer_has_some() -> None:
    given = [
        dialogue(
            "what is it?",
            "a cat",
            "where?",
            "here: <boxes>",
            boxes={1: [], 3: [[LEFT]]},
            key=f"{key}",
        )
        for key in range(500)
    ]
    assert {told("grounded_vqa", each) for each in given} == {
        f"<0>what is it?{{a cat|}}\n{question}{{here: {LEFT_TEXT}|}}"
        for question in asked(tasks.pool("grounded_vqa"), question="where?")
    }
    expected = f"<0>what is it?{{a cat|}}\nwhere?{{here: {LEFT_TEXT}|}}"
    assert {told("dialogue", each) for each in given} == {expected}


@pytest.mark.parametrize("said", ["at [[10,20,30,40]]", "[[100,200", "[[300,300,100,400]]"])
@pytest.mark.parametrize("place", [0, 1])
def test_malformed_box_text_of_a_conversation(said: str, place: int) -> None:
    contents = ["what?", "that"]
    contents[place] = said
    assert skipped("grounded_vqa", dialogue(*contents)) == (
        SkipReason.BAD_BOXES,
        f"malformed box text in {said!r}",
    )
    assert told("dialogue", dialogue(*contents))  # there it may be anything


@pytest.mark.parametrize(
    ("language", "answers"),
    [
        ("en", {"Not in the image."}),
        ("zh", {"图中没有。"}),
        ("both", {"Not in the image.", "图中没有。"}),
    ],
)
def test_negatives(language: str, answers: set[str]) -> None:
    caption = "a dog and a cat"
    rows = [[0, 5, *LEFT, 0.9], [10, 15, *RIGHT, 0.9]]
    options = {"prompt_language": language}
    given = [grounded(caption, rows, key=f"{key}", **options) for key in range(1000)]
    some = [
        told("rec", replace(each, options=replace(each.options, negatives=0.3))) for each in given
    ]
    negative = [each for each in some if each.split("{")[1].rstrip("|}") in answers]
    assert 250 < len(negative) < 350
    assert {each.split("{")[1].rstrip("|}") for each in negative} == answers
    assert not any("the dog" in each or "the cat" in each for each in negative)
    # The other visits are asked what they are asked without negatives.
    pairs = zip(some, (told("rec", each) for each in given), strict=True)
    assert all(one == other for one, other in pairs if one not in negative)
    if language == "en":
        assert all(re.search(r"the [a-z]+\b", each) for each in negative)
        assert all(HAN.search(each) is None for each in negative)


def test_negatives_leave_the_same_samples_out() -> None:
    assert skipped("rec", grounded("a dog", [], negatives=0.99))[0] == SkipReason.NO_PHRASE


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([{"text": "one"}, {"image": 0}, {"text": "two"}, {"text": "three"}],
         "one<0>{two}{three|}"),
        ([{"image": 0}, {"text": "<image> is"}, {"image": 1}, {"text": "two"}],
         "<0>{<image> is}<1>{two|}"),
        ([{"text": "an <image>"}, {"image": 0}, {"text": "two"}, {"image": 1}],
         "an <image><0>{two|}"),
    ],
)  # fmt: skip
def test_documents_with_loss_after_images_only(items: list[Any], expected: str) -> None:
    given = example("all text", {"items": items}, images=2, document_loss="after_image")
    assert told("document", given) == expected


@pytest.mark.parametrize("items", [[{"text": "one"}], [{"text": "one"}, {"image": 0}]])
def test_documents_without_text_after_an_image(items: list[Any]) -> None:
    given = example("all text", {"items": items}, document_loss="after_image")
    assert skipped("document", given)[0] == SkipReason.NO_TEXT


def test_options_are_those_of_the_run() -> None:
    config = TrainConfig(prompt_language="both", task_prefix=True, caption_requests=True,
                         negatives=0.1, grounding_units="expressions",
                         document_loss="after_image")  # fmt: skip
    found = config.task_options()
    assert all(getattr(config, name) == value for name, value in asdict(found).items())
    assert TrainConfig().task_options() == TaskOptions()
    with pytest.raises(ValueError, match="--prompts /nowhere is not a folder"):
        check_prompts("/nowhere")
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="--negatives is"):
            TrainConfig(negatives=share).check()
