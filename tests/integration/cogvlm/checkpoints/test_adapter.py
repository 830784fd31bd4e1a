"""A run's low-rank differences as a PEFT adapter: the model of the merged export, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers.cogvlm import tiny_models, toy_tokenizer
from helpers.shards import toy_shards
from torch import Tensor

from cogvlm import export, train
from cogvlm.checkpoints import checkpoint, peft_adapter
from cogvlm.model import presets
from cogvlm.model.variants.small import debug

Run = Callable[..., Path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with shards, a tokenizer and a checkpoint to start from."""
    place = tmp_path_factory.mktemp("base")
    toy_shards.write_run(place / "pairs", toy_shards.captioned(8), shard_size=8)
    toy_tokenizer.write(place / "words")
    config = replace(debug(), vocab_size=512, max_positions=128)
    checkpoint.save(tiny_models.built(config), place / "plain")
    return place


@pytest.fixture
def trained(base: Path, tmp_path: Path) -> Run:
    """Return a function that trains two steps from the checkpoint and gives the run's folder."""

    def run(*flags: str) -> Path:
        out = tmp_path / "run"
        given = (
            *("--preset", "debug", "--model", "", "--init", str(base / "plain")),
            *("--data", str(base / "pairs"), "--tokenizer", str(base / "words")),
            *("--steps", "2", "--warmup_steps", "0", "--workers", "0", "--global_batch", "4"),
            *("--precision", "fp32", "--lr", "0.01", "--output", str(out), *flags),
        )
        assert train.main([*given]) == 0
        return out

    return run


def lora(*trains: str) -> tuple[str, ...]:
    return ("--lora_rank", "4", "--lora_alpha", "6", "--trains", "lora", *trains)


def exported(run: Path, folder: Path, *flags: str) -> dict[str, Tensor]:
    """Export in fp32 and return the one file's tensors."""
    flags = ("--checkpoint", str(run), "--output", str(folder), "--dtype", "fp32", *flags)
    assert export.main([*flags]) == 0
    (file,) = folder.glob("*.safetensors")
    return safetensors.torch.load_file(file)


@pytest.mark.parametrize("weights", ["raw", "ema"])
def test_base_and_adapter_are_the_merged_export(
    trained: Run, base: Path, tmp_path: Path, weights: str
) -> None:
    run = trained(*lora(), "--ema", "0.5")
    merged = exported(run, tmp_path / "merged", "--weights", weights)
    found = exported(run, tmp_path / "adapter", "--weights", weights, "--adapter")
    told = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    scale = told["lora_alpha"] / told["r"]
    expected = exported(base / "plain", tmp_path / "official")
    for module in told["target_modules"]:
        down, up = (found.pop(f"base_model.model.{module}.lora_{part}.weight") for part in "AB")
        assert (len(down), up.shape[1]) == (4, 4) and up.any()
        expected[f"{module}.weight"] += up @ down * scale
    assert found == {}
    assert merged.keys() == expected.keys()
    assert all(torch.equal(merged[name], expected[name]) for name in merged)


def test_what_peft_reads(
    trained: Run, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(*lora(), "--lora_targets", "language_expert_dense")
    found = exported(run, tmp_path / "adapter", "--adapter")
    assert f"its base is {base / 'plain'} in the official form, at 56 px" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    modules = [f"model.layers.{n}.self_attn.language_expert_dense" for n in (0, 1)]
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text()) == {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base / "plain"),
        "inference_mode": True,
        "r": 4,
        "lora_alpha": 6.0,
        "lora_dropout": 0.0,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
    }
    assert {*found} == {
        f"base_model.model.{name}.lora_{part}.weight" for name in modules for part in "AB"
    }


def refused(capsys: pytest.CaptureFixture[str], run: Path, *flags: str) -> str:
    """Return what is said of an adapter that cannot be, of which nothing is left."""
    out = run.parent / "refused"
    given = ("--checkpoint", str(run), "--output", str(out), "--adapter", *flags)
    capsys.readouterr()
    assert export.main([*given]) == 2
    assert not out.exists()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--trains", "expert"), "trained without --lora_rank; leave --adapter out"),
        (lora("expert", "adapter"), "cannot hold: adapter, expert; leave --adapter out"),
    ],
)
def test_runs_that_are_more_than_an_adapter(
    trained: Run, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], says: str
) -> None:
    assert says in refused(capsys, trained(*flags))


def test_glm4v_has_other_matrices() -> None:
    with pytest.raises(ValueError, match="one matrix where this model has gate and up"):
        peft_adapter._check_official(presets.preset("glm4v_9b"))


def test_a_checkpoint_has_no_adapter(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, base / "plain")
    assert "is not a training run" in said and "give the folder of a run with --lora_rank" in said


def test_no_averages_and_other_engines(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(*lora(), "--ema", "0")
    assert "has no averaged weights" in refused(capsys, run, "--weights", "ema")
    assert "--for vllm takes whole models" in refused(capsys, run, "--for", "vllm")
