"""A sentencepiece model becomes the same tokenizer that its makers publish."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from helpers.shared_data import shared_data

from cogvlm import convert_tokenizer


@pytest.fixture(scope="module")
def llama_like() -> Path:
    data = shared_data()
    if data is None:
        pytest.skip("no shared data: needs a real tokenizer.model")
    return data / "tokenizers" / "mistral-v1"


def test_it_is_the_published_one(llama_like: Path, tmp_path: Path) -> None:
    made = tmp_path / "tokenizer.json"
    assert convert_tokenizer.main([str(llama_like / "tokenizer.model"), str(made)]) == 0
    ours, theirs = (
        json.loads(tokenizers.Tokenizer.from_file(str(file)).to_str())
        for file in (made, llama_like / "tokenizer.json")
    )
    for told in (ours, theirs):
        del told["post_processor"]  # adds BOS; we never ask for it
        del told["model"]["unk_token"]  # never reached: unknown characters become bytes
    assert ours == theirs


def message(*fields: tuple[int, bytes | int]) -> bytes:
    """Encode protobuf fields: bytes as such, numbers as varints below 128."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += bytes([number << 3, value])
        else:
            out += bytes([number << 3 | 2, len(value)]) + value
    return out


def model_of(*pieces: tuple[str, int], kind: int = 2) -> bytes:
    told = [(1, message((1, piece.encode()), (3, number))) for piece, number in pieces]
    return message(*told, (2, message((3, kind))))


def test_a_small_model(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.model"
    file.write_bytes(model_of(("<unk>", 2), ("<s>", 3), ("▁", 1), ("a", 1), ("▁a", 1), ("b", 1)))
    made = convert_tokenizer.build(convert_tokenizer.read_pieces(file))
    assert made.encode("a b", add_special_tokens=False).tokens == ["▁a", "▁", "b"]
    assert made.decode([4, 2, 5]) == "a b"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"hello", "is not a sentencepiece model"),
        (b"", "is not a byte-pair sentencepiece model"),
        (model_of(("<unk>", 2), kind=1), "is not a byte-pair sentencepiece model"),
        (model_of(("<unk>", 2))[:5], "is not a sentencepiece model"),
    ],
)
def test_other_files(
    tmp_path: Path, content: bytes, told: str, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "tokenizer.model"
    file.write_bytes(content)
    assert convert_tokenizer.main([str(file), str(tmp_path / "out.json")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
