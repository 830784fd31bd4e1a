"""How a training run is watched: a log for programs, TensorBoard, wandb, and a progress line.

The loop reports every step, and what happens between steps, to a `Watch` on the main rank and to
a `NoWatch` on the others, so that it never asks which it is. `log.jsonl` has the facts and
`read_log` reads them; all else is a view. What fails here fails the run: a log that silently ends
is worse than a run that stops.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from cogvlm.commandline import DTYPES
from cogvlm.plan import GPUS

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EventKind = Literal[
    "start", "resume", "skip", "snapshot", "validation", "resolution", "stop", "error"
]
_LOG = "log.jsonl"
_WANDB_ID = "wandb_id"  # a resumed run goes on under the id that is in this file
_SMOOTHED_STEPS = 20
_PLAIN_EVERY_S = 30.0
_PART_OF_A_CARD = {"mig", "laptop", "d"}  # words of cards slower than their namesakes
_NOT_FINITE = {"nan", "inf", "-inf"}


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One optimiser step over all ranks."""

    step: int  # steps done with this one, from 1
    epoch: int | None  # passes over the data begun before it, from 0; None where there are none
    loss: float  # nats per target or per sample, of the global batch
    learning_rate: float  # the highest of the parameter groups
    grad_norm: float  # L2 norm over all trained parameters, before clipping
    samples: int
    tokens: int  # positions that hold a token: images and text, no padding
    targets: int  # tokens that the loss is taken of
    empty: int  # slots of the batch that held no sample
    keys: str = ""  # hex; the same whenever the same set of samples was seen
    flops: float  # by the rule of `cogvlm.flops`
    seconds: float  # wall time
    wait_seconds: float  # of `seconds`, spent waiting for data
    skipped_update: bool  # loss or gradients were not finite: the optimiser did not step


