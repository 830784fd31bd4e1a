"""`python -m cogvlm.plan`: what a training stage takes: memory, sharded over GPUs, and days.

Weights, gradients, optimiser and averages follow from the parameter counts; `activations` measures
what a micro-batch keeps.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cogvlm.costs import flops
from cogvlm.costs.activations import CHECKPOINTS, activations
from cogvlm.costs.gpus import GPUS, state_bytes
from cogvlm.model.config import ModelConfig
from cogvlm.model.groups import STAGES, counts, stage
from cogvlm.model.presets import PRESETS, preset
from cogvlm.model.variants.cogvlm import cogvlm_17b_224, cogvlm_17b_490
from shards.commandline import run, say

# Steps and samples per step of the paper (v2, appendix A.1).
PUBLISHED = {"stage1": (120_000, 8192), "stage2": (60_000, 1024), "sft": (6_000, 1024)}
_PAPER_A100_DAYS = 4096  # paper v1, stages 1 and 2, "about"
_NOT_COUNTED = "not counted: layers gathered from other ranks, gradients of activations, workspace"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan; returns the exit code."""
    options = _parser().parse_args(arguments)
    return run(lambda: say(*_plan(options)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cogvlm.plan", description=__doc__)
    add = parser.add_argument
    add("--preset", required=True, help=f"the model: {', '.join(PRESETS)}")
    add("--gpus", required=True, type=int, help="ranks that share weights, gradients, optimiser")
    add("--gpu", choices=GPUS, default="h100", help="default: h100")
    add("--stage", help=f"{', '.join(STAGES)}; default: all of them")
    add("--micro_batch", type=int, default=1, help="samples of a rank at a time; default: 1")
    add("--text_tokens", type=int, default=64, help="per sample, besides its image; default: 64")
    add(
        "--checkpoint_activations",
        choices=CHECKPOINTS,
        default="none",
        help="whose layers keep only their inputs and are computed twice",
    )
    add("--mfu", type=float, default=0.4, help="share of the GPU's peak; default: 0.4")
    return parser


def _plan(options: argparse.Namespace) -> list[str]:
    config = preset(options.preset)
    stages = {options.stage: stage(options.stage)} if options.stage else STAGES
    for name in ("gpus", "micro_batch", "text_tokens"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} is {getattr(options, name)}; give 1 or more")
    if not 0 < options.mfu <= 1:
        raise ValueError(f"--mfu is {options.mfu}; give a share above 0, at most 1")
    lines = [
        f"{options.preset} on {options.gpus} x {options.gpu}, micro-batch {options.micro_batch}; "
        f"a sample is an image ({config.span_size:,} tokens) and {options.text_tokens:,} text "
        f"tokens; activation checkpointing: {options.checkpoint_activations}"
    ]
    for name, trained in stages.items():
        lines += ["", *_memory(config, name, trained, options)]
        lines.append(f"  {_speed(config, name, trained, options)}")
    lines += ["", _NOT_COUNTED, "", *_parameters(config)]
    if options.preset == "cogvlm_17b_224" and {"stage1", "stage2"} <= set(stages):
        lines += ["", _paper(options.text_tokens)]
    return lines


def _memory(
    config: ModelConfig, name: str, trained: frozenset[str], options: argparse.Namespace
) -> list[str]:
    """Return the table of a stage."""
    sizes = counts(config)
    kept = activations(
        config,
        trained,
        micro_batch=options.micro_batch,
        text_tokens=options.text_tokens,
        checkpoint=options.checkpoint_activations,
    ).total
    states = state_bytes(sizes, trained)
    rows = {what: (size, size / options.gpus) for what, size in states.items()}
    rows["activations"] = (kept * options.gpus, kept)
    rows["sum"] = sum(a for a, _ in rows.values()), sum(b for _, b in rows.values())
    groups = ", ".join(group for group in sizes if group in trained and sizes[group])
    own = sum(sizes[group] for group in trained)
    return [
        f"{name} trains {own:,} of {sum(sizes.values()):,} parameters: {groups}",
        f"  {'':<20}{'GB in all':>12}{'GB per rank':>14}",
        *(f"  {what:<20}{a / 1e9:>12,.2f}{b / 1e9:>14,.2f}" for what, (a, b) in rows.items()),
        f"  {_verdict(sum(states.values()), kept, options)}",
    ]


def _verdict(states: int, kept: int, options: argparse.Namespace) -> str:
    card = f"{options.gpu} ({GPUS[options.gpu].memory / 1e9:.0f} GB)"
    spare = GPUS[options.gpu].memory - kept
    left = spare - states / options.gpus
    if left >= 0:
        return f"fits {card}: {left / 1e9:.2f} GB left"
    if spare <= 0:
        return f"does not fit {card}, whatever --gpus: activations alone are too much"
    return f"does not fit {card} by {-left / 1e9:.2f} GB; try --gpus {-int(-states // spare)}"


def _speed(
    config: ModelConfig, name: str, trained: frozenset[str], options: argparse.Namespace
) -> str:
    sample = _flops(config, trained, options.text_tokens)
    rate = options.gpus * GPUS[options.gpu].peak * options.mfu / sample
    line = f"{sample / 1e12:.2f} TFLOP per sample, {rate:,.1f} samples/s at {options.mfu:.0%} MFU"
    if name not in PUBLISHED:
        return line
    steps, batch = PUBLISHED[name]
    days = steps * batch / rate / 86_400
    return f"{line}; the paper's {steps:,} steps of {batch:,}: {days:,.1f} days"


def _flops(config: ModelConfig, trained: frozenset[str], text_tokens: int) -> int:
    return flops.count(config, images=1, text_tokens=text_tokens, trained=trained).total


def _parameters(config: ModelConfig) -> list[str]:
    rows = {group: size for group, size in counts(config).items() if size}
    rows["sum"] = sum(rows.values())
    return ["parameters", *(f"  {group:<20}{size:>20,}" for group, size in rows.items())]


def _paper(text_tokens: int) -> str:
    """Say which utilisation the paper's compute is: its second stage ends at 490 px."""
    small, large = (
        _flops(make(), STAGES["stage1"], text_tokens) for make in (cogvlm_17b_224, cogvlm_17b_490)
    )
    (steps1, batch1), (steps2, batch2) = PUBLISHED["stage1"], PUBLISHED["stage2"]
    work = steps1 * batch1 * small + steps2 * batch2 * (small + large) / 2
    share = work / (_PAPER_A100_DAYS * 86_400 * GPUS["a100"].peak)
    return (
        f"the paper's about {_PAPER_A100_DAYS:,} A100 days for stage1 and stage2 (half of it at "
        f"490 px) are {share:.1%} of 312 TFLOP/s by this count"
    )


if __name__ == "__main__":
    sys.exit(main())
