"""Folders of golden tensors, made with the official code; GOLDEN_DIR names another set.

A folder is recognised by its files, and every size, name and case is read from them, so that any
set of the same layout can be checked.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.paths import GOLDEN
from safetensors.torch import load_file
from torch import Tensor

from cogvlm.checkpoints import checkpoint
from cogvlm.model.cache import Cache
from cogvlm.model.config import ModelConfig
from cogvlm.model.decoder import CogVLM, Context
from cogvlm.model.layout import IGNORE, Batch, Sample, collate
from cogvlm.model.rope import inverse_frequencies, tables
from scripts.verify_export import spans_of

ROOT = Path(os.environ.get("GOLDEN_DIR", GOLDEN))


def parameters(name: str, *needs: str, when: Callable[[Path], bool] = lambda _: True) -> list:
    """Return the files of a name, each with its folder having `needs`; a skip where none do."""
    found = [
        path
        for path in sorted(ROOT.rglob(name))
        if all((path.parent / need).exists() for need in needs) and when(path)
    ]
    if not found:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no {name} in {ROOT}"))]
    return [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in found]


def is_cogvlm(path: Path) -> bool:
    return _has_field(path, "vision_config") and not is_glm(path)


def is_glm(path: Path) -> bool:
    return _has_field(path, "padded_vocab_size")


def _has_field(path: Path, name: str) -> bool:
    return name in json.loads((path.parent / "config.json").read_text())


def has(case: dict[str, Tensor], *names: str) -> None:
    """Skip the test where a case lacks tensors."""
    missing = [name for name in names if name not in case]
    if missing:
        pytest.skip(f"the case has no {', '.join(missing)}")


def model_of(path: Path, **changes: object) -> CogVLM:
    """Load the toy model beside a case, in float32."""
    config = dataclasses.replace(checkpoint.read_config(path.parent), **changes)
    return checkpoint.load(path.parent, dtype=torch.float32, config=config)


def double_of(model: CogVLM) -> CogVLM:
    """Return the model in float64, its rotation by the tables that the official code has: float32.

    A float64 angle would differ by 3e-6 at position 100, which would hide every other rounding.
    """
    rope = inverse_frequencies(model.config).float()
    double = copy.deepcopy(model).double()
    wide = double.model.context

    def context(batch: Batch, cache: Cache | None = None) -> Context:
        cos, sin = tables(batch.positions_ABL, rope)
        return dataclasses.replace(wide(batch, cache), cos=cos.double(), sin=sin.double())

    double.model.context = context  # type: ignore[method-assign]
    return double


def load_case(path: Path) -> dict[str, Tensor]:
    return load_file(path)


def batch_of(case: dict[str, Tensor], config: ModelConfig) -> Batch:
    """Rebuild a case's batch from its samples: padding is stripped and put back by `collate`."""
    ids_BL = case["input_ids"]
    rows = len(ids_BL)
    types = case.get("token_type_ids")
    real = case.get("attention_mask")
    labels = case.get("labels")
    images = list(case["images"]) if "images" in case else []
    counts = case["images_per_sample"].tolist() if "images_per_sample" in case else [0] * rows
    samples = []
    for row in range(rows):
        keep = real[row].bool() if real is not None else ids_BL[row] == ids_BL[row]
        spans = spans_of(types[row][keep].tolist(), config.span_size) if types is not None else []
        ids = ids_BL[row][keep].tolist()
        samples.append(
            Sample(
                ids=ids,
                labels=labels[row][keep].tolist() if labels is not None else [IGNORE] * len(ids),
                spans=spans,
                images=[images.pop(0) for _ in range(counts[row])],
            )
        )
    is_left = real is not None and not bool(real[:, 0].all())
    batch = collate(
        [[sample] for sample in samples],
        config,
        length=ids_BL.shape[1],
        side="left" if is_left else "right",
    )
    assert batch.ids_BL.equal(ids_BL)
    return batch
