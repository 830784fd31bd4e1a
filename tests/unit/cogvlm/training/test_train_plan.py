"""The micro-batch that is chosen: the largest that the memory plan says will fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.cogvlm import toy_tokenizer
from helpers.shards import toy_shards

from cogvlm.costs.activations import activations
from cogvlm.costs.gpus import state_bytes
from cogvlm.model.groups import counts
from cogvlm.training import dry_run, prepare
from cogvlm.training.config import TrainConfig


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> prepare.Prepared:
    folder = tmp_path_factory.mktemp("data")
    run = toy_shards.write_run(folder / "run", toy_shards.captioned(40))
    config = TrainConfig(
        data=str(run),
        model="debug",
        tokenizer=str(toy_tokenizer.write(folder)),
        output=str(folder / "out"),
        workers=0,
    )
    return prepare.prepare(config, 1)


def world(device: str, ranks: int = 1) -> Any:
    return SimpleNamespace(device=torch.device(device), ranks=ranks)


def needed(prepared: prepare.Prepared, rows: int) -> float:
    config = prepared.config
    text = dry_run.survey(prepared.plan, 0).text_tokens
    kept = activations(
        prepared.model, frozenset(config.trains), micro_batch=rows, text_tokens=text
    ).total
    return kept + sum(state_bytes(counts(prepared.model), config.trains).values())


def test_a_gpu_gets_the_largest_power_of_two_that_fits(prepared: prepare.Prepared) -> None:
    assert dry_run.micro_batch(prepared, world("cuda"), needed(prepared, 16) + 1000) == 16
    assert dry_run.micro_batch(prepared, world("cuda"), 1e12) == 64  # the whole batch
    assert dry_run.micro_batch(prepared, world("cuda", ranks=4), 1e12) == 16


def test_a_gpu_that_is_too_small_is_told_before_anything_is_built(
    prepared: prepare.Prepared,
) -> None:
    with pytest.raises(ValueError, match=r"no micro-batch fits .* --checkpoint_activations both"):
        dry_run.micro_batch(prepared, world("cuda"), needed(prepared, 1) / 2)


def test_what_the_user_says_is_kept_within_the_batch(prepared: prepare.Prepared) -> None:
    fixed = replace(prepared, config=replace(prepared.config, micro_batch=48))
    assert dry_run.micro_batch(fixed, world("cpu")) == 48
    assert dry_run.micro_batch(fixed, world("cpu", ranks=2)) == 32
    assert dry_run.micro_batch(prepared, world("cpu")) == 8


def test_a_survey_counts_what_cannot_be_used_and_what_is_small(tmp_path: Path) -> None:
    samples = toy_shards.captioned(6, size=64)
    broken = samples[0]
    samples[0] = toy_shards.ToySample(broken.caption, (b"\xff\xd8 no",), size_px=(64, 64))
    run = toy_shards.write_run(tmp_path / "run", samples)
    config = TrainConfig(
        data=str(run),
        model="debug",
        tokenizer=str(toy_tokenizer.write(tmp_path)),
        image_size=84,
        output=str(tmp_path / "out"),
        workers=0,
        global_batch=2,
    )
    found = dry_run.survey(prepare.prepare(config, 1).plan, 0)
    assert (found.looked_at, found.usable, found.images, found.small) == (6, 5, 5, 5)
    assert found.tokens > found.targets > 10
