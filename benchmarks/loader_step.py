"""The child process of `loader_vs_webdataset`: times variants in turns; JSON by name and round.

    python -m benchmarks.loader_step RUN ROUNDS

Every turn reads the run's first shard once. Figures are CPU milliseconds per sample.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import simplejpeg
import torch
from torch import Tensor

from cogvlm.data.augment import Augment
from cogvlm.data.pixels import normalise
from cogvlm.data.sequences import SampleMaker
from cogvlm.data.tokenizer import Tokenizer
from cogvlm.model.layout import IGNORE, Sample
from cogvlm.model.variants.cogvlm import cogvlm_17b_224
from shards.access import RawSample, SampleReader
from shards.dataset import open_dataset
from shards.files.tar_members import mapped, members
from shards.image import decode
from shards.reading.shard_index import load_index

SIZE = 224

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_COMPARED = 32
_MOST_GREY_LEVELS = 0.1  # mean error against the peer's pixels

Pass = Callable[[], Iterator[Any]]
"""Goes through the shard once."""


def main() -> None:
    """Compare the variants, then time them."""
    torch.set_num_threads(1)  # as a loader process has
    run, rounds = Path(sys.argv[1]), int(sys.argv[2])
    passes = {
        "webdataset": webdataset_pipeline(run),
        "floor": floor(run),
        "ours": ours(run),
        "webdataset_read": webdataset_read(run),
        "read": read(run),
        "decode": decoded(run),
    }
    compare(run, passes)
    count = open_dataset(run).counts[0]
    cpu_ms: dict[str, list[float]] = {name: [] for name in passes}
    for turn in range(rounds):
        names = [*passes] * 2
        for name in names[turn % len(passes) :][: len(passes)]:
            cpu_ms[name].append(cpu_s(passes[name]) / count * 1000)
    sys.stdout.write(f"\n{json.dumps(cpu_ms)}\n")


def cpu_s(samples: Pass) -> float:
    """Return the CPU seconds of a pass over the shard, whose samples are discarded."""
    started = time.process_time()
    deque(samples(), maxlen=0)
    return time.process_time() - started


def ours(run: Path) -> Pass:
    """Return the trainer's loader: training sequences with uint8 images."""
    reader, model = SampleReader(open_dataset(run)), cogvlm_17b_224()
    maker = SampleMaker(Tokenizer(run), "base", Augment(), seed=0)

    def samples() -> Iterator[Sample]:
        for raw in reader.iterate(0):
            assert isinstance(raw, RawSample), raw
            yield maker.make(raw, "caption", 0, model)

    return samples


def webdataset_pipeline(run: Path) -> Pass:
    """Return the peer: the stages of open_clip's loader, with our square and our tokenizer."""
    import webdataset as wds
    from torchvision import transforms

    bicubic = transforms.InterpolationMode.BICUBIC
    preprocess = transforms.Compose(
        [
            transforms.Resize((SIZE, SIZE), interpolation=bicubic),
            lambda image: image.convert("RGB"),
            transforms.ToTensor(),
            transforms.Normalize(_MEAN, _STD),
        ]
    )
    tokenizer = Tokenizer(run)
    return lambda: iter(
        wds.DataPipeline(
            wds.SimpleShardList([_tar(run)]),
            wds.tarfile_to_samples(),
            wds.decode("pilrgb"),
            wds.rename(image="jpg;png;jpeg;webp", text="txt"),
            wds.map_dict(image=preprocess, text=lambda text: torch.tensor(tokenizer.encode(text))),
            wds.to_tuple("image", "text"),
        )
    )


def floor(run: Path) -> Pass:
    """Return the unavoidable work: plain reads, decode, antialiased resize."""
    places = list(image_places(run))

    def images() -> Iterator[Tensor]:
        with open(_tar(run), "rb") as file:
            for start, end in places:
                file.seek(start)
                rgb_HW3 = torch.from_numpy(simplejpeg.decode_jpeg(file.read(end - start)))
                yield torch.nn.functional.interpolate(
                    rgb_HW3.permute(2, 0, 1)[None], (SIZE, SIZE), mode="bicubic", antialias=True
                )[0]

    return images


def decoded(run: Path) -> Pass:
    """Return only reading and our decode."""
    reader = SampleReader(open_dataset(run))
    return lambda: (decode(raw.images[0]) for raw in reader.iterate(0))  # type: ignore[union-attr]


def read(run: Path) -> Pass:
    """Return only our reader."""
    reader = SampleReader(open_dataset(run))
    return lambda: reader.iterate(0)


def webdataset_read(run: Path) -> Pass:
    """Return only the peer's reader."""
    import webdataset as wds

    return lambda: iter(
        wds.DataPipeline(wds.SimpleShardList([_tar(run)]), wds.tarfile_to_samples())
    )


def compare(run: Path, passes: dict[str, Pass]) -> None:
    """Raise ValueError if our samples differ from the peer's, except for rounding of pixels."""
    vision = cogvlm_17b_224().vision
    several = zip(range(_COMPARED), passes["ours"](), passes["webdataset"](), strict=False)
    for number, sample, (image, ids) in several:
        targets = [label for label in sample.labels if label != IGNORE][:-1]  # without EOS
        if targets != ids.tolist():
            raise ValueError(f"{run}, sample {number}: {targets} where the peer has {ids}")
        ours_3HW = normalise(sample.images[0][None], vision)[0]
        error = float((255 * torch.tensor(_STD)[:, None, None] * (ours_3HW - image)).abs().mean())
        if not error < _MOST_GREY_LEVELS:
            raise ValueError(f"{run}, sample {number}: {error:.2f} grey levels off on average")
    raws = zip(passes["read"](), passes["webdataset_read"](), strict=True)
    for number, (raw, peer) in enumerate(raws):
        if (raw.images[0], raw.text, raw.json) != (peer["jpg"], peer["txt"], peer["json"]):
            raise ValueError(f"{run}, sample {number}: its members are not those of the peer")


def image_places(run: Path) -> Iterator[tuple[int, int]]:
    """Yield the offsets and sizes of the images in the first shard."""
    end = int(load_index(open_dataset(run), 0).ends[-1])
    for name, _, start, stop in members(mapped(_tar(run)), 0, end):
        if name.endswith(".jpg"):
            yield start, stop


def _tar(run: Path) -> str:
    return str(run / open_dataset(run).tar(0))


if __name__ == "__main__":
    main()
