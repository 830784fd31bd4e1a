"""Shard sets and a tokenizer for the trainer's benchmarks, from seeds, written by a child process.

    python -m benchmarks.training_data OUT photos|scenes COUNT SHARD_SIZE

OUT becomes a run with a tokenizer.json beside its manifest. `photos` are those of
`benchmarks.pictures`, stored as `--store stage2` stores them (short side at most 512, quality 90),
with alt texts like LAION's; their tokenizer is a BPE trained on such texts, of a size that gives 16
tokens per caption (58 characters) on average. `scenes` are the coloured shapes of the tests,
64 px, with the tests' tokenizer.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measure import run
from cogvlm.data.tokenizer import FILE

if TYPE_CHECKING:
    from helpers.shards.toy_shards import ToySample

_SEED = 11
_LEARNT_FROM, _VOCABULARY = 5_000, 540


def make(folder: Path, kind: str, count: int, shard_size: int) -> Path:
    """Write a run in a child process and return its folder."""
    run(["-m", "benchmarks.training_data", str(folder), kind, str(count), str(shard_size)])
    return folder


def photographed(count: int) -> Iterator[ToySample]:
    """Yield image_text samples of photos."""
    from helpers.pipelines import laion_text
    from helpers.shards.toy_shards import ToySample

    from benchmarks import pictures
    from shards.image import PROFILES, store

    shipped = pictures.photos()
    captions = laion_text.captions(np.random.default_rng(_SEED), count).to_pylist()
    for number, caption in enumerate(captions):
        draw = np.random.default_rng([_SEED, number])
        file = io.BytesIO()
        made = pictures.picture(draw, shipped[int(draw.integers(len(shipped)))])
        made.save(file, "BMP")  # lossless, so that the shard's JPEG is its first compression
        stored = store(file.getvalue(), PROFILES["stage2"])
        yield ToySample(caption, (stored.data,), size_px=(stored.width, stored.height))


def write_tokenizer(file: Path) -> None:
    """Train a tokenizer on alt texts and write it; ids 0 to 2 are pad, BOS and EOS."""
    from helpers.pipelines import laion_text
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = laion_text.captions(np.random.default_rng(_SEED + 1), _LEARNT_FROM).to_pylist()
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(file))


def main() -> None:
    """Write the run."""
    from helpers.cogvlm import toy_tokenizer
    from helpers.shards import toy_shards

    folder, kind, count, shard_size = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
    samples = [*photographed(count)] if kind == "photos" else toy_shards.captioned(count)
    toy_shards.write_run(folder, samples, shard_size=shard_size)
    if kind == "photos":
        write_tokenizer(folder / FILE)
    else:
        toy_tokenizer.write(folder)


if __name__ == "__main__":
    main()
