"""A tokenizer from a local `tokenizer.json`; nothing is fetched.

No tokens are added for images or boxes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

FILE = "tokenizer.json"


class Tokenizer:
    """Text to ids and back, without special tokens of its own."""

    def __init__(self, path: Path | str) -> None:
        """Read a tokenizer.

        Args:
            path: The file, or a folder that holds `tokenizer.json`.

        Raises:
            ValueError: There is none, or it cannot be read.
        """
        import tokenizers

        file = Path(path) / FILE if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise ValueError(
                f"{file} does not exist; put the language model's {FILE} there (a tokenizer.model "
                f"becomes one with: python -m cogvlm.convert_tokenizer MODEL {file})"
            )
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises plain Exception
            raise ValueError(f"{file} is not a tokenizer: {error}") from error
        self.place = str(file)

    @property
    def vocab_size(self) -> int:
        """Number of ids, added tokens included."""
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Return the ids of a text alone: no BOS, no EOS.

        Args:
            text: Any text.
            special: Read names of special tokens as those tokens. Never with text from outside:
                a caption that says `</s>` would end the sequence.
        """
        self._tokenizer.encode_special_tokens = not special
        return self._tokenizer.encode(text, add_special_tokens=False).ids if text else []

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids, special tokens left out."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)


class Stream:
    """The text of tokens that come one by one, in pieces that never end inside a character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._told = ""

    def add(self, token: int) -> str:
        """Return what is new and complete after one more token."""
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids)
        if text.endswith("\ufffd"):
            return ""
        new, self._told = text[len(self._told) :], text
        return new
