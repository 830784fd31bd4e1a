"""A byte-level BPE tokenizer made on the spot: any text goes in and comes back, ids fit `debug`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from cogvlm.data.tokenizer import FILE

PAD, BOS, EOS = "<unk>", "<s>", "</s>"  # ids 0, 1, 2, as LLaMA has them
# Longer tokens, so that the ids of a text depend on what it is tokenized together with.
_MERGES = (("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "a"), ("a", "n"), ("i", "n"), ("Ġa", "n"))
_MERGES += (("Ġ", "o"), ("Ġo", "n"), ("e", "r"), ("r", "e"), ("c", "l"), ("cl", "e"))


def write(folder: Path) -> Path:
    """Write `tokenizer.json` into a folder, which is created, and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    file.write_text(_made(), encoding="utf-8")
    return file


@cache
def _made() -> str:
    letters = [PAD, BOS, EOS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words = dict.fromkeys([*letters, *("".join(pair) for pair in _MERGES)])
    vocabulary = {word: number for number, word in enumerate(words)}
    made = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[*_MERGES]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([PAD, BOS, EOS])
    return str(made.to_str())