class NoWatch:
    """What the other ranks report to: nothing comes of it."""

    def step(self, report: StepReport) -> None:
        """Do nothing."""

    def event(self, kind: EventKind, /, **fields: Any) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Watch:
    """Writes what a run reports to all its places.

    Args:
        folder: Of the run. It gets `log.jsonl` and `tensorboard/`, and with wandb `wandb/`.
        steps: Steps of the whole run.
        peak_flops: FLOP/s of all ranks together, or None where it is not known.
        settings: Of the run; shown in all places.
        wandb: Project of Weights & Biases; None is without it.
        plain: Lines instead of a bar; by default where stderr is no terminal.
        every: Steps from one plain line to the next.

    Raises:
        ValueError: wandb is wanted and cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        steps: int,
        peak_flops: float | None,
        settings: Mapping[str, Any],
        wandb: str | None = None,
        plain: bool | None = None,
        every: int = 1,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        plain = not sys.stderr.isatty() if plain is None else plain
        self._peak, self._step = peak_flops, 0
        self._settings = json.loads(json.dumps(_strict(settings), default=str))
        self._sinks: list[_Sink] = []
        if wandb is not None:  # first: it is the one that may be missing
            self._sinks.append(_Wandb(folder, wandb, self._settings))
        self._sinks.append(_Log(folder))
        self._sinks.append(_TensorBoard(folder / "tensorboard", self._settings))
        window = _Window(steps, peak_flops)
        self._sinks.append(_Lines(window, every) if plain else _Bar(window))

    def step(self, report: StepReport) -> None:
        """Take the report of a step."""
        assert self._sinks, f"step {report.step} is reported to a closed watch"
        self._step = report.step
        rates = _rates([report], self._peak)
        for sink in self._sinks:
            sink.step(report, rates)

    def event(self, kind: EventKind, /, **fields: Any) -> None:
        """Take what happened after the last step, or after `step` where it is among the fields.

        A resumed run says `resume` with the step of its snapshot before its first step. Numbers
        become curves in TensorBoard and wandb.
        """
        assert self._sinks, f"{kind} is reported to a closed watch"
        assert kind in get_args(EventKind), kind
        assert not fields.keys() & {"kind", "time"}, f"{kind} has a field that every line has"
        assert kind != "resume" or "step" in fields, "resume without the step of its snapshot"
        self._step = step = fields.pop("step", self._step)
        if kind in ("start", "resume"):
            fields = {**fields, "settings": self._settings}
        for sink in self._sinks:
            sink.event(kind, step, fields)

    def close(self) -> None:
        """Finish all places; one that fails keeps none of the others from it."""
        with ExitStack() as stack:
            while self._sinks:
                stack.callback(self._sinks.pop(0).close)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log in the order of steps, also while it is being written.

    Every line has `kind` ("step" or an EventKind), `step` and `time` (seconds since 1970); lines
    of steps have the fields of StepReport and `mfu`. A step that was repeated after a resume is
    there once, as it was the last time; events are all there. A last line without its end is
    being written, or was when the run was killed: it is left out.

    Raises:
        ValueError: There is no log, or a line in it is broken.
    """
    path = folder / _LOG
    try:
        *whole, _ = path.read_bytes().split(b"\n")
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist; give the folder of a training run") from error
    steps, events = {}, []
    for number, text in enumerate(whole, start=1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
        if line["kind"] == "step":
            steps[line["step"]] = {name: _number(value) for name, value in line.items()}
        else:
            events.append(line)
    # Stable: an event comes after its step, and events of one step keep their order.
    return sorted([*steps.values(), *events], key=lambda line: line["step"])


def peak_flops_of(device_name: str, dtype: str) -> float | None:
    """Return a card's peak without sparsity in FLOP/s, or None where it is not known.

    Args:
        device_name: As `torch.cuda.get_device_name` says it; anything for a CPU.
        dtype: One of DTYPES. fp32 has no one peak: it depends on whether TF32 is allowed.
    """
    assert dtype in DTYPES, dtype
    words = set(re.split(r"[^a-z0-9]+", device_name.lower()))
    names = [name for name in GPUS if words.issuperset(name.split("_"))]
    if not names or words & _PART_OF_A_CARD or dtype == "fp32":
        return None
    card = GPUS[max(names, key=len)]  # "h100_pcie" says more than "h100"
    return card.peak if card.has_bf16 or dtype == "fp16" else None


@dataclass(frozen=True)
class _Rates:
    """What is computed from the reports of one step or several."""

    samples_per_s: float
    tokens_per_s: float
    mfu: float | None  # share of the peak; None where that is not known
    wait_share: float  # of the time


def _rates(reports: Sequence[StepReport], peak_flops: float | None) -> _Rates:
    seconds = max(sum(each.seconds for each in reports), 1e-9)
    flops = sum(each.flops for each in reports)
    return _Rates(
        samples_per_s=sum(each.samples for each in reports) / seconds,
        tokens_per_s=sum(each.tokens for each in reports) / seconds,
        mfu=flops / seconds / peak_flops if peak_flops else None,
        wait_share=sum(each.wait_seconds for each in reports) / seconds,
    )


class _Sink(Protocol):
    """A place that reports go to."""

    def step(self, report: StepReport, rates: _Rates) -> None: ...

    def event(self, kind: EventKind, step: int, fields: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class _Log:
    """One JSON object a line, there for readers as soon as it is written."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / _LOG).open("ab+")
        self._cut_torn_line()

    def step(self, report: StepReport, rates: _Rates) -> None:
        self._write("step", report.step, {**asdict(report), "mfu": rates.mfu})

    def event(self, kind: EventKind, step: int, fields: Mapping[str, Any]) -> None:
        self._write(kind, step, fields)

    def close(self) -> None:
        self._file.close()

    def _write(self, kind: str, step: int, fields: Mapping[str, Any]) -> None:
        line = {"kind": kind, "step": step, "time": time.time(), **_strict(fields)}
        text = json.dumps(line, allow_nan=False, default=os.fspath)
        self._file.write(f"{text}\n".encode())
        self._file.flush()

    def _cut_torn_line(self) -> None:
        """Remove what a kill left behind the last whole line: the next would continue it."""
        self._file.seek(0)
        self._file.truncate(self._file.read().rfind(b"\n") + 1)


class _TensorBoard:
    """Curves by step."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder, self._settings = folder, settings
        self._writer = self._open()

    def step(self, report: StepReport, rates: _Rates) -> None:
        for name, value in _curves(report, rates).items():
            self._writer.add_scalar(name, value, report.step)

    def event(self, kind: EventKind, step: int, fields: Mapping[str, Any]) -> None:
        if kind == "resume":  # what was shown of the steps that are repeated is taken back
            self._writer.close()
            self._writer = self._open(purge_step=step + 1)
        for name, value in _event_curves(kind, fields).items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()

    def _open(self, purge_step: int | None = None) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(self._folder), purge_step=purge_step, flush_secs=30)
        text = json.dumps(self._settings, indent=2)
        writer.add_text("settings", "    " + text.replace("\n", "\n    "), purge_step or 0)
        return writer


class _Wandb:
    """Curves by step, on a server or, with WANDB_MODE=offline, in the run's folder."""

    def __init__(self, folder: Path, project: str, settings: Mapping[str, Any]) -> None:
        try:
            wandb = importlib.import_module("wandb")
        except ModuleNotFoundError as error:
            raise ValueError("wandb is not installed; type: pip install wandb") from error
        told = folder / _WANDB_ID
        try:
            self._run = wandb.init(
                project=project,
                dir=str(folder),
                config=dict(settings),
                id=told.read_text() if told.exists() else None,
                resume="allow",
            )
        except wandb.Error as error:
            hint = "type wandb login, or set WANDB_MODE=offline"
            raise ValueError(f"wandb cannot start: {str(error).rstrip('.')}; {hint}") from error
        told.write_text(self._run.id)

    def step(self, report: StepReport, rates: _Rates) -> None:
        # After a resume wandb ignores steps that it has; they have the same numbers.
        self._run.log(_curves(report, rates), step=report.step)

    def event(self, kind: EventKind, step: int, fields: Mapping[str, Any]) -> None:
        if curves := _event_curves(kind, fields):
            self._run.log(curves, step=step)

    def close(self) -> None:
        self._run.finish()


def _curves(report: StepReport, rates: _Rates) -> dict[str, float]:
    """Return the numbers of a step by the name of their curve."""
    told = {name: value for name, value in asdict(report).items() if name not in ("step", "keys")}
    values = {f"train/{name}": value for name, value in told.items()}
    values |= {f"speed/{name}": value for name, value in asdict(rates).items()}
    return {name: float(value) for name, value in values.items() if value is not None}


def _event_curves(kind: str, fields: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{kind}/{name}": float(value)
        for name, value in fields.items()
        if isinstance(value, int | float)
    }


class _Window:
    """The last steps as one line of text."""

    def __init__(self, steps: int, peak_flops: float | None) -> None:
        self.steps, self._peak = steps, peak_flops
        self._reports: deque[StepReport] = deque(maxlen=_SMOOTHED_STEPS)

    def add(self, report: StepReport) -> str:
        self._reports.append(report)
        rates = _rates(self._reports, self._peak)
        # One step that was skipped must not hide the loss of the nineteen others.
        losses = [each.loss for each in self._reports if math.isfinite(each.loss)]
        loss = sum(losses) / len(losses) if losses else math.nan
        mfu = "-" if rates.mfu is None else f"{rates.mfu:.1%}"
        seconds = sum(each.seconds for each in self._reports) / len(self._reports)
        return (
            f"loss {loss:.4f}, {rates.samples_per_s:,.1f} samples/s, "
            f"{rates.tokens_per_s:,.0f} tokens/s, MFU {mfu}, "
            f"{rates.wait_share:.0%} waiting for data, "
            f"about {_duration((self.steps - report.step) * seconds)} left"
        )


class _Lines:
    """Plain lines: the first step, every some steps or 30 s, the last step."""

    def __init__(self, window: _Window, every: int) -> None:
        if every < 1:
            raise ValueError(f"a line every {every} steps cannot be; give 1 or more")
        self._window, self._every = window, every
        self._shown_at: float | None = None
        self._held = ""  # the line of the last step, while it is not shown

    def step(self, report: StepReport, rates: _Rates) -> None:
        numbers, now = self._window.add(report), time.monotonic()
        self._held = f"step {report.step:,}/{self._window.steps:,}: {numbers}"
        is_due = self._shown_at is None or now - self._shown_at >= _PLAIN_EVERY_S
        if is_due or report.step % self._every == 0 or report.step == self._window.steps:
            self._shown_at = now
            self._show_held()

    def event(self, kind: EventKind, step: int, fields: Mapping[str, Any]) -> None:
        _print(_event_text(kind, step, fields))

    def close(self) -> None:
        self._show_held()

    def _show_held(self) -> None:
        if self._held:
            _print(self._held)
        self._held = ""


class _Bar:
    """One line of a terminal that is written anew with every step."""

    def __init__(self, window: _Window) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        self._window = window
        self._bar = Progress(
            TextColumn("step {task.completed:,}/{task.total:,}"),
            BarColumn(bar_width=12),
            # Folded, not cut: on a narrow terminal the line becomes two.
            TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
            console=Console(stderr=True, highlight=False),
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("", total=window.steps)
        self._bar.start()

    def step(self, report: StepReport, rates: _Rates) -> None:
        numbers = self._window.add(report)
        self._bar.update(self._task, completed=report.step, description=numbers)

    def event(self, kind: EventKind, step: int, fields: Mapping[str, Any]) -> None:
        self._bar.console.print(_event_text(kind, step, fields), markup=False, soft_wrap=True)

    def close(self) -> None:
        self._bar.stop()


def _event_text(kind: str, step: int, fields: Mapping[str, Any]) -> str:
    told = [f"{name} {_short(value)}" for name, value in fields.items() if name != "settings"]
    return f"step {step:,}: {', '.join([kind, *told])}"


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _print(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _strict(value: Any) -> Any:
    """Make a number that is not finite a word: JSON has none of them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _strict(each) for name, each in value.items()}
    return [_strict(each) for each in value] if isinstance(value, list | tuple) else value


def _number(value: Any) -> Any:
    """Undo `_strict` for a field of a step."""
    return float(value) if isinstance(value, str) and value in _NOT_FINITE else value
