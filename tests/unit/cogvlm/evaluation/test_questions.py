"""What is asked of stored samples, in which words, and what gives no question."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.shards.toy_shards import (
    ToySample,
    captioned,
    dialogues,
    documents,
    grounded,
    write_run,
)

from cogvlm.data import tasks
from cogvlm.evaluation.entries import Entry, parse
from cogvlm.evaluation.pictures import Own, Shots, Shuffled, shuffled_samples
from cogvlm.evaluation.questions import Asked, Maker, ask
from shards import SampleReader, boxtext, open_dataset

PICTURE = captioned(1)[0].images


def asked(folder: Path, samples: list[ToySample], level: str, task: str, **options) -> Asked:
    return ask(open_dataset(write_run(folder, samples, level=level)), task, **options)


def talk(*turns: dict, images=PICTURE, **fields) -> ToySample:
    roles = ["user", "assistant"] * len(turns)
    said = [{"role": role, **turn} for role, turn in zip(roles, turns, strict=False)]
    return ToySample("words", images, {"conversations": said, **fields})


def grounded_as(caption: str, *phrases: str) -> ToySample:
    rows = [
        [caption.index(each), caption.index(each) + len(each), 0.1 * at, 0.1, 0.5, 0.6, 0.9]
        for at, each in enumerate(phrases)
    ]
    return ToySample(caption, PICTURE, {"noun_chunks": rows, "ref_exps": rows}, (64, 64))


def test_entries() -> None:
    assert parse("rec=a/b@c, perplexity_rec=gs://x/y") == [
        Entry("rec", "a/b@c"),
        Entry("perplexity_rec", "gs://x/y"),
    ]
    for wrong, told in {"": "task=RUN", "a/b": "task=RUN", "reg=x": "unknown task 'reg'"}.items():
        with pytest.raises(ValueError, match=told):
            parse(wrong)


def test_rec_asks_for_one_phrase_or_all(tmp_path: Path) -> None:
    sample = grounded_as("a red cat near the dog", "a red cat", "the dog")
    (one,) = asked(tmp_path / "a", [sample], "grounded", "rec").questions
    both = asked(tmp_path / "a", [sample], "grounded", "rec", all_phrases=True).questions
    assert [each.text for each in both] == ["Where is the red cat?", "Where is the dog?"]
    assert one in both
    assert [each.truth for each in both] == [boxtext.encode(each.boxes_xyxy) for each in both]


def test_an_expression_of_a_benchmark_is_asked_whatever_the_rules_say(tmp_path: Path) -> None:
    # "the other man" is an anaphor within a caption; as a whole caption somebody asked for it.
    sample = grounded_as("the other man", "the other man")
    (question,) = asked(tmp_path / "a", [sample], "grounded", "rec").questions
    assert question.text == "Where is the other man?"
    sample = grounded_as("a cat and the other man", "the other man")
    with pytest.raises(ValueError, match=r"no sample gives a question for rec \(no_phrase 1\)"):
        asked(tmp_path / "b", [sample], "grounded", "rec")


def test_prompts_follow_the_settings_of_the_training(tmp_path: Path) -> None:
    options = tasks.TaskOptions(task_prefix=True, caption_requests=True)
    samples = [grounded_as("a cat", "a cat")]
    (rec,) = asked(tmp_path / "a", samples, "grounded", "rec", options=options).questions
    assert rec.text == "rec: Where is the cat?"
    (caption,) = asked(tmp_path / "a", samples, "grounded", "caption", options=options).questions
    assert caption.text == f"caption: {tasks.pool('caption')[0]}"
    (plain,) = asked(tmp_path / "a", samples, "grounded", "caption").questions
    assert plain.text == ""


def test_captions_of_one_image_are_references_of_one_question(tmp_path: Path) -> None:
    first, second = captioned(2)
    same = replace(first, caption="another way to say it")
    by_sha = asked(tmp_path / "a", [first, same, second], "image_text", "caption", limit=2)
    assert sorted(len(each.references) for each in by_sha.questions) == [1, 2]
    by_id = [replace(each, fields={"image_id": 7}) for each in (first, second)]
    (question,) = asked(tmp_path / "b", by_id, "image_text", "caption").questions
    assert {*question.references} == {first.caption, second.caption}


def test_every_question_of_a_conversation_is_asked_alone(tmp_path: Path) -> None:
    sample = talk(
        {"content": "<image>\nWhat is it?"},
        {"content": "a cat", "answers": [{"answer": "cat"}, {"answer": "kitten"}]},
        {"content": "Where?"},
        {"content": "<boxes>", "boxes": [[[0.1, 0.1, 0.5, 0.5]]]},
    )
    what, where = asked(tmp_path / "a", [sample], "dialogue", "vqa").questions
    assert (what.text, what.references) == ("<image>\nWhat is it?", ("cat", "kitten"))
    assert (where.text, where.truth) == ("Where?", "[[100,100,500,500]]")


def test_grounded_questions_ask_for_boxes(tmp_path: Path) -> None:
    boxes = [[[0.1, 0.1, 0.54321, 0.5], [0, 0, 1, 1]], [[0.5, 0.5, 1, 1]]]
    samples = [
        talk({"content": "Which cup?"}, {"content": "<boxes>", "boxes": boxes[:1]}),
        talk({"content": "Who holds what?"}, {"content": "He <boxes> it <boxes>", "boxes": boxes}),
        talk({"content": "Which door?"}, {"content": "It is [[100, 200, 300, 400]]."}),
        talk({"content": "What colour?"}, {"content": "red"}),
        talk({"content": "Which hat?"}, {"content": "[[1,2]]"}),
    ]
    found = asked(tmp_path / "a", samples, "dialogue", "grounded_vqa")
    wording = tasks.pool("grounded_vqa")[0]
    stored = tuple(map(tuple, boxes[0]))
    assert {each.text: each.boxes_xyxy for each in found.questions} == {
        wording.format(question="Which cup?"): stored,
        wording.format(question="Who holds what?"): stored,
        wording.format(question="Which door?"): ((0.1, 0.2, 0.3, 0.4),),
    }
    assert found.skipped == Counter({"answer_has_no_box": 2})


def test_choices(tmp_path: Path) -> None:
    asks = {"content": "Which?", "choices": ["a dog", "a cat"]}
    samples = [
        talk(asks, {"content": "a cat"}),
        talk({"content": "Which one?"}, {"content": "A"}, choices=["x", "y"]),
        talk({"content": "None?"}, {"content": "A"}),
        talk(asks, {"content": "a bird"}),
        talk({"content": "Whose?"}, {"content": "A"}, choices=["B", "A"]),
    ]
    found = asked(tmp_path / "a", samples, "dialogue", "choice")
    first = next(each for each in found.questions if each.text.startswith("Which?"))
    assert first.text.startswith("Which?\nA. a dog\nB. a cat\nAnswer with")
    letters = {each.text.split("?")[0]: each.truth for each in found.questions}
    assert letters == {"Which": "B", "Which one": "A", "Whose": "B"}
    assert found.skipped == Counter({"no_choices": 1, "answer_is_no_choice": 1})
    alone = asked(tmp_path / "a", samples, "dialogue", "choice_likelihood").questions
    assert {each.text for each in alone} == {"Which?", "Which one?", "Whose?"}


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([{"content": "x"}], "bad_conversation"),
        ([{"content": "x"}, {"content": " "}], "bad_conversation"),
        ([{"content": "x"}, {"content": 3}], "bad_conversation"),
        ([{"content": "x"}, {"content": "<boxes>"}], "bad_conversation"),
        ([{"content": "x"}, {"content": "maybe"}], "answer_is_not_yes_or_no"),
        ([{"content": "x", "role": "assistant"}, {"content": "yes"}], "bad_conversation"),
    ],
)
def test_conversations_that_give_nothing(tmp_path: Path, turns, reason) -> None:
    good = talk({"content": "Is it?"}, {"content": "Yes."})
    found = asked(tmp_path / "a", [good, talk(*turns)], "dialogue", "yes_no")
    assert len(found.questions) == 1
    assert found.skipped == Counter({reason: 1})


def test_levels_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds document samples, but rec needs grounded"):
        asked(tmp_path / "a", documents(2), "document", "rec")


def test_shuffled_images_are_of_another_sample(tmp_path: Path) -> None:
    dataset = open_dataset(write_run(tmp_path / "a", dialogues(8), level="dialogue"))
    questions = ask(dataset, "vqa").questions
    reader = SampleReader(dataset)
    own, other = Own(reader), Shuffled(reader, questions)
    for question in questions:
        assert other.of(question) != own.of(question)
        assert len(other.of(question)) == len(own.of(question))
    places = [(shard, row) for shard, rows in enumerate(dataset.counts) for row in range(rows)]
    for place, raw in zip(places, shuffled_samples(reader, places), strict=True):
        assert raw.key == reader.read(*place).key
        assert raw.images != reader.read(*place).images


def test_shuffling_needs_another_image(tmp_path: Path) -> None:
    one = captioned(1)[0]
    samples = [one, replace(one, caption="the same again")]
    dataset = open_dataset(write_run(tmp_path / "a", samples))
    questions = ask(dataset, "caption").questions
    with pytest.raises(ValueError, match="no other evaluated sample has 1 other image"):
        Shuffled(SampleReader(dataset), questions).of(questions[0])


def test_shots_are_others_and_the_same_every_time(tmp_path: Path) -> None:
    dataset = open_dataset(write_run(tmp_path / "a", grounded(9), level="grounded"))
    reader = SampleReader(dataset)
    draws = []
    for _ in range(2):
        shots = Shots(dataset, Maker("rec"), 3)
        for question in ask(dataset, "rec").questions:
            images = reader.read(*question.place).images
            drawn = shots.of(question, images)
            assert len({shot.key for shot, _ in drawn} - {question.key}) == 3
            assert all(pictures != images for _, pictures in drawn)
            draws.append([shot.key for shot, _ in drawn])
    assert draws[: len(draws) // 2] == draws[len(draws) // 2 :]
    with pytest.raises(ValueError, match=r"--shots 9: .* gave \d examples"):
        Shots(dataset, Maker("rec"), 9).of(ask(dataset, "rec").questions[0], ())


def test_damaged_json_is_counted(tmp_path: Path) -> None:
    broken = ToySample("x", PICTURE, {"noun_chunks": "none"}, (64, 64))
    found = asked(tmp_path / "a", [*grounded(2), broken], "grounded", "grounded_caption")
    assert found.skipped == Counter({"bad_boxes": 1})
    assert json.dumps([each.phrases for each in found.questions])
