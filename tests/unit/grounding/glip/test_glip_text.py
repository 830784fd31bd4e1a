"""Captions to word pieces, spans to tokens, and the files that are needed for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from grounding.glip.spans import WordPieces, find_vocabulary, read_word_pieces, tokens_of

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "container",
    "##number",
    "on",
    "the",
    "a",
    "dog",
    ",",
    ".",
    "cafe",
    "'",
    "s",
    "-",
    "red",
]


@pytest.fixture
def word_pieces(tmp_path: Path) -> WordPieces:
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(PIECES))
    return read_word_pieces(file, max_tokens=10)


@pytest.mark.parametrize(
    ("caption", "phrase", "pieces"),
    [
        ("containernumber on container", "containernumber", ["container", "##number"]),
        ("the dog, a dog.", "dog,", ["dog", ","]),
        ("the dog's container", "dog's", ["dog", "'", "s"]),
        ("a red-dog", "red-dog", ["red", "-", "dog"]),
        ("The Café", "The Café", ["the", "cafe"]),
        ("a 🐕 dog", "🐕 dog", ["[UNK]", "dog"]),
        ("a dog  on the", "a dog  ", ["a", "dog"]),
        ("a  dog", " dog", ["dog"]),
        ("a dog [SEP]", "a dog [SEP]", ["a", "dog", "[UNK]", "[UNK]", "[UNK]"]),
    ],
)
def test_a_span_is_its_tokens(
    word_pieces: WordPieces, caption: str, phrase: str, pieces: list[str]
) -> None:
    prompt = word_pieces(caption)
    start = caption.index(phrase)
    tokens = tokens_of(prompt.offsets, [(start, start + len(phrase))])
    assert [PIECES[prompt.ids[token]] for token in tokens] == pieces


def test_a_word_inside_another_is_not_mistaken_for_it(word_pieces: WordPieces) -> None:
    caption = "containernumber on container"
    offsets = word_pieces(caption).offsets
    assert tokens_of(offsets, [(19, 28)]) == [4]
    assert tokens_of(offsets, [(0, 15)]) == [1, 2]


def test_a_phrase_of_two_spans(word_pieces: WordPieces) -> None:
    offsets = word_pieces("the red dog on a container").offsets
    assert tokens_of(offsets, [(0, 3), (8, 11)]) == [1, 3]


def test_ends_are_looked_for_two_characters_inside() -> None:
    offsets = [(0, 0), (3, 6), (9, 12), (0, 0)]
    assert tokens_of(offsets, [(1, 14)]) == [1, 2]
    assert tokens_of(offsets, [(0, 14)]) == []
    assert tokens_of(offsets, [(1, 15)]) == []


def test_a_longer_caption_is_cut_and_what_is_beyond_has_no_tokens(word_pieces: WordPieces) -> None:
    caption = "dog " * 9
    prompt = word_pieces(caption)
    assert len(prompt.ids) == 10
    assert (prompt.ids[0], prompt.ids[-1]) == (2, 3)
    assert tokens_of(prompt.offsets, [(28, 31)]) == [8]
    assert tokens_of(prompt.offsets, [(28, 35)]) == []
    assert tokens_of(prompt.offsets, [(32, 35)]) == []


@pytest.mark.parametrize("caption", ["", " ", "🐕", "dog"])
def test_no_span_no_tokens(word_pieces: WordPieces, caption: str) -> None:
    prompt = word_pieces(caption)
    assert tokens_of(prompt.offsets, []) == []
    assert tokens_of(prompt.offsets, [(50, 60)]) == []


def test_both_files_say_the_same(word_pieces: WordPieces, tmp_path: Path) -> None:
    from tokenizers import BertWordPieceTokenizer

    file = tmp_path / "tokenizer.json"
    BertWordPieceTokenizer({piece: at for at, piece in enumerate(PIECES)}).save(str(file))
    caption = "The containernumber, a café's DOG."
    assert read_word_pieces(file, 10)(caption) == word_pieces(caption)


def test_the_vocabulary_beside_the_checkpoint_or_the_given_one(tmp_path: Path) -> None:
    checkpoint = tmp_path / "glip.pth"
    with pytest.raises(
        ValueError, match=r"bert-base-uncased.*vocab.txt or .*tokenizer.json.*vocab="
    ):
        find_vocabulary(checkpoint, None)
    beside, other = tmp_path / "vocab.txt", tmp_path / "other.txt"
    with pytest.raises(ValueError, match=r"other.txt"):
        find_vocabulary(checkpoint, other)
    beside.touch()
    other.touch()
    assert find_vocabulary(checkpoint, None) == beside
    assert find_vocabulary(checkpoint, str(other)) == other


def test_a_vocabulary_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "vocab.txt"
    file.write_text("<s>\n[UNK]\ndog")
    with pytest.raises(ValueError, match=r"vocab.txt has no word piece \[CLS\]"):
        read_word_pieces(file, 256)
