"""Samples to questions and answers: what is asked, what must be said, and what is left out why."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.cogvlm.task_examples import (
    CAPTION,
    CHUNKS,
    CIRCLE,
    GROUND,
    LEFT,
    LEFT_TEXT,
    LOOKING,
    RIGHT,
    RIGHT_TEXT,
    SQUARE,
    SQUARES,
    WALKING,
    WHAT,
    WHERE,
    asked,
    dialogue,
    example,
    grounded,
    skipped,
    spans_in,
    told,
    turns,
)
from torch import Tensor

from cogvlm.data import tasks
from cogvlm.data.segments import Picture
from cogvlm.data.tasks import MAX_BOXES, TASKS, Example, SkipReason
from shards.schema import LEVELS as SHARD_LEVELS


def test_every_task_is_made_and_has_its_levels() -> None:
    assert {level for task in TASKS.values() for level in task.levels} == {*SHARD_LEVELS}


@pytest.mark.parametrize("template", ["base", "chat", "vqa"])
def test_a_caption_follows_the_image_at_once(template: str) -> None:
    assert told("caption", example(template=template)) == f"<0>{{{CAPTION}|}}"


def test_a_caption_in_glm4s_format() -> None:
    found = told("caption", example(template="glm4"))
    assert found == f"[gMASK]<sop><|user|>\n<0><|assistant|>\n{{{CAPTION}|}}"


def test_a_caption_that_says_image_is_text() -> None:
    assert told("caption", example("an <image> tag")) == "<0>{an <image> tag|}"


@pytest.mark.parametrize("task", ["caption", "rec", "reg", "grounded_caption", "text"])
@pytest.mark.parametrize("caption", ["", " \n"])
def test_without_a_caption_there_is_nothing(task: str, caption: str) -> None:
    assert skipped(task, example(caption, images=task != "text"))[0] == SkipReason.NO_TEXT


@pytest.mark.parametrize(
    ("template", "before", "after"),
    [("base", "", ""), ("chat", "Question: ", " Answer:"), ("vqa", "Question: ", " Short answer:")],
)
def test_rec_asks_for_a_phrase_and_answers_its_boxes(
    template: str, before: str, after: str
) -> None:
    given = grounded(CAPTION, CHUNKS[:1], template=template)
    expected = {
        f"<0>{before}{question}{after}{{{LEFT_TEXT}|}}"
        for question in asked(WHERE, phrase="the red square")
    }
    assert told("rec", given) in expected


def test_reg_asks_for_boxes_and_answers_the_phrase() -> None:
    expected = {f"<0>{question}{{A red square.|}}" for question in asked(WHAT, boxes=LEFT_TEXT)}
    assert told("reg", grounded(CAPTION, CHUNKS[:1])) in expected


def test_rec_and_reg_choose_among_the_phrases_and_all_wordings_come() -> None:
    rec = {told("rec", grounded(CAPTION, CHUNKS, key=f"{key}")) for key in range(1000)}
    assert rec == {
        f"<0>{question}{{{answer}|}}"
        for phrase, answer in (("the red square", LEFT_TEXT), ("the blue circle", RIGHT_TEXT))
        for question in asked(WHERE, phrase=phrase)
    }
    reg = {told("reg", grounded(CAPTION, CHUNKS, key=f"{key}")) for key in range(1000)}
    assert len(reg) == 2 * len(WHAT)


@pytest.mark.parametrize("has_records", [True, False])
@pytest.mark.parametrize(
    ("caption", "texts", "recs", "regs", "grounded_caption"),
    [
        (
            WALKING,
            ("A man", "a woman"),
            [("the man", LEFT_TEXT), ("the woman", RIGHT_TEXT)],
            [("A man.", LEFT_TEXT), ("A woman.", RIGHT_TEXT)],
            f"A man {LEFT_TEXT} and a woman {RIGHT_TEXT} are walking together.",
        ),
        (
            LOOKING,
            ("A man", "another man"),
            [],
            [],
            f"A man {LEFT_TEXT} is running, while another man {RIGHT_TEXT} is looking.",
        ),
    ],
)
def test_the_two_sentences_of_the_paper(
    caption: str,
    texts: tuple[str, str],
    recs: list[tuple[str, str]],
    regs: list[tuple[str, str]],
    grounded_caption: str,
    has_records: bool,
) -> None:
    spans = spans_in(caption, *texts)
    rows = [[*span, *box, 0.9] for span, box in zip(spans, (LEFT, RIGHT), strict=True)]
    fields: dict[str, Any] = {"noun_chunks": rows}
    if has_records:
        fields["phrases"] = [
            {"start": start, "end": end, "head_lemma": text.split()[-1], "root_pos": "NOUN"}
            for (start, end), text in zip(spans, texts, strict=True)
        ]
    given = [example(caption, fields, key=f"{key}") for key in range(1000)]
    assert len(tasks.recs(given[0])) == len(recs)
    assert len(tasks.regs(given[0])) == len(regs)
    assert tasks.grounded_captions(given[0]) == [grounded_caption]
    if recs:
        assert {told("rec", each) for each in given} == {
            f"<0>{question}{{{boxes}|}}"
            for phrase, boxes in recs
            for question in asked(WHERE, phrase=phrase)
        }
        assert {told("reg", each) for each in given} == {
            f"<0>{question}{{{phrase}|}}"
            for phrase, boxes in regs
            for question in asked(WHAT, boxes=boxes)
        }
    else:
        why = (SkipReason.NO_PHRASE, "same_head, anaphor")
        assert skipped("rec", given[0]) == skipped("reg", given[0]) == why


def test_a_phrase_without_a_box_makes_its_twin_unclear() -> None:
    (man, _), spans = spans_in(LOOKING, "A man", "another man"), spans_in(LOOKING, "another man")
    fields: dict[str, Any] = {"noun_chunks": [[*man, *LEFT, 0.9]]}
    assert len(tasks.recs(example(LOOKING, fields))) == 1
    fields["phrases"] = [{"start": start, "end": end} for start, end in spans]
    assert skipped("rec", example(LOOKING, fields)) == (SkipReason.NO_PHRASE, "same_head")
    assert skipped("reg", example(LOOKING, fields)) == (SkipReason.NO_PHRASE, "same_head")


def test_the_image_itself_is_described_and_not_searched() -> None:
    given = grounded("a field of corn", [[0, 7, 0.0, 0.0, 1.0, 1.0, 0.9]])
    assert skipped("rec", given) == (SkipReason.NO_PHRASE, "whole_image")
    assert told("reg", given).endswith("{A field.|}")


def test_an_answer_ends_with_one_period() -> None:
    assert told("reg", grounded("the U.S. flag", [[0, 8, *LEFT, 0.9]])).endswith("{The U.S.|}")


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("a dog", "the dog"),
        ("An owl", "the owl"),
        ("the dog", "the dog"),
        ("animal a", "animal a"),
        ("apples", "apples"),
    ],
)
def test_a_question_is_about_the_one_that_is_there(phrase: str, expected: str) -> None:
    found = told("rec", grounded(phrase, [[0, len(phrase), *LEFT, 0.9]]))
    assert found in {f"<0>{each}{{{LEFT_TEXT}|}}" for each in asked(WHERE, phrase=expected)}


def test_grounded_captions_have_boxes_after_each_phrase() -> None:
    answer = f"a red square {LEFT_TEXT} beside a blue circle {RIGHT_TEXT}"
    found = {
        told("grounded_caption", grounded(CAPTION, CHUNKS, key=f"{key}")) for key in range(500)
    }
    assert found == {f"<0>{question}{{{answer}|}}" for question in GROUND}


def test_several_boxes_of_a_phrase_come_by_score() -> None:
    chunks = [[*SQUARES, *RIGHT, 0.4], [*SQUARES, *LEFT, 0.9]]
    found = told("rec", grounded(CAPTION, chunks))
    assert found.endswith("{[[100,200,300,400;500,500,999,999]]|}")


def test_only_the_ten_best_boxes_are_named() -> None:
    def box(number: int) -> list[float]:
        return [0.01 * number, 0.0, 1.0, 1.0]

    numbers = [7, 1, 12, 3, 9, 0, 5, 11, 2, 8, 4, 10, 6]
    chunks = [[*SQUARES, *box(number), number / 20] for number in numbers]
    best = ";".join(f"{10 * number:03d},000,999,999" for number in range(12, 12 - MAX_BOXES, -1))
    assert told("rec", grounded(CAPTION, chunks)).endswith(f"{{[[{best}]]|}}")


def test_a_phrase_that_says_image_is_no_place_for_one() -> None:
    caption = "the <image> of a cat"
    given = grounded(caption, [[0, 11, *LEFT, 0.9]])
    found = told("rec", given)
    assert found in {f"<0>{each}{{{LEFT_TEXT}|}}" for each in asked(WHERE, phrase="the image")}
    assert told("reg", given).endswith("{The <image>.|}")
    assert told("grounded_caption", given).endswith(f"{{the <image> {LEFT_TEXT} of a cat|}}")


def test_a_phrase_with_braces_is_kept() -> None:
    given = grounded("{phrase} {0}", [[0, 8, *LEFT, 0.9]])
    assert "{phrase}" in told("rec", given)


def test_places_count_code_points() -> None:
    found = told("grounded_caption", grounded("🐈‍⬛ é 左", [[4, 5, *LEFT, 0.9]]))
    assert found.endswith(f"{{🐈‍⬛ é {LEFT_TEXT} 左|}}")


@pytest.mark.parametrize("task", ["rec", "reg"])
@pytest.mark.parametrize("second", ["a dog", "A Dog"])
def test_a_phrase_that_is_said_twice_is_not_asked_for(task: str, second: str) -> None:
    caption = f"a dog and {second} by the sea"
    both = [[0, 5, *LEFT, 0.9], [10, 15, *RIGHT, 0.9]]
    sea = [[19, 26, *RIGHT, 0.5]]
    assert skipped(task, grounded(caption, both))[0] == SkipReason.NO_PHRASE
    found = {told(task, grounded(caption, both + sea, key=f"{key}")) for key in range(30)}
    assert all("the sea" in each.lower() for each in found)


def test_a_twin_without_a_box_counts_as_well() -> None:
    caption = "a dog and a dog"
    phrases = [{"start": 0, "end": 5}, {"start": 10, "end": 15, "drop_reason": "no_box"}]
    fields = {"noun_chunks": [[0, 5, *LEFT, 0.9]], "phrases": phrases}
    assert skipped("rec", example(caption, fields))[0] == SkipReason.NO_PHRASE
    fields["phrases"] = phrases[:1]
    assert "the dog" in told("rec", example(caption, fields))
    answer = f"a dog {LEFT_TEXT} and a dog"
    assert told("grounded_caption", example(caption, fields)).endswith(f"{{{answer}|}}")


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        # The longer of two that overlap, if both have one box.
        ([[2, 12, *RIGHT, 0.9], [0, 12, *LEFT, 0.1]], f"a red square {LEFT_TEXT} beside"),
        # The one with more boxes, though it is shorter.
        (
            [[2, 12, *RIGHT, 0.9], [2, 12, *LEFT, 0.8], [0, 12, *LEFT, 0.1]],
            "a red square [[500,500,999,999;100,200,300,400]] beside",
        ),
        # The first, where nothing else tells them apart.
        ([[4, 7, *RIGHT, 0.9], [2, 5, *LEFT, 0.1]], f"a red {LEFT_TEXT} square beside"),
        # Those that touch both stay.
        (
            [[0, 5, *LEFT, 0.9], [5, 12, *RIGHT, 0.9]],
            f"a red {LEFT_TEXT} square {RIGHT_TEXT} beside",
        ),
    ],
)
def test_phrases_of_a_grounded_caption_do_not_overlap(
    chunks: list[list[float]], expected: str
) -> None:
    found = told("grounded_caption", grounded(CAPTION, chunks))
    assert f"{{{expected} a blue circle|}}" in found


@pytest.mark.parametrize("task", ["rec", "reg", "grounded_caption"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"noun_chunks": []},
        {"noun_chunks": None},
        {"noun_chunks": [[0, 12, 0.5, 0.5, 0.5, 0.9, 1.0]]},  # without width
        {"noun_chunks": [[0, 12, 0.5, 0.5, 0.5003, 0.9, 1.0]]},  # without width in thousandths
    ],
)
def test_without_a_phrase_with_a_box_there_is_nothing(task: str, fields: dict[str, Any]) -> None:
    assert skipped(task, example(fields=fields))[0] == SkipReason.NO_PHRASE


def test_a_phrase_whose_box_has_no_area_stays_without_one() -> None:
    flat = [*CIRCLE, 0.5, 0.5, 0.5, 0.9, 1.0]
    found = told("grounded_caption", grounded(CAPTION, [CHUNKS[0], flat]))
    assert found.endswith(f"{{a red square {LEFT_TEXT} beside a blue circle|}}")


@pytest.mark.parametrize("task", ["rec", "reg", "grounded_caption"])
@pytest.mark.parametrize(
    "chunks",
    [
        "boxes",
        7,
        {"a": 1},
        ["row"],
        [[0, 5, *LEFT]],  # no score
        [[0, 5, *LEFT, 0.9, 0.9]],
        [[0, 5, 0.1, None, 0.3, 0.4, 0.9]],
        [[0, 5, 0.1, "0.2", 0.3, 0.4, 0.9]],
        [[0, 5, 0.1, float("nan"), 0.3, 0.4, 0.9]],
        [[0, 5, 0.1, float("inf"), 0.3, 0.4, 0.9]],
        [[0, 5, 0.1, 10**400, 0.3, 0.4, 0.9]],
        [[0, 5, *LEFT, None]],
        [[-1, 5, *LEFT, 0.9]],
        [[5, 5, *LEFT, 0.9]],
        [[0, len(CAPTION) + 1, *LEFT, 0.9]],
        [CHUNKS[0], [0, 5, [0.1], 0.2, 0.3, 0.4, 0.9]],
    ],
)
def test_broken_boxes_are_named(task: str, chunks: Any) -> None:
    reason, detail = skipped(task, example(fields={"noun_chunks": chunks}))
    assert reason == SkipReason.BAD_BOXES
    assert "noun_chunks" in detail or "in a caption of 33 characters" in detail


@pytest.mark.parametrize("phrases", [7, ["a"], [{"start": "0"}], [{"start": 0, "end": None}], {}])
def test_broken_hints_about_other_phrases_are_passed_over(phrases: Any) -> None:
    assert told("rec", example(fields={"noun_chunks": CHUNKS, "phrases": phrases}))


@pytest.mark.parametrize("task", ["dialogue", "grounded_vqa", "vqa"])
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("base", "<0>why?{sun|}\nand?{rain|}"),
        ("vqa", "<0>Question: why? Short answer:{sun|}\nQuestion: and? Short answer:{rain|}"),
        ("chat", "<0>Question: why? Answer:{sun|}\nQuestion: and? Answer:{rain|}"),
        (
            "glm4",
            "[gMASK]<sop><|user|>\n<0>why?<|assistant|>\n{sun|}<|user|>\n"
            "and?<|assistant|>\n{rain|}",
        ),
    ],
)
def test_every_answer_of_a_conversation_is_a_target(
    task: str, template: str, expected: str
) -> None:
    found = told(task, dialogue("why?", "sun", "and?", "rain", template=template))
    short = task == "vqa" and template == "chat"
    assert found == (expected.replace("Answer:", "Short answer:") if short else expected)


def test_boxes_of_a_conversation_come_at_their_marks() -> None:
    given = dialogue(
        "what is at <boxes>, what at <boxes>?",
        "a cat and <boxes>.",
        boxes={0: [[LEFT], [RIGHT]], 1: [[LEFT, RIGHT]]},
    )
    assert told("dialogue", given) == (
        f"<0>what is at {LEFT_TEXT}, what at {RIGHT_TEXT}?"
        "{a cat and [[100,200,300,400;500,500,999,999]].|}"
    )


def test_images_of_a_conversation_come_at_their_marks() -> None:
    given = dialogue("one", "1", "<image>or<image>?", "an <image>", images=2)
    assert told("dialogue", given) == "one{1|}\n<0>or<1>?{an <image>|}"
    assert told("dialogue", dialogue("so?", "yes", images=2)) == "<0><1>so?{yes|}"
    assert told("dialogue", dialogue("so?", "yes", images=0)) == "so?{yes|}"


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (None, "must alternate, and the assistant have the last word"),
        ([], "must alternate"),
        (turns("why?"), "must alternate"),
        (turns("why?", "sun", "and?"), "must alternate"),
        ("why?", "not a list of objects"),
        ({"role": "user"}, "not a list of objects"),
        (["why?", "sun"], "not a list of objects"),
        ([turns("why?")[0], None], "not a list of objects"),
        ([*turns("why?"), *turns("and?")], "a turn of 'user' and 'user'"),
        (turns("why?", "sun")[::-1], "a turn of 'assistant' and 'user'"),
        ([{"content": "why?"}, {"content": "sun"}], "a turn of None and None"),
        (turns("why?", ""), "an empty answer"),
        (turns("why?", " \n"), "an empty answer"),
        (turns("where?", "<boxes>", boxes={1: [[]]}), "an empty answer"),
        (turns("where?", "<boxes>", boxes={1: [[[0.5, 0.5, 0.5, 0.9]]]}), "an empty answer"),
        ([{"role": "user"}, *turns("", "sun")[1:]], "the content of a turn is None"),
        ([{"role": "user", "content": ["a"]}, *turns("", "sun")[1:]], r"is ['a']"),
        (turns("where?", "<boxes>"), "1 <boxes> marks for 0 entries of boxes"),
        (turns("where?", "here", boxes={1: [[LEFT]]}), "0 <boxes> marks for 1 entries"),
        (turns("where?", "<boxes> <boxes>", boxes={1: [[LEFT]]}), "2 <boxes> marks for 1"),
        (turns("where?", "<boxes>", boxes={1: "here"}), "the boxes of a turn are 'here'"),
        (turns("where?", "<boxes>", boxes={1: {"a": 1}}), "the boxes of a turn are"),
        (turns("where?", "<boxes>", boxes={1: [7]}), "the boxes of a turn are [7]"),
        (turns("<image> <image>", "two"), "2 <image> marks for 1 images"),
    ],
)
def test_conversations_that_are_none(said: Any, detail: str) -> None:
    reason, found = skipped("dialogue", example("a caption", {"conversations": said}))
    assert reason == SkipReason.BAD_CONVERSATION
    assert detail in found


@pytest.mark.parametrize("box", [7, "box", None, {"a": 1}, LEFT[:3], [*LEFT[:3], float("nan")]])
def test_boxes_of_a_conversation_are_four_numbers(box: Any) -> None:
    given = dialogue("where?", "<boxes>", boxes={1: [[LEFT, box]]})
    assert skipped("dialogue", given)[0] == SkipReason.BAD_BOXES


def document(*items: Any, images: int = 2) -> Example:
    return example("all text", {"items": list(items)}, images=images)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([{"text": "one"}], "{one|}"),
        ([{"image": 1}, {"text": "one"}, {"image": 0}, {"text": "two"}], "<1>{one}<0>{two|}"),
        ([{"text": "one"}, {"text": "two"}], "{one}{two|}"),
        # What follows the last text is never seen by a target.
        ([{"text": "one"}, {"image": 0}, {"image": 1}], "{one|}"),
        ([{"text": "one"}, {"image": 0}, {"text": " "}, {"image": 1}], "{one|}"),
        ([{"image": 0}, {"image": 0}, {"text": "an <image>"}], "<0><0>{an <image>|}"),
    ],
)
def test_documents_keep_their_order_and_all_text_is_a_target(
    items: list[Any], expected: str
) -> None:
    assert told("document", document(*items)) == expected


@pytest.mark.parametrize(
    ("item", "detail"),
    [
        ({"image": 2}, "item {'image': 2}"),
        ({"image": -1}, "item {'image': -1}"),
        ({"image": "0"}, "item {'image': '0'}"),
        ({"image": 0.0}, "item"),
        ({"text": None}, "item {'text': None}"),
        ({}, "item {}"),
        ("text", "item 'text'"),
        (None, "item None"),
    ],
)
def test_documents_with_an_item_that_is_none(item: Any, detail: str) -> None:
    reason, found = skipped("document", document({"text": "one"}, item, {"text": "two"}))
    assert reason == SkipReason.BAD_DOCUMENT
    assert detail in found


@pytest.mark.parametrize("items", ["text", 7, {"text": "one"}])
def test_documents_are_lists(items: Any) -> None:
    found = skipped("document", example("", {"items": items}))
    assert found == (SkipReason.BAD_DOCUMENT, f"items {items!r}")


@pytest.mark.parametrize(
    "items", [[], [{"image": 0}], [{"text": " "}], [{"image": 0}, {"text": ""}]]
)
def test_documents_without_text(items: list[Any]) -> None:
    assert skipped("document", document(*items))[0] == SkipReason.NO_TEXT


def test_a_text_is_a_target_from_its_first_token() -> None:
    assert told("text", example("so it was", images=0)) == "{so it was|}"


def test_choices_are_those_of_seed_epoch_and_key() -> None:
    def choices(**changes: Any) -> list[str]:
        keys = [f"{number:03d}" for number in range(40)]
        return [
            told(task, grounded(CAPTION, CHUNKS, **{"key": key, **changes}))
            for task in ("rec", "reg", "grounded_caption")
            for key in keys
        ]

    assert choices() == choices()
    others = [choices(seed=1), choices(epoch=1), choices(key="one")]
    assert all(each != choices() for each in others)
    assert len({*choices(key="one")}) == 3  # one of each task


def test_choices_of_one_sample_differ_over_epochs() -> None:
    found = {told("rec", grounded(CAPTION, CHUNKS, epoch=epoch)) for epoch in range(1000)}
    assert len(found) == 2 * len(WHERE)


def test_what_is_chosen_is_even() -> None:
    numbers = [example(key=f"{key}").choose("x", 4) for key in range(4000)]
    assert all(900 < numbers.count(each) < 1100 for each in range(4))


@pytest.mark.parametrize("images", [0, 1, 3])
def test_images_are_the_given_tensors(images: int) -> None:
    given = dialogue("why?", "sun", images=images)
    found: list[Tensor] = [
        segment.image for segment in tasks.make("dialogue", given) if isinstance(segment, Picture)
    ]
    assert all(one is other for one, other in zip(found, given.images, strict=True))


def test_boxes_in_pixels_are_named() -> None:
    given = grounded(CAPTION, [[*SQUARE, 0.0, 0.0, 64.0, 64.0, 0.9]])
    for task in ("rec", "reg", "grounded_caption"):
        reason, detail = skipped(task, given)
        assert reason == SkipReason.BAD_BOXES
        assert "but pixels?" in detail
    spoken = dialogue("where?", "<boxes>", boxes={1: [[[10, 20, 30, 40]]]})
    assert skipped("dialogue", spoken)[0] == SkipReason.BAD_BOXES


def test_a_box_that_reaches_over_the_border_is_cut() -> None:
    given = grounded(CAPTION, [[*SQUARE, -0.02, 0.2, 0.3, 1.04, 0.9]])
    assert told("rec", given).endswith("{[[000,200,300,999]]|}")


def test_a_flat_box_is_not_among_the_best() -> None:
    flat = [[*SQUARES, 0.1, 0.1, 0.1, number / 100, 0.99] for number in range(20, 30)]
    given = grounded(CAPTION, [*flat, [*SQUARES, *LEFT, 0.4]])
    assert told("rec", given).endswith(f"{{{LEFT_TEXT}|}}")


def test_a_caption_that_has_box_text_gets_none() -> None:
    given = grounded(f"a cat {LEFT_TEXT}", [[0, 5, *RIGHT, 0.9]])
    reason, detail = skipped("grounded_caption", given)
    assert reason == SkipReason.BAD_BOXES
    assert "double brackets of its own" in detail


@pytest.mark.parametrize("boxed", ["A man", "another man"])
@pytest.mark.parametrize("task", ["rec", "reg"])
@pytest.mark.parametrize("units", ["chunks", "expressions"])
def test_one_of_two_men_with_a_box_is_not_asked_for(task: str, boxed: str, units: str) -> None:
    (start, end), *_ = spans_in(LOOKING, boxed)
    row = [start, end, *LEFT, 0.9]
    said = spans_in(LOOKING, "A man", "another man")
    fields = {
        "noun_chunks": [row],
        "ref_exps": [row],
        "phrases": [{"start": start, "end": end, "head_lemma": "man"} for start, end in said],
    }
    given = example(LOOKING, fields, grounding_units=units)
    assert tasks.recs(given) == tasks.regs(given) == []
    assert tasks.gc_to_recs_and_regs(given) == ([], [])
    why = "anaphor" if boxed == "another man" else "same_head"
    assert skipped(task, given) == (SkipReason.NO_PHRASE, why)
    assert len(tasks.grounded_captions(given)) == 1
