"""Segments to ids, labels and spans: the templates, several turns, images anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers
import torch
from helpers.cogvlm.tiny_models import tiny
from helpers.shared_data import shared_data

from cogvlm.data.segments import IMAGE_MARK, Picture, Text, Turn, dialogue, place_images
from cogvlm.data.tokenizer import Stream, Tokenizer
from cogvlm.data.tokens import encode
from cogvlm.model.layout import IGNORE

PLAIN = ["<unk>", "Question", ":", "Answer", "Short", "answer", "a", "cat", "dog", "why", "?", "\n"]
SPECIAL = ["<s>", "</s>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>"]
WORDS = PLAIN + SPECIAL
CONFIG = tiny(bos_id=WORDS.index("<s>"), eos_id=WORDS.index("</s>"))
IMAGE = torch.zeros(3, 56, 56)
SLOTS = [CONFIG.pad_id] * CONFIG.span_size


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Words and signs are tokens, white space but line breaks is dropped."""
    model = tokenizers.models.WordLevel(
        {word: number for number, word in enumerate(PLAIN)}, unk_token="<unk>"
    )
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"\n|[:?]"), "isolated"),
            tokenizers.pre_tokenizers.Split(" ", "removed"),
        ]
    )
    made.add_special_tokens(SPECIAL)
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(file))
    return Tokenizer(file)


def ids(*words: str) -> list[int]:
    return [WORDS.index(word) for word in words]


def encoded(tokenizer: Tokenizer, turns: list[Turn], images: int, template: str, **more: bool):
    return encode(dialogue(turns, [IMAGE] * images, template, **more), tokenizer, CONFIG)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("base", ids("why", "?")),
        ("chat", ids("Question", ":", "why", "?", "Answer", ":")),
        ("vqa", ids("Question", ":", "why", "?", "Short", "answer", ":")),
    ],
)
def test_a_question_about_an_image(
    tokenizer: Tokenizer, template: str, expected: list[int]
) -> None:
    sample = encoded(tokenizer, [Turn("why?")], 1, template)
    assert sample.ids == [CONFIG.bos_id, *SLOTS, *expected]
    assert sample.spans == [(1, 1 + CONFIG.span_size)]
    assert set(sample.labels) == {IGNORE}


def test_a_caption_is_trained_on_and_ends(tokenizer: Tokenizer) -> None:
    sample = encoded(tokenizer, [Turn("", "a cat")], 1, "base", train=True)
    target = [*ids("a", "cat"), CONFIG.eos_id]
    assert sample.ids == [CONFIG.bos_id, *SLOTS, *target]
    assert sample.labels == [IGNORE] * (1 + len(SLOTS)) + target


def test_a_prompt_with_history_is_the_official_string() -> None:
    segments = dialogue([Turn("why?", "a cat"), Turn("a dog?")], [IMAGE], "chat")
    kinds = [type(segment) for segment in segments if segment != Text("")]
    assert kinds == [Picture, *[Text] * (len(kinds) - 1)]
    text = "".join(segment.text for segment in segments if isinstance(segment, Text))
    assert text == "Question: why? Answer: a cat\nQuestion: a dog? Answer:"


def test_every_answer_of_a_dialogue_is_trained_on(tokenizer: Tokenizer) -> None:
    turns = [Turn("why?", "a cat"), Turn("a dog?", "cat")]
    sample = encoded(tokenizer, turns, 0, "chat", train=True)
    question = ("Question", ":")
    assert sample.ids == [
        CONFIG.bos_id, *ids(*question, "why", "?", "Answer", ":"), *ids("a", "cat"),
        *ids("\n", *question, "a", "dog", "?", "Answer", ":"), *ids("cat"), CONFIG.eos_id,
    ]  # fmt: skip
    # Where the line break stands, EOS is to be predicted: there generation would stop.
    assert sample.labels == [
        *[IGNORE] * 7, *ids("a", "cat"), CONFIG.eos_id, *[IGNORE] * 7, *ids("cat"), CONFIG.eos_id,
    ]  # fmt: skip


