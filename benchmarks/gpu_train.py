"""A stage-1 run of the real trainer on a GPU: tokens per second, MFU, memory, data wait.

    python -m benchmarks.gpu_train [--micro_batch 16] [--micro_steps 4] [--steps 25] [--record]

Runs the preset `stage1` on CogVLM-17B at 224 px, reduced to as many whole layers as fit on one GPU:
decoder layers and tower blocks at full width, in the proportion of the whole model. Everything else
is the trainer's own: settings, loader processes, precision, sharding over one rank, clipping,
AdamW, averaged weights and log. Only the snapshot is left out. The data is a shard set of photos
with alt texts. Layers are compiled, except with `--no_compile`.

Figures come from the run's log, without the first steps, in which layers are compiled. MFU counts
FLOPs by `cogvlm.costs.flops` (no padding, no recomputation), relative to the GPU's dense bfloat16
peak, over the whole time of the steps, including the wait for data. Memory is the peak that torch
allocated in training. Without CUDA this prints one line and ends; with `--record` the table is
written to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import measure, training_data
from benchmarks.measure import Figure
from cogvlm.checkpoints.snapshots import State, Writer
from cogvlm.costs.activations import activations
from cogvlm.costs.gpus import peak_flops_of, state_bytes
from cogvlm.model import groups
from cogvlm.model.config import ModelConfig
from cogvlm.model.variants.cogvlm import cogvlm_17b_224
from cogvlm.model.variants.small import debug
from cogvlm.training import distributed, loop, prepare, start
from cogvlm.training.config import TrainConfig
from cogvlm.training.presets import recipe
from cogvlm.training.watch import read_log

MFU_PERCENT = 45.0

_SKIPPED = 5  # first steps
_SAMPLES, _SHARD_SIZE, _WORKERS = 512, 128, 2
_TEXT_TOKENS = 64  # of a sample, at most; alt texts have fewer
_MEMORY_SHARE = 0.8  # of the GPU; the rest is for gathered layers, dropout masks and workspace


class NoSnapshots(Writer):
    """Writes nothing: a snapshot of the slice may be larger than the disk."""

    def __init__(self) -> None:
        """Open nothing."""

    def write(self, step: int, state: State, facts: dict[str, Any]) -> None:
        """Do nothing."""

    def poll(self) -> None:
        """Do nothing."""

    def wait(self) -> None:
        """Do nothing."""


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    options = _parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.stdout.write("gpu_train: skipped, torch finds no CUDA device\n")
        return 0
    peak = _peak_flops(options)
    if peak is None:
        sys.stderr.write(
            f"gpu_train: no peak is known for {torch.cuda.get_device_name()}; give its dense "
            "bfloat16 rate with --peak_tflops\n"
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="groundwork-bench-") as folder:
        config = _config(options, Path(folder))
        gib = train(config)
        figures = _figures(config, peak, gib, has_goal=not options.toy)
    lines = [_what(config, options, peak), "", *measure.table(figures)]
    sys.stdout.write("\n".join([*lines, ""]))
    if options.record:
        path = _record(lines)
        sys.stdout.write(f"recorded in {os.path.relpath(path, measure.ROOT)}\n")
    return int(any(figure.met is False for figure in figures))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_train", description=__doc__)
    parser.add_argument("--micro_batch", type=int, default=16, help="samples per micro-batch")
    parser.add_argument("--micro_steps", type=int, default=4, help="micro-batches per step")
    parser.add_argument(
        "--steps", type=int, default=25, help=f"steps; the first {_SKIPPED} are not measured"
    )
    parser.add_argument("--peak_tflops", type=float, help="dense bfloat16 peak of an unknown card")
    parser.add_argument("--no_compile", action="store_true", help="do not compile layers")
    parser.add_argument("--record", action="store_true", help="keep the table")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu only with --toy"
    )
    parser.add_argument("--toy", action="store_true", help="run everything with the debug model")
    options = parser.parse_args(arguments)
    if options.device == "cpu" and not options.toy:
        parser.error("--device cpu takes days for a slice of CogVLM-17B; add --toy")
    if options.steps <= _SKIPPED:
        parser.error(f"--steps {options.steps}: the first {_SKIPPED} are not measured; give more")
    return options


def _peak_flops(options: argparse.Namespace) -> float | None:
    if options.peak_tflops:
        return float(options.peak_tflops) * 1e12
    if options.device == "cpu":
        return 1e12
    return peak_flops_of(torch.cuda.get_device_name(), "bf16")


def _config(options: argparse.Namespace, folder: Path) -> TrainConfig:
    """Write the data and return the settings of the run."""
    stage1 = recipe("stage1").config
    kind, count = ("scenes", 64) if options.toy else ("photos", _SAMPLES)
    data = training_data.make(folder / kind, kind, count, min(count, _SHARD_SIZE))
    config = replace(
        stage1,
        device=options.device,
        data=str(data),
        tokenizer=str(data),
        output=str(folder / "stage1"),
        steps=options.steps,
        warmup_steps=2,
        micro_batch=options.micro_batch,
        global_batch=options.micro_batch * options.micro_steps,
        workers=_WORKERS,
        compile=not options.no_compile,
        override=_overrides(1, 1),
        model="debug",
    )
    if options.toy:
        return replace(config, image_size=debug().vision.image_size, precision="fp32")
    memory = torch.cuda.mem_get_info()[1] * _MEMORY_SHARE
    layers, blocks = largest_slice(cogvlm_17b_224(), memory, options.micro_batch)
    return replace(config, model="cogvlm_17b_224", override=_overrides(layers, blocks))


def _overrides(layers: int, blocks: int) -> tuple[str, str]:
    return f"num_layers={layers}", f"vision.num_layers={blocks}"


def largest_slice(config: ModelConfig, memory: float, micro_batch: int) -> tuple[int, int]:
    """Return how many decoder layers and tower blocks a stage-1 run can have in the given bytes.

    Raises:
        ValueError: Not even one decoder layer fits.
    """
    trained = groups.stage("stage1")
    for layers in range(config.num_layers, 0, -1):
        blocks = max(1, round(config.vision.num_layers * layers / config.num_layers))
        vision = replace(config.vision, num_layers=blocks)
        part = replace(config, num_layers=layers, vision=vision)
        states = sum(state_bytes(groups.counts(part), trained).values())
        kept = activations(part, trained, micro_batch=micro_batch, text_tokens=_TEXT_TOKENS).total
        if states + kept <= memory:
            return layers, blocks
    raise ValueError(f"--micro_batch {micro_batch}: no layer fits {memory / 2**30:.0f} GiB")


def train(config: TrainConfig) -> float:
    """Run the trainer in this process; returns peak GiB, 0 on a CPU."""
    prepared = prepare.prepare(config, prepare.world_size())
    with distributed.world(config.device) as world, start.started(prepared, world) as run:
        run.writer = NoSnapshots()
        on_gpu = world.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        loop.train(run)
        return torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0


def _figures(config: TrainConfig, peak: float, gib: float, *, has_goal: bool) -> list[Figure]:
    """Return the figures from the log of a run."""
    steps = [line for line in read_log(Path(config.output)) if line["kind"] == "step"][_SKIPPED:]

    def total(name: str) -> float:
        return sum(line[name] for line in steps)

    seconds = total("seconds")
    used = 100 * total("flops") / seconds / peak
    mfu = measure.at_least("MFU", used, "%", MFU_PERCENT) if has_goal else Figure("MFU", used, "%")
    return [
        mfu,
        Figure("tokens", total("tokens") / seconds, "per second"),
        Figure("samples", total("samples") / seconds, "per second"),
        Figure("step, median", 1000 * measure.median(line["seconds"] for line in steps), "ms"),
        Figure("waiting for data", 100 * total("wait_seconds") / seconds, "% of the time"),
        Figure("peak memory", gib, "GiB"),
    ]


def _what(config: TrainConfig, options: argparse.Namespace, peak: float) -> str:
    name = "CPU" if options.device == "cpu" else torch.cuda.get_device_name()
    return (
        f"{name}, torch {torch.__version__}, peak taken as {peak / 1e12:g} TFLOP/s. {config.model} "
        f"with {', '.join(config.override)}; {options.micro_steps} micro-batches of "
        f"{options.micro_batch}, {'compiled' if config.compile else 'not compiled'}."
    )


def _record(lines: Sequence[str]) -> Path:
    today = datetime.date.today().isoformat()
    method = "\n".join(line for line in (__doc__ or "").splitlines() if not line.startswith("    "))
    parts = [f"# A training run on a GPU, {today}", "", method.strip(), ""]
    parts += [*measure.machine(), "", *lines, ""]
    measure.RESULTS.mkdir(exist_ok=True)
    path = measure.RESULTS / f"gpu-train-{today}.md"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
