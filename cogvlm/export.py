"""`python -m cogvlm.export`: a checkpoint as the official code and other engines read it.

Names, shapes and `config.json` are the official ones. The official Python files are not part of
it: put `configuration_*.py`, `modeling_*.py` and what they import beside the weights where an
engine wants them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cogvlm.devices import DTYPES, dtype_of
from shards.commandline import run, say

if TYPE_CHECKING:
    from pathlib import Path

    from cogvlm.model.config import ModelConfig
    from cogvlm.model.decoder import CogVLM

ENGINES = ("hf", "lmdeploy", "llama.cpp", "vllm")
_V1_490_POSITIONS = 1226
_DTYPE_NAMES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a checkpoint; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cogvlm.export", description=__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, help="folder: ours, official, or a training run's")
    add("--output", required=True, help="folder to write; must not exist or be empty")
    add("--for", dest="engine", choices=ENGINES, default="hf", help="default: hf")
    add("--dtype", choices=DTYPES, default="bf16", help="type of the weights; default: bf16")
    add(
        "--weights",
        choices=("ema", "raw"),
        help="of a training run; default: averaged if it keeps an average, else raw",
    )
    add("--step", type=int, help="of a training run: which snapshot; default: the newest")
    add(
        "--adapter",
        action="store_true",
        help="write the LoRA weights of a run that trained nothing else as a PEFT adapter",
    )
    options = parser.parse_args(arguments)
    return run(lambda: _export_adapter(options) if options.adapter else _export(options))


def _export(options: argparse.Namespace) -> None:
    from cogvlm.checkpoints import opened

    config = opened.read_config(options.checkpoint)
    files = config_files(config, options.engine, options.dtype)  # what cannot be, fails at once
    model = opened.open_model(
        options.checkpoint,
        dtype=dtype_of(options.dtype),
        weights=options.weights,
        step=options.step,
    )
    write(model, options.output, files, tokenizer=options.checkpoint)
    which = opened.described(options.checkpoint, options.weights, options.step)
    say(
        f"wrote {options.output} for {options.engine}, from {which}",
        *_remarks(config, options.engine),
    )


def _export_adapter(options: argparse.Namespace) -> None:
    from cogvlm.checkpoints import opened, peft_adapter

    if options.engine != "hf":
        raise ValueError(
            f"--adapter: --for {options.engine} takes whole models; leave --for or --adapter out"
        )
    summary = peft_adapter.write(
        options.checkpoint,
        options.output,
        dtype=dtype_of(options.dtype),
        weights=options.weights,
        step=options.step,
    )
    base = summary["base_model_name_or_path"]
    size_px = opened.read_config(options.checkpoint).vision.image_size
    which = opened.described(options.checkpoint, options.weights, options.step)
    say(
        f"wrote {options.output}, a PEFT adapter, from {which}",
        f"its base is {base} in the official form, at {size_px} px"
        if base
        else "the run started without --init, so that the adapter names no base",
    )


def config_files(config: ModelConfig, engine: str, dtype: str) -> dict[str, Any]:
    """Return the JSON files of an export, by name.

    Args:
        config: The model.
        engine: One of ENGINES.
        dtype: One of DTYPES: the type of the weights.

    Raises:
        ValueError: The engine cannot run such a model; says why.
    """
    from cogvlm.checkpoints import official_config

    data = official_config.write(config)
    _refuse(config, engine, is_glm=data["architectures"] == ["ChatGLMModel"])
    data["torch_dtype"] = _DTYPE_NAMES[dtype]
    if engine == "vllm":
        data["architectures"] = ["GLM4VForCausalLM"]
    files = {"config.json": data, "generation_config.json": _generation_config(config)}
    if engine == "llama.cpp":
        files["preprocessor_config.json"] = _preprocessor_config(config)
    return files


def write(
    model: CogVLM, folder: Path | str, files: dict[str, Any], *, tokenizer: Path | str | None = None
) -> None:
    """Write an export folder.

    Args:
        model: The model, in the type that is to be stored.
        folder: Must not exist, or be empty.
        files: From `config_files`.
        tokenizer: A folder whose tokenizer files are copied.
    """
    from cogvlm.checkpoints import checkpoint, names

    state = model.state_dict()
    is_glm = "padded_vocab_size" in files["config.json"]
    ways = names.to_glm4v(state) if is_glm else names.same_names(state, model.config)
    checkpoint.write_folder(folder, files, state, ways, tokenizer=tokenizer)


def _refuse(config: ModelConfig, engine: str, is_glm: bool) -> None:
    is_v2 = config.projector.kind == "conv_glu"
    positions = config.vision.grid_size**2 + 1
    reason = None
    if engine == "vllm" and not is_glm:
        reason = "vLLM has no CogVLM class, only GLM-4V; use --for hf, lmdeploy or llama.cpp"
    elif engine == "llama.cpp" and (is_glm or is_v2 or not config.has_experts):
        reason = "llama.cpp's converter knows CogVLM v1 only (no convolution, no grouped queries)"
    elif engine == "lmdeploy" and not is_glm and not config.has_experts:
        reason = "LMDeploy knows CogVLM and CogVLM2 with experts only"
    elif engine == "lmdeploy" and not is_glm and not is_v2 and positions != _V1_490_POSITIONS:
        reason = (
            f"LMDeploy takes every CogVLM with other than {_V1_490_POSITIONS} positions for "
            f"CogVLM2, and this model has {positions}; only 490 px work"
        )
    if reason is not None:
        raise ValueError(f"--for {engine}: {reason}")


def _remarks(config: ModelConfig, engine: str) -> list[str]:
    remarks = []
    if engine == "hf":
        remarks.append("the official configuration_*.py, modeling_*.py and visual.py go beside it")
    if engine == "lmdeploy" and config.rope.base != 10_000:
        remarks.append(
            f"LMDeploy computes RoPE with base 10000 whatever the model; this one has "
            f"{config.rope.base:g}: check its answers before you serve them"
        )
    return remarks


def _generation_config(config: ModelConfig) -> dict[str, Any]:
    stops = [config.eos_id, *config.stop_ids]
    return {
        "bos_token_id": config.bos_id,
        "eos_token_id": stops if len(stops) > 1 else stops[0],
        "pad_token_id": config.pad_id,
    }


def _preprocessor_config(config: ModelConfig) -> dict[str, Any]:
    from cogvlm.data.pixels import normalisation

    mean, std = normalisation(config.vision)
    size = config.vision.image_size
    return {
        "image_mean": list(mean),
        "image_std": list(std),
        "size": {"height": size, "width": size},
    }


if __name__ == "__main__":
    sys.exit(main())
