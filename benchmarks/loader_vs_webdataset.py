"""The trainer's loader, an open_clip-style pipeline and the floor: CPU time per sample at 224 px.

    python -m benchmarks.loader_vs_webdataset [--samples 1000] [--rounds 5]

The data is one shard of photos (short side at most 512, quality 90) with alt texts. Ours is the
loader of a training run for the caption task: random access to the shard, decode, square resize,
task and tokens, images left in uint8. The peer is the webdataset library, Pillow and torchvision
(bicubic Resize, ToTensor, Normalize) with the same tokenizer. It resizes to the same square, so
both give the same tokens and pixels, which is checked before anything is timed. The floor is the
unavoidable work: plain reads of the images' bytes, simplejpeg and torch's antialiased resize,
without text. Reading alone returns the stored bytes of whole samples.

All figures are CPU time of one process on one thread, without loader processes; variants run in
turns. Figures are medians of the rounds; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks import measure, training_data
from benchmarks.measure import Figure

TITLE = "Loader against webdataset"
SAMPLES, ROUNDS = 1_000, 5
PIPELINE, FLOOR, READ = 2.5, 1.3, 5.0

_NAMES = {
    "webdataset": "open_clip-style pipeline",
    "ours": "ours",
    "floor": "floor",
    "decode": "ours, reading and decode alone",
    "webdataset_read": "webdataset, reading alone",
    "read": "ours, reading alone",
}


def figures(folder: Path, samples: int = SAMPLES, rounds: int = ROUNDS) -> list[Figure]:
    """Measure in a child process and return the figures; the shard stays in the folder."""
    run = training_data.make(folder / "photos", "photos", samples, samples)
    printed = measure.run(["-m", "benchmarks.loader_step", str(run), str(rounds)]).output
    cpu_ms: dict[str, list[float]] = json.loads(printed.splitlines()[-1])

    def ratio(one: str, other: str) -> float:
        return measure.median(a / b for a, b in zip(cpu_ms[one], cpu_ms[other], strict=True))

    return [
        *(
            Figure(f"{title}: CPU per sample", measure.median(cpu_ms[name]), "ms")
            for name, title in _NAMES.items()
        ),
        measure.at_least("ours : open_clip style", ratio("webdataset", "ours"), "x", PIPELINE),
        measure.below("cost of ours : floor", ratio("ours", "floor"), "x", FLOOR),
        measure.at_least(
            "ours : webdataset, reading alone", ratio("webdataset_read", "read"), "x", READ
        ),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="groundwork-bench-") as folder:
        lines = measure.table(figures(Path(folder), options.samples, options.rounds))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
