"""A small tokenizer for the demo, trained on its own captions: nothing is downloaded.

Its pieces are byte-level, so it can encode any text; digits are separate tokens, as box text needs
them. Ids 0, 1 and 2 are padding, BOS and EOS, as in the debug model.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

SPECIAL = ("<pad>", "<s>", "</s>")


def write(captions: Iterable[str], file: Path, *, vocab_size: int = 512) -> None:
    """Train a tokenizer and write its `tokenizer.json`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    file.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(file))
