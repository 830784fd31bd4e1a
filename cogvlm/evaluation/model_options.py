"""The flags that say which model is evaluated and how it runs. Importing this is free."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cogvlm.devices import DTYPES, device_of, dtype_of
from cogvlm.model.registry import TEMPLATES

if TYPE_CHECKING:
    from cogvlm.evaluation.subject import Subject


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which model it is and how it is run."""
    add = parser.add_argument
    add(
        "--weights", choices=("ema", "raw"), help="of a run; default: averaged where there are such"
    )
    add("--step", type=int, help="of a run: which snapshot; default: the newest")
    add("--template", help=f"{', '.join(TEMPLATES)}; default: the run's, or the checkpoint's")
    add("--tokenizer", help="tokenizer.json or its folder; default: the checkpoint's")
    add("--batch", type=int, default=8, help="prompts that are answered together")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    add("--dtype", choices=DTYPES, help="default: bf16 on a GPU, fp32 on a CPU")


def open_model(options: argparse.Namespace) -> Subject:
    """Return the model that the flags of `add_model_options` and --checkpoint name.

    Raises:
        ValueError: It is not there, or does not fit.
    """
    from cogvlm.evaluation.subject import open_subject

    device = device_of(options.device)
    return open_subject(
        options.checkpoint,
        weights=options.weights,
        step=options.step,
        tokenizer=options.tokenizer,
        template=options.template,
        device=device,
        dtype=dtype_of(options.dtype or ("fp32" if device.type == "cpu" else "bf16")),
    )
