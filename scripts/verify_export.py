r"""Load an export with the official code and compare its logits with ours.

    python -m scripts.verify_export --export FOLDER --code THUDM/cogvlm-chat-hf \\
        --tokenizer lmsys/vicuna-7b-v1.5 --image photo.jpg --prompt "What is this?"

For people with network and memory: it fetches and RUNS the official Python code, which wants the
libraries of its time (transformers 4.41). By default both models run in float32 on
the CPU.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cogvlm.checkpoints import checkpoint
from cogvlm.devices import DTYPES, dtype_of
from cogvlm.model.config import ModelConfig
from cogvlm.model.layout import IGNORE, Sample, collate
from shards.commandline import run, say


def main() -> int:
    """Compare; returns 0 where both agree, 1 where they do not."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.verify_export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--export", type=Path, required=True, help="made by cogvlm.export")
    parser.add_argument("--code", required=True, help="repository with the official code; it RUNS")
    parser.add_argument("--tokenizer", help="default: that of the code's repository")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--prompt", default="Describe the image.")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="largest logit difference")
    options = parser.parse_args()
    agreed: list[bool] = []
    code = run(lambda: agreed.append(_verify(options)))
    return code or int(not agreed[0])


def _verify(options: argparse.Namespace) -> bool:
    config = checkpoint.read_config(options.export)
    ask = _ask_glm4v if config.boundary_ids else _ask_cogvlm
    sample, theirs = ask(options, config)
    model = checkpoint.load(
        options.export, device=options.device, dtype=dtype_of(options.dtype)
    ).eval()
    with torch.inference_mode():
        ours = model(collate([[sample]], config).to(options.device)).cpu()
    difference = (ours - theirs).abs().max().item()
    same_tokens = bool((ours.argmax(-1) == theirs.argmax(-1)).all())
    say(
        f"largest difference of a logit: {difference:.3g} (allowed {options.tolerance:g})",
        f"likeliest token the same everywhere: {same_tokens}",
    )
    return difference <= options.tolerance


def _ask_cogvlm(options: argparse.Namespace, config: ModelConfig) -> tuple[Sample, Tensor]:
    """Return what the official CogVLM code was asked, as a sample of ours, and its logits."""
    tokenizer, model = _official(options)
    inputs = model.build_conversation_input_ids(
        tokenizer, query=options.prompt, history=[], images=[_image(options)]
    )
    names = ("input_ids", "token_type_ids", "attention_mask")
    images = [image.to(options.device, model.dtype) for image in inputs["images"]]
    with torch.inference_mode():
        logits = model(
            **{name: inputs[name][None].to(options.device) for name in names}, images=[images]
        ).logits
    ids, spans = inputs["input_ids"].tolist(), inputs["token_type_ids"].tolist()
    return _sample(ids, spans_of(spans, config.span_size), inputs["images"]), logits.float().cpu()


def _ask_glm4v(options: argparse.Namespace, config: ModelConfig) -> tuple[Sample, Tensor]:
    """Do the same with GLM-4V, whose code turns BOI, a placeholder and EOI into an image."""
    tokenizer, model = _official(options)
    turn = {"role": "user", "image": _image(options), "content": options.prompt}
    inputs = tokenizer.apply_chat_template(
        [turn], add_generation_prompt=True, tokenize=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        logits = model(**inputs.to(options.device)).logits
    ids = inputs["input_ids"][0].tolist()
    at = ids.index(config.boundary_ids[0])
    slots = [ids[at], *[config.pad_id] * config.image_tokens, ids[at + 2]]
    expanded = ids[:at] + slots + ids[at + 3 :]
    return _sample(expanded, [(at, at + len(slots))], inputs["images"]), logits.float().cpu()


def spans_of(types: Sequence[int], span_size: int) -> list[tuple[int, int]]:
    """Return the image spans of official token types (0 language, 1 vision).

    Raises:
        ValueError: A run of vision tokens is not a whole number of images.
    """
    runs, start = [], None
    for place, kind in enumerate([*types, 0]):
        if kind and start is None:
            start = place
        elif not kind and start is not None:
            if (place - start) % span_size:
                raise ValueError(
                    f"token types hold {place - start} vision tokens at {start}, but an image "
                    f"takes {span_size}"
                )
            runs += [(at, at + span_size) for at in range(start, place, span_size)]
            start = None
    return runs


def _sample(ids: list[int], spans: list[tuple[int, int]], images: Iterable[Tensor]) -> Sample:
    return Sample(ids, [IGNORE] * len(ids), spans, [image.float().cpu() for image in images])


def _image(options: argparse.Namespace) -> Any:
    from PIL import Image

    return Image.open(options.image).convert("RGB")


def _official(options: argparse.Namespace) -> tuple[Any, Any]:
    """Return the tokenizer, and the official code with the export's weights."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        options.tokenizer or options.code, trust_remote_code=True
    )
    with tempfile.TemporaryDirectory() as folder:
        _add_code(options.code, options.export, Path(folder))
        model = AutoModelForCausalLM.from_pretrained(
            folder, trust_remote_code=True, torch_dtype=dtype_of(options.dtype)
        )
    return tokenizer, model.to(options.device).eval()


def _add_code(repository: str, export: Path, folder: Path) -> None:
    """Put the official code and links to the export's files into one folder."""
    from huggingface_hub import snapshot_download

    code = Path(snapshot_download(repository, allow_patterns=["*.py"]))
    for file in code.glob("*.py"):
        shutil.copyfile(file, folder / file.name)
    for file in export.iterdir():
        (folder / file.name).symlink_to(file.resolve())


if __name__ == "__main__":
    sys.exit(main())
