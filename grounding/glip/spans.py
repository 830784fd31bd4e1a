"""Captions to word pieces, and the tokens of a span of characters.

Goes in: a vocabulary, captions, spans in code points. Comes out: token ids, and the tokens that
stand for every span. Phrases are never searched by their text: "container" is also a part of
"containernumber".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from grounding.detector import Span

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_REACH = 2
"""How many characters further inside a span's end is looked for."""
_FILES = ("vocab.txt", "tokenizer.json")


@dataclass(frozen=True)
class Prompt:
    """A caption as the model reads it."""

    ids: list[int]  # with [CLS] and [SEP]
    offsets: list[Span]  # characters of each token; empty for the two special ones


class WordPieces:
    """The uncased word pieces of a vocabulary."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, source: str) -> None:
        """Take a tokenizer whose words, normalisation and splitting are those of BERT.

        Raises:
            ValueError: The vocabulary lacks [CLS] or [SEP].
        """
        self._tokenizer, self._max_tokens = tokenizer, max_tokens
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # a caption that says "[SEP]" says three words
        self._first, self._last = (_id(tokenizer, name, source) for name in ("[CLS]", "[SEP]"))
        self.pad_id = _id(tokenizer, "[PAD]", source)
        self.size: int = tokenizer.get_vocab_size()

    def __call__(self, caption: str) -> Prompt:
        """Split a caption; what is beyond the model's text is cut off."""
        encoded = self._tokenizer.encode(caption, add_special_tokens=False)
        room = self._max_tokens - 2
        return Prompt(
            [self._first, *encoded.ids[:room], self._last],
            [(0, 0), *encoded.offsets[:room], (0, 0)],
        )


def read_word_pieces(path: Path, max_tokens: int) -> WordPieces:
    """Read a `vocab.txt`, one piece per line, or a `tokenizer.json`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    if path.suffix == ".json":
        return WordPieces(Tokenizer.from_file(str(path)), max_tokens, str(path))
    pieces = path.read_text(encoding="utf-8").splitlines()
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return WordPieces(tokenizer, max_tokens, str(path))


def find_vocabulary(checkpoint: Path, given: str | Path | None) -> Path:
    """Return the vocabulary's file: the given one, or one beside the checkpoint.

    Raises:
        ValueError: There is none.
    """
    wanted = [Path(given)] if given is not None else [checkpoint.parent / name for name in _FILES]
    for path in wanted:
        if path.is_file():
            return path
    raise ValueError(
        f"{checkpoint} needs the word pieces of bert-base-uncased, and there is no "
        f"{' or '.join(map(str, wanted))}; put its vocab.txt there or give vocab=FILE"
    )


def tokens_of(offsets: Sequence[Span], spans: Sequence[Span]) -> list[int]:
    """Return the tokens of a phrase that consists of one or more spans.

    A span runs from the token of its first character, or of one of the two after it, to the token
    of its last, or of one of the two before it. Where an end has none, as beyond the text, the
    phrase has no tokens.
    """
    token_of = {at: token for token, span in enumerate(offsets) for at in range(*span)}
    tokens: set[int] = set()
    for start, end in spans:
        first = _nearest(token_of, range(start, start + _REACH + 1))
        last = _nearest(token_of, range(end - 1, end - _REACH - 2, -1))
        if first is None or last is None:
            return []
        tokens.update(range(first, last + 1))
    return sorted(tokens)


def _nearest(token_of: dict[int, int], places: range) -> int | None:
    return next((token_of[at] for at in places if at in token_of), None)


def _id(tokenizer: Tokenizer, piece: str, source: str) -> int:
    token_id: int | None = tokenizer.token_to_id(piece)
    if token_id is None:
        raise ValueError(f"{source} has no word piece {piece}: it is not a vocabulary of BERT")
    return token_id
