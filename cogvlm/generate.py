"""`python -m cogvlm.generate`: answers about images from a checkpoint folder.

One prompt takes all images (put `<image>` where each belongs, or they come first). Several
prompts are one batch and take one image each, the same image, or none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cogvlm.commandline import DTYPES, device_of, dtype_of, run, say

if TYPE_CHECKING:
    from cogvlm.generation import Sampling
    from cogvlm.layout import Sample
    from cogvlm.model import CogVLM
    from cogvlm.tokenizer import Tokenizer


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
    add("--template", help="base, chat, vqa or glm4; default: the checkpoint's")
    add("--max_new_tokens", type=int, default=256)
    add("--temperature", type=float, default=0.0, help="0 (default) takes the likeliest token")
    add("--top_p", type=float, default=1.0)
    add("--seed", type=int, default=0, help="of the draws when temperature is above 0")
    add("--tokenizer", help="tokenizer.json or its folder; default: the checkpoint's")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    add("--dtype", choices=DTYPES, help="default: bf16 on a GPU, fp32 on a CPU")
    add("--rope_compute", choices=("fp32", "checkpoint"), default="fp32",
        help="checkpoint rounds angles as the official bf16 code does")  # fmt: skip
    return parser


def _generate(options: argparse.Namespace) -> None:
    from cogvlm.generation import Sampling
    from cogvlm.tokenizer import Tokenizer

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
        say(*answers(model, samples, sampling, tokenizer))


def answers(
    model: CogVLM, samples: Sequence[Sample], sampling: Sampling, tokenizer: Tokenizer
) -> list[str]:
    """Return the answers to several prompts, generated as one batch.

    Raises:
        ValueError: A prompt leaves no room for an answer in the model's context.
    """
    tokens: list[list[int]] = [[] for _ in samples]
    for ids in _tokens(model, samples, sampling):
        for answer, token in zip(tokens, ids, strict=True):
            answer.append(token)
    ends = {model.config.eos_id, *model.config.stop_ids}
    return [tokenizer.decode(_until(answer, ends)).strip() for answer in tokens]


def _stream(model: CogVLM, sample: Sample, sampling: Sampling, tokenizer: Tokenizer) -> None:
    from cogvlm.tokenizer import Stream

    stream, ends = Stream(tokenizer), {model.config.eos_id, *model.config.stop_ids}
    for (token,) in _tokens(model, [sample], sampling):
        if token not in ends:
            sys.stdout.write(stream.add(token))
            sys.stdout.flush()
    sys.stdout.write("\n")


def _tokens(model: CogVLM, samples: Sequence[Sample], sampling: Sampling) -> Iterator[list[int]]:
    from cogvlm.generation import generate
    from cogvlm.layout import collate

    device = next(model.parameters()).device
    batch = collate([[sample] for sample in samples], model.config, side="left")
    for ids in generate(model, batch.to(device), sampling):
        yield ids.tolist()


def _until(tokens: list[int], ends: set[int]) -> list[int]:
    """Return the tokens before the first that ends an answer."""
    return tokens[: next((at for at, token in enumerate(tokens) if token in ends), None)]


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

    from cogvlm import trained

    device = device_of(options.device)
    dtype = dtype_of(options.dtype or ("fp32" if device.type == "cpu" else "bf16"))
    config = trained.read_config(options.checkpoint)
    config = replace(config, rope_compute=options.rope_compute)
    return trained.open_model(options.checkpoint, device=device, dtype=dtype, config=config).eval()


def _sample(
    prompt: str, files: list[str], template: str, tokenizer: Tokenizer, model: CogVLM
) -> Sample:
    from cogvlm import tokens
    from cogvlm.image import read

    pictures = [read(Path(file), model.config.vision) for file in files]
    segments = tokens.dialogue([tokens.Turn(prompt)], pictures, template)
    return tokens.encode(segments, tokenizer, model.config)


if __name__ == "__main__":
    sys.exit(main())
