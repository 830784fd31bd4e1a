"""What a GLIP detector is made of: a model with its vocabulary, from files or from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from grounding.glip import load
from grounding.glip.config import GlipConfig
from grounding.glip.model import Glip
from grounding.glip.spans import WordPieces, find_vocabulary, read_word_pieces


@dataclass(frozen=True)
class Source:
    """A model in float32 with its vocabulary."""

    model: Glip
    word_pieces: WordPieces
    digest: Callable[[], str] = str  # of weights and vocabulary, for the fingerprint


def read(
    path: Path, vocab: str | Path | None = None, variant: GlipConfig | str | None = None
) -> Source:
    """Read a checkpoint and its vocabulary; the arguments are those of `GlipDetector`."""
    words = find_vocabulary(path, vocab)
    model = load.load(path, variant)
    word_pieces = read_word_pieces(words, model.config.max_tokens)
    return Source(model, word_pieces, lambda: _sha256(path, words))


def _sha256(*paths: Path) -> str:
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return " ".join(digests)
