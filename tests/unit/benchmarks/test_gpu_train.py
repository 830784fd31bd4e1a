"""The bench of the trainer without a GPU: it says so, and its whole path runs at toy size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_train, measure
from cogvlm.model.variants.small import debug


def test_without_cuda_one_line_says_why(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_train.main([]) == 0
    assert capsys.readouterr().out == "gpu_train: skipped, torch finds no CUDA device\n"


def test_toy_sizes_on_a_cpu_give_a_table(monkeypatch, capsys, tmp_path: Path):
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    options = ["--device=cpu", "--toy", "--no_compile", "--record"]
    assert gpu_train.main([*options, "--micro_batch=2", "--micro_steps=2", "--steps=6"]) == 0
    printed = capsys.readouterr().out
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    values = {row[0].removeprefix("| "): float(row[1].replace(",", "")) for row in rows[1:]}
    assert values["tokens"] > values["samples"] > 0
    assert values["MFU"] > 0
    assert "num_layers=1" in printed
    (recorded,) = tmp_path.iterdir()
    assert all(" | ".join(row) in recorded.read_text() for row in rows)


@pytest.mark.parametrize(
    ("options", "told"), [(["--device=cpu"], "--toy"), (["--steps=5"], "--steps 5")]
)
def test_what_cannot_be_measured_is_refused(capsys, options, told):
    with pytest.raises(SystemExit):
        gpu_train.main(options)
    assert told in capsys.readouterr().err


def test_an_unknown_card_asks_for_its_peak(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some Card")
    assert gpu_train.main([]) == 2
    assert "--peak_tflops" in capsys.readouterr().err


def test_the_slice_is_the_largest_that_fits():
    whole = debug()
    config = replace(whole, num_layers=8, vision=replace(whole.vision, num_layers=16))
    assert gpu_train.largest_slice(config, 1e12, 2) == (8, 16)
    layers, blocks = gpu_train.largest_slice(config, 33e6, 2)
    assert 0 < layers < 8
    assert blocks == 2 * layers
    with pytest.raises(ValueError, match="no layer fits"):
        gpu_train.largest_slice(config, 20e6, 2)
