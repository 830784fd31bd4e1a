"""`python -m cogvlm.convert_tokenizer MODEL OUTPUT`: `tokenizer.model` to `tokenizer.json`.

Official CogVLM folders hold no tokenizer, and Vicuna's holds a sentencepiece model only. Here it
is read without that library, whose protobuf does not go together with Beam's: the file is a list
of pieces with scores, and the merges of a byte-pair model follow from them.
"""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shards.commandline import run, say

_PIECES, _TRAINER = 1, 2  # fields of the model message
_TEXT, _SCORE, _KIND = 1, 2, 3  # fields of a piece
_MODEL_TYPE, _BPE = 3, 2  # of the trainer message
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4


def main(arguments: list[str] | None = None) -> int:
    """Convert a file; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cogvlm.convert_tokenizer", description=__doc__)
    parser.add_argument("model", type=Path, help="tokenizer.model")
    parser.add_argument("output", type=Path, help="tokenizer.json to write")
    options = parser.parse_args(arguments)
    return run(lambda: _convert(options.model, options.output))


def _convert(model: Path, output: Path) -> None:
    if not model.is_file():
        raise ValueError(f"{model} does not exist")
    if output.exists():
        raise ValueError(f"{output} exists; give another file")
    tokenizer = build(read_pieces(model))
    tokenizer.save(str(output))
    say(f"wrote {output}: {tokenizer.get_vocab_size():,} tokens")


def read_pieces(model: Path) -> list[tuple[str, float, int]]:
    """Return (piece, score, kind) of every id of a sentencepiece byte-pair model.

    Raises:
        ValueError: The file is no such model.
    """
    pieces, kind_of_model = [], None
    try:
        for field, value in _fields(model.read_bytes()):
            if field == _PIECES:
                parts = dict(_fields(value))
                score = struct.unpack("<f", parts.get(_SCORE, b"\0\0\0\0"))[0]
                pieces.append((parts[_TEXT].decode(), score, parts.get(_KIND, _NORMAL)))
            elif field == _TRAINER:
                kind_of_model = dict(_fields(value)).get(_MODEL_TYPE)
    except (IndexError, KeyError, TypeError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f"{model} is not a sentencepiece model") from error
    if not pieces or kind_of_model != _BPE:
        raise ValueError(f"{model} is not a byte-pair sentencepiece model, as Llama 1 and 2 have")
    return pieces


def build(pieces: list[tuple[str, float, int]]) -> Any:
    """Return the tokenizer of a model's pieces, as Llama normalises and decodes text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    vocabulary = {piece: number for number, (piece, _, _) in enumerate(pieces)}
    unknown = next(piece for piece, _, kind in pieces if kind == _UNKNOWN)
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary, _merges(pieces), unk_token=unknown, fuse_unk=True, byte_fallback=True
        )
    )
    special = (_UNKNOWN, _CONTROL)
    tokenizer.add_special_tokens(
        [AddedToken(piece, normalized=False) for piece, _, kind in pieces if kind in special]
    )
    tokenizer.add_tokens(
        [AddedToken(piece, normalized=False) for piece, _, kind in pieces if kind == _USER_DEFINED]
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def _merges(pieces: list[tuple[str, float, int]]) -> list[tuple[str, str]]:
    """Return every split of a piece into two pieces, by the result's score, then by ids."""
    ids = {piece: number for number, (piece, _, _) in enumerate(pieces)}
    merges = [
        (-score, number, ids[piece[:at]], ids[piece[at:]])
        for number, (piece, score, _) in enumerate(pieces)
        for at in range(1, len(piece))
        if piece[:at] in ids and piece[at:] in ids
    ]
    return [(pieces[left][0], pieces[right][0]) for _, _, left, right in sorted(merges)]


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (field number, value) of a protobuf message: varints, 4 or 8 bytes, or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield field, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if size is None:
            if kind != 2:
                raise IndexError(f"wire type {kind}")
            size, at = _varint(message, at)
        if at + size > len(message):
            raise IndexError("cut off")
        yield field, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


if __name__ == "__main__":
    sys.exit(main())
