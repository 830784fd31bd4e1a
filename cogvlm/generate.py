"""`python -m cogvlm.generate`: answers about images from a checkpoint folder.

One prompt takes all images (put `<image>` where each belongs, or they come first). Several
prompts are one batch and take one image each, the same image, or none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cogvlm.devices import DTYPES, device_of, dtype_of
from cogvlm.model.registry import TEMPLATES
from shards.commandline import run, say

if TYPE_CHECKING:
    from cogvlm.data.tokenizer import Tokenizer
    from cogvlm.model.decoder import CogVLM
    from cogvlm.model.generation import Sampling
    from cogvlm.model.layout import Sample


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer the prompts; returns the exit code."""
    options = _parser().parse_args(arguments)
    return run(lambda: _generate(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cogvlm.generate", description=__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, help="folder: ours, official, or a training run's")
    add("--image", action="append", default=[], help="file; repeatable")
    add("--prompt", action="append", default=[], help="question; repeatable; default: a caption")
    add("--template", help=f"{', '.join(TEMPLATES)}; default: the checkpoint's")
    add("--max_new_tokens", type=int, default=256)
    add("--temperature", type=float, default=0.0, help="0 (default) takes the likeliest token")
    add("--top_p", type=float, default=1.0)
    add("--seed", type=int, default=0, help="of the draws when temperature is above 0")
    add("--tokenizer", help="tokenizer.json or its folder; default: the checkpoint's")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    add("--dtype", choices=DTYPES, help="default: bf16 on a GPU, fp32 on a CPU")
    add(
        "--rope_compute",
        choices=("fp32", "checkpoint"),
        default="fp32",
        help="checkpoint rounds angles as the official bf16 code does",
    )
    return parser


def _generate(options: argparse.Namespace) -> None:
    from cogvlm.data.tokenizer import Tokenizer
    from cogvlm.model.generation import Sampling

    sampling = Sampling(
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
    )
    tokenizer = Tokenizer(options.tokenizer or options.checkpoint)
    prompts = options.prompt or [""]
    images = _images_of(prompts, options.image)  # what was typed wrong shows before weights load
    model = _load(options)
    template = options.template or model.config.template
    samples = [
        _sample(prompt, files, template, tokenizer, model)
        for prompt, files in zip(prompts, images, strict=True)
    ]
    if len(samples) == 1:
        _stream(model, samples[0], sampling, tokenizer)
    else:
        from cogvlm.evaluation.generated import answers

        say(*answers(model, samples, sampling, tokenizer))


def _stream(model: CogVLM, sample: Sample, sampling: Sampling, tokenizer: Tokenizer) -> None:
    from cogvlm.data.tokenizer import Stream
    from cogvlm.evaluation.generated import tokens_of

    stream, ends = Stream(tokenizer), {model.config.eos_id, *model.config.stop_ids}
    for (token,) in tokens_of(model, [sample], sampling):
        if token not in ends:
            sys.stdout.write(stream.add(token))
            sys.stdout.flush()
    sys.stdout.write("\n")


def _images_of(prompts: list[str], images: list[str]) -> list[list[str]]:
    """Deal the images out to the prompts."""
    if len(prompts) == 1:
        return [images]
    if len(images) in (0, 1):
        return [images] * len(prompts)
    if len(images) == len(prompts):
        return [[image] for image in images]
    raise ValueError(
        f"{len(images)} --image for {len(prompts)} --prompt: give one for each prompt, one for "
        "all, or none"
    )


def _load(options: argparse.Namespace) -> CogVLM:
    from dataclasses import replace

    from cogvlm.checkpoints import opened

    device = device_of(options.device)
    dtype = dtype_of(options.dtype or ("fp32" if device.type == "cpu" else "bf16"))
    config = opened.read_config(options.checkpoint)
    config = replace(config, rope_compute=options.rope_compute)
    return opened.open_model(options.checkpoint, device=device, dtype=dtype, config=config).eval()


def _sample(
    prompt: str, files: list[str], template: str, tokenizer: Tokenizer, model: CogVLM
) -> Sample:
    from cogvlm.data.pixels import read
    from cogvlm.data.segments import Turn, dialogue
    from cogvlm.data.tokens import encode

    pictures = [read(Path(file), model.config.vision) for file in files]
    return encode(dialogue([Turn(prompt)], pictures, template), tokenizer, model.config)


if __name__ == "__main__":
    sys.exit(main())