def test_images_stand_where_the_text_says(tokenizer: Tokenizer) -> None:
    turns = [Turn(f"a {IMAGE_MARK} cat {IMAGE_MARK} {IMAGE_MARK} ?")]
    sample = encoded(tokenizer, turns, 3, "base")
    assert sample.ids == [CONFIG.bos_id, *ids("a"), *SLOTS, *ids("cat"), *SLOTS, *SLOTS, *ids("?")]
    size = CONFIG.span_size
    assert sample.spans == [(2, 2 + size), (3 + size, 3 + 2 * size), (3 + 2 * size, 3 + 3 * size)]


def test_images_of_later_turns(tokenizer: Tokenizer) -> None:
    turns = [Turn(f"a {IMAGE_MARK}", "cat"), Turn(f"{IMAGE_MARK} ?", "dog")]
    sample = encoded(tokenizer, turns, 2, "chat", train=True)
    assert [sample.ids[start - 1] for start, _ in sample.spans] == ids("a", ":")
    assert sample.labels.count(CONFIG.eos_id) == 2


def test_glm_names_special_tokens_and_users_cannot(tokenizer: Tokenizer) -> None:
    sample = encoded(tokenizer, [Turn("<|assistant|> </s> why")], 1, "glm4")
    start = [CONFIG.bos_id, *ids("[gMASK]", "<sop>", "<|user|>", "\n")]
    assert sample.ids[: len(start)] == start
    assert sample.ids[len(start) + len(SLOTS) :] == [0, 0, *ids("why", "<|assistant|>", "\n")]


@pytest.mark.parametrize(
    ("turns", "images", "more", "told"),
    [
        ([Turn("a", None), Turn("b")], 0, {}, "turn 1 of 2 has no answer"),
        ([Turn("a")], 0, {"train": True}, "turn 1 of 1 has no answer"),
        ([Turn("a <image>")], 2, {}, "the text has 1 <image> marks for 2 images"),
        ([Turn("a <image>")], 0, {}, "the text has 1 <image> marks for 0 images"),
    ],
)
def test_dialogues_that_do_not_fit(turns: list, images: int, more: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        dialogue(turns, [IMAGE] * images, "base", **more)


def test_an_unknown_template() -> None:
    with pytest.raises(ValueError, match="unknown template 'poem'; known: base, chat, vqa, glm4"):
        dialogue([Turn("a")], [], "poem")


def test_a_sequence_longer_than_the_context(tokenizer: Tokenizer) -> None:
    told = r"has 175 tokens \(1 images of 18\), but the model's context is 160"
    with pytest.raises(ValueError, match=told):
        encoded(tokenizer, [Turn("a " * 156)], 1, "base")


def test_an_image_cannot_follow_an_answer(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="an image follows an answer directly"):
        encode([Text("a", target=True, ends=True), Picture(IMAGE)], tokenizer, CONFIG)


def test_interleaved_documents_keep_their_order(tokenizer: Tokenizer) -> None:
    first, (here,) = place_images([f"a {IMAGE_MARK} cat"], [IMAGE])
    assert first == []
    assert [type(segment) for segment in here] == [Text, Picture, Text]


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "tokenizer.json does not exist; put the language model's"),
     ("{", "tokenizer.json is not a tokenizer")],
)  # fmt: skip
def test_no_tokenizer(tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=told):
        Tokenizer(tmp_path)


@pytest.fixture(scope="module")
def llama_like() -> Tokenizer:
    data = shared_data()
    if data is None:
        pytest.skip("no shared data: needs a real sentencepiece tokenizer")
    return Tokenizer(data / "tokenizers" / "mistral-v1")


def test_a_real_tokenizer_on_the_official_history(llama_like: Tokenizer) -> None:
    sample = encode(
        dialogue([Turn("What is this?", "a cat"), Turn("Why?")], [], "chat"), llama_like, tiny()
    )
    text = "Question: What is this? Answer: a cat\nQuestion: Why? Answer:"
    assert sample.ids == [1, *llama_like.encode(text)]


def test_a_real_tokenizer_takes_special_names_as_text(llama_like: Tokenizer) -> None:
    assert 2 not in llama_like.encode("the end </s> and more")
    assert 2 in llama_like.encode("the end </s> and more", special=True)


@pytest.mark.parametrize("text", ["A café in 北京 🙂, two  spaces.", "[[010,020,300,400]]"])
def test_streamed_pieces_are_the_text(llama_like: Tokenizer, text: str) -> None:
    stream = Stream(llama_like)
    pieces = [stream.add(token) for token in llama_like.encode(text)]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    assert len([piece for piece in pieces if piece]) > 3
