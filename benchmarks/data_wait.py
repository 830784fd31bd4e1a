"""The share of a training run spent waiting for data: the `debug` run on a CPU.

    python -m benchmarks.data_wait [--steps 200]

Runs `python -m cogvlm.train --preset debug` as a user would, with one loader process, on shards of
small scenes. The share comes from the run's own log: seconds waited over seconds of the steps,
without the first steps, in which the loader process starts. The images are small, so this measures
the transfer between processes; `benchmarks.loader_vs_webdataset` measures the cost of a sample.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import measure, training_data
from benchmarks.measure import Figure

TITLE = "Waiting for data while training"
STEPS, SKIPPED, SAMPLES = 200, 20, 2_000
SHARE_PERCENT = 2.0

_SHARD_SIZE = 250


def figures(folder: Path, steps: int = STEPS, samples: int = SAMPLES) -> list[Figure]:
    """Train in a child process and return the figures of its log."""
    from cogvlm.training.watch import read_log

    data = training_data.make(folder / "scenes", "scenes", samples, _SHARD_SIZE)
    run = folder / "debug"
    measure.run(
        [
            "-m", "cogvlm.train", "--preset=debug", f"--data={data}", f"--tokenizer={data}",
            f"--output={run}", f"--steps={steps}", f"--snapshot_every={steps}",
        ]
    )  # fmt: skip
    all_steps = [line for line in read_log(run) if line["kind"] == "step"]
    assert len(all_steps) == steps, f"{len(all_steps)} steps in the log of {steps}"
    measured = all_steps[min(SKIPPED, steps // 2) :]
    seconds = sum(line["seconds"] for line in measured)
    waited = sum(line["wait_seconds"] for line in measured)
    share = 100 * waited / seconds
    return [
        Figure("step, median", 1000 * measure.median(x["seconds"] for x in measured), "ms"),
        Figure("samples", sum(line["samples"] for line in measured) / seconds, "per second"),
        Figure("longest wait", 1000 * max(line["wait_seconds"] for line in measured), "ms"),
        measure.below("waiting for data", share, "% of the time", SHARE_PERCENT),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="groundwork-bench-") as folder:
        lines = measure.table(figures(Path(folder), options.steps))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
