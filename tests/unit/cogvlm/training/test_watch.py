"""Watching a run: the log through kills and resumes, the lines, TensorBoard, wandb, MFU."""

from __future__ import annotations

import inspect
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cogvlm.costs.gpus import peak_flops_of
from cogvlm.training.run_log import Log
from cogvlm.training.watch import NoWatch, StepReport, Watch, read_log

REPORT = StepReport(
    step=1, epoch=0, loss=2.5, learning_rate=1e-4, grad_norm=0.7, samples=8, tokens=4000,
    targets=90, empty=1, flops=3e12, seconds=2.0, wait_seconds=0.5, skipped_update=False,
)  # fmt: skip


def report(step: int, **changes: Any) -> StepReport:
    return replace(REPORT, step=step, loss=3 - step / 10, **changes)


@contextmanager
def watching(folder: Path, **options: Any) -> Iterator[Watch]:
    told = {"steps": 10, "peak_flops": None, "settings": {"seed": 1}, "plain": True, **options}
    with closing(Watch(folder, **told)) as started:
        yield started


def of_steps(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_log(folder) if line["kind"] == "step"]


def test_log_round_trip(tmp_path: Path) -> None:
    reports = [report(1), replace(report(2, skipped_update=True), loss=math.nan), report(3)]
    reports[2] = replace(reports[2], grad_norm=math.inf, epoch=None)
    with watching(tmp_path, peak_flops=6e12) as run:
        run.event("start", ranks=2)
        for each in reports:
            run.step(each)
        run.event("snapshot", path=tmp_path / "snapshots" / "3", sizes=[1, math.inf])
    start, *steps, snapshot = read_log(tmp_path)
    assert (start["kind"], start["step"], start["ranks"]) == ("start", 0, 2)
    assert start["settings"] == {"seed": 1}
    assert (snapshot["kind"], snapshot["step"]) == ("snapshot", 3)
    assert snapshot["path"] == str(tmp_path / "snapshots" / "3")
    for each, line in zip(reports, steps, strict=True):
        assert repr({name: line[name] for name in asdict(each)}) == repr(asdict(each))
        assert line["mfu"] == pytest.approx(0.25)


def test_every_line_is_strict_json_and_there_at_once(tmp_path: Path) -> None:
    def refuse(word: str) -> float:
        raise AssertionError(word)

    with watching(tmp_path) as run:
        run.step(replace(REPORT, loss=math.nan, grad_norm=-math.inf))
        (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
        assert json.loads(line, parse_constant=refuse)["loss"] == "nan"
        assert len(read_log(tmp_path)) == 1


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_a_killed_and_resumed_run_reads_like_one_that_was_not(tmp_path: Path, keep: float) -> None:
    log = tmp_path / "log.jsonl"
    with watching(tmp_path) as run:
        for step in range(1, 6):
            run.step(report(step))
    *whole, last = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(whole) + last[: int(keep * (len(last) - 1))])
    assert [line["step"] for line in of_steps(tmp_path)] == [1, 2, 3, 4]
    with watching(tmp_path) as run:
        run.event("resume", step=2)
        run.step(report(3, seconds=9.0))
        assert [line["step"] for line in of_steps(tmp_path)] == [1, 2, 3, 4]
        for step in range(4, 7):
            run.step(report(step))
    assert [line["step"] for line in of_steps(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert [line["seconds"] for line in of_steps(tmp_path)] == [2, 2, 9, 2, 2, 2]
    assert [line["kind"] for line in read_log(tmp_path)].index("resume") == 2
    assert len(log.read_bytes().splitlines()) == 4 + 1 + 4


def test_a_log_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"log\.jsonl does not exist; give the folder"):
        read_log(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"kind": "start", "step": 0}\n{"kind"\n{}\n')
    with pytest.raises(ValueError, match=r"log\.jsonl, line 2 is not JSON"):
        read_log(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_not_swallowed(tmp_path: Path) -> None:
    with closing(Log(tmp_path)) as log:
        os.dup2(os.open("/dev/full", os.O_WRONLY), log._file.fileno())
        with pytest.raises(OSError, match="No space left"):
            log.event("stop", 1, {})
        os.dup2(os.open(os.devnull, os.O_WRONLY), log._file.fileno())


def test_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with watching(tmp_path, steps=1000, peak_flops=6e12, every=4) as run:
        run.event("start", ranks=2)
        for step in range(1, 10):
            run.step(report(step))
        run.event("skip", grad_norm=math.inf)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "step 0: start, ranks 2",
        "step 1/1,000: loss 2.9000, 4.0 samples/s, 2,000 tokens/s, MFU 25.0%, "
        "25% waiting for data, about 33.3 min left",
    ]
    assert [line.split(":")[0] for line in lines[2:]] == [
        "step 4/1,000", "step 8/1,000", "step 9", "step 9/1,000"
    ]  # fmt: skip
    assert lines[-2] == "step 9: skip, grad_norm inf"


def test_the_last_step_has_its_line_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with watching(tmp_path, steps=3, every=100) as run:
        for step in (1, 2, 3):
            run.step(report(step))
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("step 1/3: ") and last.startswith("step 3/3: ")
    assert "MFU -," in last and last.endswith("about 0 s left")


def test_a_slow_run_has_a_line_every_30_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([100, 129, 130, 131])
    with watching(tmp_path, every=100, clock=lambda: next(now)) as run:
        for step in (1, 2, 3, 4):
            run.step(report(step))
        lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["step 1/10", "step 3/10"]


def test_rates_and_loss_are_of_the_last_20_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with watching(tmp_path, steps=99, peak_flops=3e12) as run:
        for step in range(1, 31):
            slow = replace(REPORT, step=step, loss=9.0, seconds=100.0)
            run.step(slow if step <= 10 else replace(REPORT, step=step, seconds=4.0))
        run.step(replace(REPORT, step=31, loss=math.nan, seconds=4.0))
    *_, before, last = capsys.readouterr().err.splitlines()
    assert "loss 2.5000, 2.0 samples/s, 1,000 tokens/s, MFU 25.0%" in before
    assert "loss 2.5000" in last


def test_a_terminal_has_a_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with watching(tmp_path, plain=False, peak_flops=6e12) as run:
        run.event("snapshot", path="[red]")
        run.step(report(1))
    shown = " ".join(capsys.readouterr().err.split())
    assert "step 0: snapshot, path [red]" in shown
    assert "step 1/10" in shown and "MFU 25.0%" in shown


def test_tensorboard_takes_back_what_a_resumed_run_repeats(tmp_path: Path) -> None:
    with watching(tmp_path, peak_flops=6e12) as run:
        for step in range(1, 6):
            run.step(report(step))
    with watching(tmp_path, peak_flops=6e12) as run:
        run.event("resume", step=2)
        run.step(report(3, seconds=9.0))
        run.event("validation", loss=1.5, set="small")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    seconds = [(each.step, each.value) for each in events.Scalars("train/seconds")]
    assert seconds == [(1, 2), (2, 2), (3, 9)]
    assert events.Scalars("speed/mfu")[0].value == pytest.approx(0.25)
    assert [(each.step, each.value) for each in events.Scalars("validation/loss")] == [(3, 1.5)]
    assert "validation/set" not in events.Tags()["scalars"]


class FakeRun:
    id = "abc"

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.is_finished = False

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.logged.append((step, numbers))

    def finish(self) -> None:
        self.is_finished = True


def test_wandb_goes_on_in_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, runs = [], []

    def init(**options: Any) -> FakeRun:
        calls.append(options)
        runs.append(FakeRun())
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Error=OSError))
    for _ in range(2):
        with watching(tmp_path, wandb="project") as run:
            run.event("snapshot", path="x")
            run.step(REPORT)
    assert [call["id"] for call in calls] == [None, "abc"]
    assert calls[0]["project"] == "project" and calls[0]["config"] == {"seed": 1}
    ((step, numbers),) = runs[0].logged
    assert step == 1 and numbers["train/loss"] == 2.5 and numbers["speed/samples_per_s"] == 4
    assert runs[0].is_finished


