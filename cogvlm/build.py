r"""`python -m cogvlm.build`: a checkpoint of ours from parts, or from SwissArmyTransformer's.

    python -m cogvlm.build --preset cogvlm_17b_224 --llm vicuna-7b-v1.5 \
        --tower EVA02-E-14/open_clip_pytorch_model.bin --output start
    python -m cogvlm.build --preset cogvlm_17b_490 --sat cogvlm-base-490 \
        --tokenizer vicuna-7b-v1.5 --output base-490
    python -m cogvlm.build --checkpoint start --image_size 490 --output start-490

What no part has (adapter, BOI, EOI) starts from --seed; experts start as copies.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogvlm.devices import DTYPES, dtype_of
from cogvlm.model.config import resized
from cogvlm.model.presets import PRESETS, overridden, preset
from shards.commandline import run, say

if TYPE_CHECKING:
    from cogvlm.model.decoder import CogVLM


def main(arguments: Sequence[str] | None = None) -> int:
    """Build a checkpoint; returns the exit code."""
    options = _parser().parse_args(arguments)
    return run(lambda: _build(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cogvlm.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--preset", help=f"the model to build: {', '.join(PRESETS)}")
    add(
        "--override",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting of the preset, as expert.layers=4; repeatable",
    )
    add("--llm", help="folder of a plain Llama, Vicuna or Llama-3 checkpoint")
    add("--tower", help="file or folder of an image tower: open_clip, timm or transformers")
    add("--sat", help="folder of a SwissArmyTransformer checkpoint, the one with `latest`")
    add("--checkpoint", help="a checkpoint, to change its image size")
    add("--image_size", type=int, help="pixels; the tower's position table is resized")
    add("--tokenizer", help="folder with tokenizer.json; default: that of --llm or --checkpoint")
    add("--output", required=True, help="folder to write; must not exist or be empty")
    add("--dtype", choices=DTYPES, default="bf16", help="type of the weights; default: bf16")
    add("--seed", type=int, default=0, help="for weights that no part has: adapter, BOI and EOI")
    return parser


def _build(options: argparse.Namespace) -> None:
    from cogvlm.checkpoints import checkpoint

    model = _model(options)
    tokenizer = options.tokenizer or options.llm or options.checkpoint
    checkpoint.save(model, options.output, tokenizer=tokenizer)
    count = sum(parameter.numel() for parameter in model.parameters())
    say(f"wrote {options.output}: {count:,} parameters")


def _model(options: argparse.Namespace) -> CogVLM:
    from cogvlm.checkpoints import checkpoint

    dtype = dtype_of(options.dtype)
    given = [name for name in ("llm", "sat", "checkpoint") if getattr(options, name)]
    if len(given) != 1:
        raise ValueError("give one of --llm (with --tower), --sat and --checkpoint")
    if options.checkpoint:
        config = checkpoint.read_config(options.checkpoint)
        if options.image_size:
            config = resized(config, options.image_size)
        return checkpoint.load(options.checkpoint, dtype=dtype, config=config)
    if not options.preset:
        raise ValueError(f"--{given[0]} needs --preset: which model to build")
    config = overridden(preset(options.preset), options.override)
    if options.image_size:
        config = resized(config, options.image_size)
    if options.sat:
        return checkpoint.load_sat(options.sat, config, dtype=dtype)
    if not options.tower:
        raise ValueError("--llm needs --tower: where the image tower is")
    return checkpoint.build_from_parts(
        config, options.llm, options.tower, dtype=dtype, seed=options.seed
    )


if __name__ == "__main__":
    sys.exit(main())
