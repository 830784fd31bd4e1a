"""The GPU bench where there is no GPU: it says so, and its whole path runs at toy size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.cogvlm.tiny_models import built, tiny
from helpers.floats import CLOSE, in_float64

from benchmarks import gpu_step, mask_routing, measure


def test_without_cuda_one_line_says_why(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_step.main([]) == 0
    assert capsys.readouterr().out == "gpu_step: skipped, torch finds no CUDA device\n"


@pytest.mark.slow
def test_toy_sizes_on_a_cpu_give_a_table(monkeypatch, capsys, tmp_path: Path):
    monkeypatch.setattr(measure, "ROOT", tmp_path)
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "results")
    options = ["--device=cpu", "--tiny", "--no_compile", "--record"]
    assert gpu_step.main(options) == 0
    printed = capsys.readouterr().out
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| debug")]
    assert [row[2] for row in rows] == ["mask routing", "ours"]
    assert all(float(row[3].replace(",", "")) > 0 for row in rows)
    (recorded,) = (tmp_path / "results").iterdir()
    assert all(" | ".join(row) in recorded.read_text() for row in rows)


def test_an_unknown_card_asks_for_its_peak(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some Card")
    assert gpu_step.main([]) == 2
    assert "--peak_tflops" in capsys.readouterr().err


@in_float64()
def test_mask_routing_has_the_models_loss_and_gradients():
    case = gpu_step.Case("tiny", tiny(skip_unused=False), 2)
    model, batch = built(case.config).double(), gpu_step._batch(case)
    weights = [model.model.vision.eoi, *model.model.layers[0].parameters()]
    masked = mask_routing.loss(model, batch, mask_routing.masks(batch.route))
    ours, _ = model.loss(batch)
    torch.testing.assert_close(ours, masked, **CLOSE)
    pairs = zip(
        torch.autograd.grad(ours, weights), torch.autograd.grad(masked, weights), strict=True
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, **CLOSE)


@pytest.mark.parametrize(("name", "peak"), [("NVIDIA A100-SXM4-80GB", 312), ("NVIDIA H200", 989)])
def test_the_peak_follows_from_the_devices_name(monkeypatch, name, peak):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    assert gpu_step._peak_tflops("cuda") == peak
