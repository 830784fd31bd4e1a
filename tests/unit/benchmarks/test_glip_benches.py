"""GLIP's benches at toy size: their whole path runs, and figures are read as meant."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import glip_speed, gpu_ground, measure


def test_without_cuda_one_line_says_why(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_ground.main([]) == 0
    assert capsys.readouterr().out == "gpu_ground: skipped, torch finds no CUDA device\n"


def test_toy_sizes_on_a_cpu_give_a_table(monkeypatch, capsys, tmp_path: Path):
    monkeypatch.setattr(measure, "ROOT", tmp_path)
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "results")
    options = ["--device=cpu", "--toy", "--images=5", "--batch=2", "--record"]
    assert gpu_ground.main(options) == 0
    printed = capsys.readouterr().out
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| toy")]
    assert [row[1] for row in rows] == ["fp32", "bf16"]
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)
    (recorded,) = (tmp_path / "results").iterdir()
    assert all(" | ".join(row) in recorded.read_text() for row in rows)


def test_toy_work_ends_in_boxes():
    options = gpu_ground._parse(["--device=cpu", "--toy", "--images=3", "--batch=2"])
    config = gpu_ground.GlipConfig(name="toy", **gpu_ground._TOY)
    found = gpu_ground._measure(config, "fp32", gpu_ground._work(options), options)
    assert found.boxes > 0
    assert math.isnan(found.busy)


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [([], 0), ([(1, 3)], 2), ([(5, 6), (1, 3), (2, 4)], 4), ([(1, 9), (2, 3), (8, 10)], 9)],
)
def test_time_in_which_anything_ran(intervals: list, expected: float):
    assert gpu_ground.covered(intervals) == expected


def test_figures_of_the_child():
    seconds = {"ours": [2.0, 4.0], "padded": [6.0, 12.0], "products": [1.0, 2.0]}
    printed = "noise\n" + json.dumps({**seconds, "grounding_dino": [8.0, 16.0]})
    figures = {each.name: each for each in glip_speed.of_seconds(printed)}
    assert figures["GLIP-T"].value == 1.5
    assert figures["GLIP-T : text padded"].value == 3
    assert figures["GLIP-T : text padded"].met
    assert figures["time : products alone"].met is False
    assert figures["GLIP-T : GroundingDINO-tiny"].value == 4


@pytest.mark.slow
def test_the_child_at_toy_size():
    command = [sys.executable, "-m", "benchmarks.glip_step", "1", "--toy"]
    done = subprocess.run(command, cwd=measure.ROOT, capture_output=True, text=True, check=True)
    seconds = json.loads(done.stdout.splitlines()[-1])
    assert list(seconds) == ["ours", "padded", "products", "grounding_dino"]
    assert all(each[0] > 0 for each in seconds.values())