def test_wandb_that_cannot_be_used_is_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: Any) -> None:
        raise OSError("no key")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Error=OSError))
    with pytest.raises(ValueError, match="no key; type wandb login, or set WANDB_MODE=offline"):
        Watch(tmp_path, steps=1, peak_flops=None, settings={}, wandb="project")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="pip install wandb"):
        Watch(tmp_path, steps=1, peak_flops=None, settings={}, wandb="project")


def test_other_ranks_report_the_same_way() -> None:
    other = NoWatch()
    other.event("start")
    other.step(REPORT)
    other.close()
    assert inspect.getmembers(NoWatch, inspect.isfunction)
    for name, method in inspect.getmembers(NoWatch, inspect.isfunction):
        assert inspect.signature(method) == inspect.signature(getattr(Watch, name))


def test_closing_twice_is_fine_and_one_failure_stops_no_other_close(tmp_path: Path) -> None:
    closed = []

    def fail() -> None:
        raise OSError("full")

    with watching(tmp_path) as run:
        run._sinks[:0] = [SimpleNamespace(close=lambda: closed.append(1))]  # type: ignore[list-item]
        run._sinks += [SimpleNamespace(close=fail)]  # type: ignore[list-item]
        with pytest.raises(OSError, match="full"):
            run.close()
    assert closed == [1]


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("NVIDIA A100-SXM4-80GB", "bf16", 312e12),
        ("A100-PCIE-40GB", "fp16", 312e12),
        ("NVIDIA H100 80GB HBM3", "bf16", 989e12),
        ("NVIDIA H100 PCIe", "bf16", 756e12),
        ("NVIDIA H100 NVL", "bf16", 835e12),
        ("NVIDIA H200", "bf16", 989e12),
        ("NVIDIA B200", "bf16", 2250e12),
        ("NVIDIA L40S", "bf16", 362e12),
        ("NVIDIA GeForce RTX 4090", "bf16", 165e12),
        ("Tesla V100-SXM2-32GB", "fp16", 125e12),
        ("Tesla V100-PCIE-16GB", "fp16", 112e12),
        ("Tesla V100-SXM2-32GB", "bf16", None),
        ("NVIDIA H100 80GB HBM3", "fp32", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bf16", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16", None),
        ("NVIDIA GeForce RTX 4090 D", "bf16", None),
        ("NVIDIA GH200 480GB", "bf16", None),
        ("cpu", "bf16", None),
        ("", "bf16", None),
    ],
)
def test_peaks(name: str, dtype: str, expected: float | None) -> None:
    assert peak_flops_of(name, dtype) == expected


def test_the_terminal_shows_the_first_skips_and_the_log_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with watching(tmp_path) as run:
        for number in range(50):
            run.event("skip", step=1, key=f"key{number}")
    shown = capsys.readouterr().err
    assert "key19" in shown and "key20" not in shown
    assert sum(line["kind"] == "skip" for line in read_log(tmp_path)) == 50
