"""Grounded captions, REC and REG: what is written can be read, and no way between loses a box."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cogvlm.data import tasks
from cogvlm.data.tasks import Example, Phrase, Rec, Reg, Skip
from cogvlm.data.tasks.spans import apart
from shards import boxtext

BINS = st.tuples(*[st.integers(0, 998)] * 4)
BOX = BINS.map(lambda bins: (*sorted(bins[:2]), *sorted(bins[2:]))).map(
    lambda each: (each[0] / 1000, each[2] / 1000, (each[1] + 1) / 1000, (each[3] + 1) / 1000)
)
BOXES = st.lists(BOX, min_size=1, max_size=tasks.MAX_BOXES)
WORDS = st.lists(
    st.sampled_from(["dog", "cat", "Man", "lamp", "狗", "é", "🐈"]), min_size=1, max_size=3
).map(" ".join)


def example(caption: str, rows: list[list[Any]]) -> Example:
    return Example("k", caption, [], {"noun_chunks": rows}, "base", 0, 0)


@st.composite
def grounded(draw: st.DrawFn, text: st.SearchStrategy[str]) -> tuple[str, list[list[Any]]]:
    """A caption and rows of boxes on any of its spans."""
    caption = draw(text)
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(caption) - 1))
        end = draw(st.integers(start + 1, len(caption)))
        boxes = draw(st.lists(BOX, min_size=1, max_size=3))
        rows += [[start, end, *box, draw(st.floats(0, 1))] for box in boxes]
    return caption, rows


@given(grounded(st.text("ab 狗.,;", min_size=1)))
def test_a_grounded_caption_without_its_boxes_is_the_caption(
    given: tuple[str, list[list[Any]]],
) -> None:
    caption, rows = given
    assume(caption.strip())
    (written,) = tasks.grounded_captions(example(caption, rows))
    assert tasks.without_boxes(written) == caption
    kept = apart(tasks.phrases({"noun_chunks": rows}, caption))
    boxes = [box for phrase in kept for box in phrase.boxes_xyxy]
    assert tasks.boxes_of(written) == (boxes, None)


@given(grounded(st.text("[] ,;a1", min_size=1)))
def test_a_caption_with_brackets_is_written_so_that_it_can_be_read_or_not_at_all(
    given: tuple[str, list[list[Any]]],
) -> None:
    caption, rows = given
    assume(caption.strip())
    given_example = example(caption, rows)
    text = tasks.with_boxes(caption, apart(tasks.phrases(given_example.fields, caption)))
    if tasks.without_boxes(text) == caption:
        assert tasks.grounded_captions(given_example) == [text]
        assert tasks.boxes_of(text)[1] is None
    else:
        with pytest.raises(Skip, match="double brackets"):
            tasks.grounded_captions(given_example)


@given(BOXES, WORDS, st.sampled_from(["", "a ", "the ", "two "]))
def test_conversions_keep_every_box(boxes: list[Any], words: str, article: str) -> None:
    caption = article + words
    phrase = Phrase(0, len(caption), tuple(boxes))
    rec, reg = tasks.rec_of(caption, phrase), tasks.reg_of(caption, phrase)
    for each in (rec, reg, tasks.rec_to_reg(rec), tasks.reg_to_rec(reg)):
        assert boxtext.decode(each.boxes) == boxes


@given(WORDS, st.sampled_from(["a ", "the ", ""]))
def test_swapping_twice_changes_a_capital_at_most(words: str, article: str) -> None:
    rec = tasks.rec_of(article + words, Phrase(0, len(article + words), ((0.1, 0.1, 0.2, 0.2),)))
    back = tasks.reg_to_rec(tasks.rec_to_reg(rec))
    assert back.expression.lower() == rec.expression.lower()
    assert back == rec or not article
    assert tasks.rec_to_reg(back) == tasks.rec_to_reg(rec)


@pytest.mark.parametrize(
    ("rec", "reg", "back"),
    [
        ("the dog", "The dog.", "the dog"),
        ("apples", "Apples.", "Apples"),  # for all we know, a name
        ("the U.S. flag", "The U.S. flag.", "the U.S. flag"),
        ("the U.S.", "The U.S.", "the U.S."),
        ("theatres", "Theatres.", "Theatres"),
        ("左边的狗", "左边的狗.", "左边的狗"),
    ],
)
def test_swaps(rec: str, reg: str, back: str) -> None:
    assert tasks.rec_to_reg(Rec(rec, "[[000,000,100,100]]")).description == reg
    assert tasks.reg_to_rec(Reg("[[000,000,100,100]]", reg)).expression == back


def test_a_description_becomes_an_expression() -> None:
    reg = Reg("[[000,000,100,100]]", "An owl on a branch.")
    assert tasks.reg_to_rec(reg) == Rec("the owl on a branch", reg.boxes)


def test_all_that_a_grounded_caption_gives() -> None:
    left, right = [0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.6, 0.7]
    given = example("a dog near a lamp", [[0, 5, *left, 0.9], [11, 17, *right, 0.8]])
    left_text, right_text = "[[100,200,300,400]]", "[[500,500,600,700]]"
    assert tasks.gc_to_recs_and_regs(given) == (
        [Rec("the dog", left_text), Rec("the lamp", right_text)],
        [Reg(left_text, "A dog."), Reg(right_text, "A lamp.")],
    )


@pytest.mark.parametrize(
    ("text", "boxes", "reason"),
    [
        ("here: [[100,200,300,400]].", [(0.1, 0.2, 0.3, 0.4)], None),
        ("[[ 100, 200, 300, 400 ]]", [(0.1, 0.2, 0.3, 0.4)], None),
        ("[[000,000,100,100]] or [[100,200,300,400", [], "malformed_box_text"),
        ("[[10,20,30,40]]", [], "malformed_box_text"),
        ("[[300,200,100,400]]", [], "malformed_box_text"),
        ("[100,200,300,400]", [], "no_box_text"),
        ("Not in the image.", [], "no_box_text"),
        ("", [], "no_box_text"),
    ],
)
def test_boxes_of_an_answer(text: str, boxes: list[Any], reason: str | None) -> None:
    assert tasks.boxes_of(text) == (boxes, reason)


def greedy(found: list[Phrase]) -> list[Phrase]:
    """The rule word for word: most boxes, then the longer phrase, then the earlier one."""
    left, taken = list(found), []
    while left:
        most = max(len(each.boxes_xyxy) for each in left)
        left_most = [each for each in left if len(each.boxes_xyxy) == most]
        longest = max(each.end - each.start for each in left_most)
        best = min(
            (each for each in left_most if each.end - each.start == longest),
            key=lambda each: each.start,
        )
        taken.append(best)
        left = [each for each in left if each.end <= best.start or best.end <= each.start]
    return sorted(taken, key=lambda each: each.start)


@given(grounded(st.just("a red square beside a blue circle")))
def test_the_writer_is_greedy(given: tuple[str, list[list[Any]]]) -> None:
    found = tasks.phrases({"noun_chunks": given[1]}, given[0])
    assert apart(found) == greedy(found)


@given(grounded(st.just("a red square beside a blue circle")))
def test_expressions_lie_in_no_other_and_cover_all(given: tuple[str, list[list[Any]]]) -> None:
    fields = {"ref_exps": given[1]}
    found = tasks.phrases(fields, given[0], "expressions")
    every = tasks.phrases({"noun_chunks": given[1]}, given[0])
    for each in every:
        outer = [one for one in found if one.start <= each.start and each.end <= one.end]
        assert outer and (each in outer) == (len(outer) == 1 and outer[0] == each)
    assert all(each in every for each in found)
