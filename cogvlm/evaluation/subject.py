"""The model that is evaluated: opened, named, and what it was trained on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from cogvlm.checkpoints import opened
from cogvlm.checkpoints.opened import Weights
from cogvlm.data.tasks import TaskOptions
from cogvlm.data.tokenizer import Tokenizer
from cogvlm.model.decoder import CogVLM
from cogvlm.model.registry import TEMPLATES
from shards.dataset import Dataset, open_dataset
from shards.suggest import suggest

# Of a mixture: [task=]OUT[@SELECTION][:weight].
_ENTRY = re.compile(r"\s*(?:[a-z_]+\s*=)?\s*(.*?)\s*(?::\s*[0-9.eE+-]+)?\s*")


@dataclass(frozen=True)
class Subject:
    """What is asked."""

    model: CogVLM
    tokenizer: Tokenizer
    template: str
    options: TaskOptions  # of the training, as far as they are known
    facts: Mapping[str, Any]  # fingerprints and names, plain JSON


def open_subject(
    folder: str,
    *,
    weights: Weights | None,
    step: int | None,
    tokenizer: str | None,
    template: str | None,
    device: torch.device,
    dtype: torch.dtype,
) -> Subject:
    """Open a checkpoint folder or a training run.

    The template is the one given, else that of the run, else the checkpoint's.

    Raises:
        ValueError: Something does not fit or is not there.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"--checkpoint {folder}: there is no such folder")
    words = Tokenizer(tokenizer or folder)  # what was typed wrong shows before weights load
    settings = opened.settings(folder)
    template = template or settings.get("template")
    if template is not None and template not in TEMPLATES:
        raise ValueError(f"--template {template} is unknown; {suggest(template, TEMPLATES)}")
    model = opened.open_model(folder, device=device, dtype=dtype, weights=weights, step=step)
    if words.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"{words.place} has {words.vocab_size} tokens, the model {model.config.vocab_size}; "
            "they do not belong together"
        )
    # Its distance is no part of what a text costs.
    model.image_head = None
    template = template or model.config.template
    facts = _facts(folder, weights, step, model, dtype) | {
        "tokenizer": hashlib.sha256(Path(words.place).read_bytes()).hexdigest(),
        "template": template,
    }
    return Subject(model.eval(), words, template, _options(settings), facts)


def training_data(folder: str | None, given: str | None) -> tuple[list[Dataset], list[str]]:
    """Return what a model was trained on, and what is said of it that cannot be opened now.

    Raises:
        ValueError: A set of `given` cannot be opened.
    """
    if given is not None:
        return [open_dataset(spec.strip()) for spec in given.split(",") if spec.strip()], []
    trained_on = opened.settings(folder).get("data", "") if folder else ""
    datasets: list[Dataset] = []
    gone: list[str] = []
    for entry in trained_on.split(",") if trained_on else ():
        match = _ENTRY.fullmatch(entry)
        spec = match[1] if match else entry
        try:
            datasets.append(open_dataset(spec))
        except ValueError:
            gone.append(spec)
    return datasets, gone


def _options(settings: Mapping[str, Any]) -> TaskOptions:
    """Return how a run makes its tasks; all that is asked is there, so negatives are left out."""
    names = {each.name for each in fields(TaskOptions)} - {"negatives"}
    return TaskOptions(**{name: settings[name] for name in names & settings.keys()})


def _facts(
    folder: str, weights: Weights | None, step: int | None, model: CogVLM, dtype: torch.dtype
) -> dict[str, Any]:
    snapshot = opened.snapshot_of(folder, step)
    kind = "stored"
    if snapshot is not None:
        kind = "ema" if snapshot.facts["averaged"] and weights != "raw" else "raw"
    config = _digest(model.config.to_json())
    identity = {
        "config": config,
        "step": None if snapshot is None else snapshot.step,
        "weights": kind,
        "files": _files(Path(folder) if snapshot is None else snapshot.folder),
    }
    return {
        "checkpoint": folder,
        "described": opened.described(folder, weights, step),
        "fingerprint": _digest(identity),
        "config": config,
        "step": identity["step"],
        "weights": kind,
        "dtype": str(dtype).removeprefix("torch."),
    }


def _files(folder: Path) -> Sequence[tuple[str, int]]:
    """Return names and sizes of the files with weights; their bytes would take minutes to read."""
    kinds = (".safetensors", ".distcp", ".bin", ".pt")
    files = sorted(file for file in folder.iterdir() if file.suffix in kinds)
    return [(file.name, file.stat().st_size) for file in files]


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
