"""Training steps of CogVLM-17B slices on a GPU: tokens per second and MFU, beside mask routing.

    python -m benchmarks.gpu_step [--micro_batch_224 8] [--micro_batch_490 4] [--record]

Four decoder layers and four tower blocks of the presets at 224 and 490 px, in bfloat16: forward and
backward of the loss on samples of one image and 64 text tokens, with the experts, the adapter and
BOI/EOI trained as in stage 1. No optimiser step and no recomputation. The baseline has the same
weights, norms and attention and routes by boolean masks, as public CogVLM code does. Compiled means
every decoder layer and tower block by itself: ours as one graph, mask routing with its graph
breaks. The last layer's vision outputs are computed on both sides (`skip_unused` off).

Variants run in turns; a turn is a few steps between two CUDA events. Figures are medians of the
turns; ratios are taken within a turn. MFU counts FLOPs by `cogvlm.costs.flops`, relative to the
dense bfloat16 peak. Memory is the peak that torch allocated, weights included. Without CUDA this
prints one line and ends; with `--record` the table is written to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import mask_routing, measure
from cogvlm.costs import flops
from cogvlm.costs.gpus import peak_flops_of
from cogvlm.model import groups
from cogvlm.model.config import ModelConfig
from cogvlm.model.decoder import CogVLM
from cogvlm.model.init import build, skeleton
from cogvlm.model.layout import IGNORE, Batch, Sample, collate
from cogvlm.model.variants.cogvlm import cogvlm_17b_224, cogvlm_17b_490
from cogvlm.model.variants.small import debug

LAYERS, TEXT_TOKENS = 4, 64

_TRAINED = groups.stage("stage1")
_TURNS, _STEPS, _WARM_UPS = 11, 4, 3
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Case:
    """One row group of the table."""

    name: str
    config: ModelConfig
    micro_batch: int


@dataclass
class Measured:
    """Times and memory of a variant."""

    step_s: list[float] = field(default_factory=list)  # one step, by turn
    peak_gib: float = 0.0


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    options = _parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.stdout.write("gpu_step: skipped, torch finds no CUDA device\n")
        return 0
    peak_tflops = options.peak_tflops or _peak_tflops(options.device)
    if peak_tflops is None:
        sys.stderr.write(
            f"gpu_step: no peak is known for {torch.cuda.get_device_name()}; give its dense "
            f"bfloat16 rate with --peak_tflops\n"
        )
        return 2
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)  # mask routing breaks its graphs
    lines = [
        "| model | micro-batch | variant | tokens/s | MFU | peak GiB | against mask routing |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for case in _cases(options):
        lines += _rows(case, _measure(case, options), peak_tflops)
    sys.stdout.write("\n".join([*_machine(options.device, peak_tflops), "", *lines, ""]))
    if options.record:
        path = _record(lines, options.device, peak_tflops)
        sys.stdout.write(f"recorded in {path.relative_to(measure.ROOT)}\n")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_step", description=__doc__)
    parser.add_argument("--micro_batch_224", type=int, default=8, help="samples per step at 224 px")
    parser.add_argument("--micro_batch_490", type=int, default=4, help="samples per step at 490 px")
    parser.add_argument("--peak_tflops", type=float, help="dense bfloat16 peak of an unknown card")
    parser.add_argument("--no_compile", action="store_true", help="leave out the compiled variants")
    parser.add_argument("--record", action="store_true", help="keep the table")
    parser.add_argument("--device", default="cuda", help=argparse.SUPPRESS)  # for tests
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _peak_tflops(device: str) -> float | None:
    if device == "cpu":
        return 1.0
    peak = peak_flops_of(torch.cuda.get_device_name(), "bf16")
    return None if peak is None else peak / 1e12


def _cases(options: argparse.Namespace) -> list[Case]:
    if options.tiny:
        return [Case("debug", dataclasses.replace(debug(), skip_unused=False), 2)]
    return [
        Case("cogvlm_17b_224", _slice(cogvlm_17b_224()), options.micro_batch_224),
        Case("cogvlm_17b_490", _slice(cogvlm_17b_490()), options.micro_batch_490),
    ]


def _slice(config: ModelConfig) -> ModelConfig:
    vision = dataclasses.replace(config.vision, num_layers=LAYERS)
    return dataclasses.replace(config, num_layers=LAYERS, vision=vision, skip_unused=False)


def _batch(case: Case) -> Batch:
    """Return a micro-batch: a token, an image, 63 tokens of text, all of them targets."""
    config = case.config
    random = torch.Generator().manual_seed(0)
    first, size = config.bos_id or config.eos_id, config.vision.image_size
    before = 1 + config.span_size
    rows = []
    for _ in range(case.micro_batch):
        text = torch.randint(config.vocab_size, (TEXT_TOKENS - 1,), generator=random).tolist()
        sample = Sample(
            ids=[first, *[config.pad_id] * config.span_size, *text],
            labels=[*[IGNORE] * before, *text],
            spans=[(1, before)],
            images=[torch.randn(3, size, size, generator=random)],
        )
        rows.append([sample])
    return collate(rows, config)


def _steps(case: Case, options: argparse.Namespace) -> dict[str, Callable[[], Tensor]]:
    """Return the variants; each call runs forward and backward and returns the loss."""
    model = build(case.config, device=options.device, dtype=torch.bfloat16)
    batch = _batch(case).to(options.device)
    where = mask_routing.masks(batch.route)

    def step(model: CogVLM, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(groups.group_of(name) in _TRAINED)

        def run() -> Tensor:
            total = loss()
            total.backward()
            model.zero_grad(set_to_none=True)  # now, so that no variant holds another's memory
            return total.detach()

        return run

    steps = {
        "mask routing": step(model, lambda: mask_routing.loss(model, batch, where)),
        "ours": step(model, lambda: model.loss(batch)[0]),
    }
    if not options.no_compile:
        twin = _twin(model)
        for block in twin.model.vision.transformer.layers:
            block.compile(fullgraph=True)
        for layer in twin.model.layers:
            layer.compile(fullgraph=True)
        forward = torch.compile(mask_routing.layer_forward)
        steps["mask routing, compiled"] = step(
            twin, lambda: mask_routing.loss(twin, batch, where, forward)
        )
        steps["ours, compiled"] = step(twin, lambda: twin.loss(batch)[0])
    return steps


def _twin(model: CogVLM) -> CogVLM:
    """Return a second model on the same weights, so that one can be compiled."""
    twin = skeleton(model.config)
    twin.load_state_dict(model.state_dict(), assign=True)
    return twin


def _measure(case: Case, options: argparse.Namespace) -> dict[str, Measured]:
    torch.compiler.reset()  # otherwise the shapes of another case would make these dynamic
    steps = _steps(case, options)
    losses = {name: float([step() for _ in range(_WARM_UPS)][-1]) for name, step in steps.items()}
    wanted = losses["mask routing"]
    for name, value in losses.items():
        if not abs(value - wanted) < _TOLERANCE * abs(wanted):
            raise ValueError(f"{case.name}, {name}: loss {value}, but mask routing has {wanted}")
    measured = {name: Measured() for name in steps}
    for _ in range(2 if options.tiny else _TURNS):
        for name, step in steps.items():
            seconds, gib = (_on_cpu if options.device == "cpu" else _on_gpu)(step)
            measured[name].step_s.append(seconds)
            measured[name].peak_gib = max(measured[name].peak_gib, gib)
    return measured


def _on_gpu(step: Callable[[], Tensor]) -> tuple[float, float]:
    """Return seconds per step and peak GiB of one turn."""
    torch.cuda.reset_peak_memory_stats()
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    for _ in range(_STEPS):
        step()
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after) / 1000 / _STEPS, torch.cuda.max_memory_allocated() / 2**30


def _on_cpu(step: Callable[[], Tensor]) -> tuple[float, float]:
    started = time.process_time()
    step()
    return time.process_time() - started, 0.0


def _rows(case: Case, variants: dict[str, Measured], peak_tflops: float) -> list[str]:
    tokens = case.micro_batch * (case.config.span_size + TEXT_TOKENS)
    sample = flops.count(case.config, images=1, text_tokens=TEXT_TOKENS, trained=_TRAINED)
    masked_s, rows = variants["mask routing"].step_s, []
    for name, variant in variants.items():
        step_s = measure.median(variant.step_s)
        used = case.micro_batch * sample.total / step_s / (peak_tflops * 1e12)
        ratio = measure.median(
            theirs / ours for theirs, ours in zip(masked_s, variant.step_s, strict=True)
        )
        rows.append(
            f"| {case.name} | {case.micro_batch} | {name} | {tokens / step_s:,.0f} | {used:.1%} "
            f"| {variant.peak_gib:.1f} | {ratio:.2f}x |"
        )
    return rows


def _machine(device: str, peak_tflops: float) -> list[str]:
    name = "CPU" if device == "cpu" else torch.cuda.get_device_name()
    return [f"{name}, torch {torch.__version__}, peak taken as {peak_tflops:g} TFLOP/s"]


def _record(lines: list[str], device: str, peak_tflops: float) -> Path:
    today = datetime.date.today().isoformat()
    method = "\n".join(line for line in (__doc__ or "").splitlines() if not line.startswith("    "))
    parts = [f"# Steps on a GPU, {today}", "", method.strip(), ""]
    parts += [*_machine(device, peak_tflops), "", *measure.machine(), "", *lines, ""]
    measure.RESULTS.mkdir(exist_ok=True)
    path = measure.RESULTS / f"gpu-{today}.md"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
