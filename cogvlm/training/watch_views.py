"""Views of a training run: TensorBoard, wandb, plain lines, a bar on a terminal."""

from __future__ import annotations

import importlib
import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogvlm.training.step_report import EventKind, Rates, StepReport, curves, event_curves, rates_of

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_WANDB_ID = "wandb_id"  # a resumed run goes on under the id that is in this file
_SMOOTHED_STEPS = 20
_PLAIN_EVERY_S = 30.0


class TensorBoard:
    """Curves by step."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder, self._settings = folder, settings
        self._writer = self._open()

    def step(self, report: StepReport, rates: Rates) -> None:
        """Take a step's report."""
        for name, value in curves(report, rates).items():
            self._writer.add_scalar(name, value, report.step)

    def event(self, kind: EventKind, step: int, fields: Mapping[str, Any]) -> None:
        """Take what happened between steps."""
        if kind == "resume":  # what was shown of the steps that are repeated is taken back
            self._writer.close()
            self._writer = self._open(purge_step=step + 1)
        for name, value in event_curves(kind, fields).items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Finish."""
        self._writer.close()

    def _open(self, purge_step: int | None = None) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(self._folder), purge_step=purge_step, flush_secs=30)
        text = json.dumps(self._settings, indent=2)
        writer.add_text("settings", "    " + text.replace("\n", "\n    "), purge_step or 0)
        return writer


class Wandb:
    """Curves by step, on a server or, with WANDB_MODE=offline, in the run's folder."""

    def __init__(self, folder: Path, project: str, settings: Mapping[str, Any]) -> None:
        try:
            wandb = importlib.import_module("wandb")
        except ModuleNotFoundError as error:
            raise ValueError("wandb is not installed; type: pip install wandb") from error
        id_file = folder / _WANDB_ID
        try:
            self._run = wandb.init(
                project=project,
                dir=str(folder),
                config=dict(settings),
                id=id_file.read_text() if id_file.exists() else None,
                resume="allow",
            )
        except wandb.Error as error:
            hint = "type wandb login, or set WANDB_MODE=offline"
            raise ValueError(f"wandb cannot start: {str(error).rstrip('.')}; {hint}") from error
        id_file.write_text(self._run.id)

    def step(self, report: StepReport, rates: Rates) -> None:
        """Take a step's report."""
        # After a resume wandb ignores steps that it has; they have the same numbers.
        self._run.log(curves(report, rates), step=report.step)

    def event(self, kind: EventKind, step: int, fields: Mapping[str, Any]) -> None:
        """Take what happened between steps."""
        if numbers := event_curves(kind, fields):
            self._run.log(numbers, step=step)

    def close(self) -> None:
        """Finish."""
        self._run.finish()


class Window:
    """The last steps as one line of text."""

    def __init__(self, steps: int, peak_flops: float | None) -> None:
        self.steps, self._peak = steps, peak_flops
        self._reports: deque[StepReport] = deque(maxlen=_SMOOTHED_STEPS)

    def add(self, report: StepReport) -> str:
        """Add a step; return the line."""
        self._reports.append(report)
        rates = rates_of(self._reports, self._peak)
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


class Lines:
    """Plain lines: the first step, every some steps or 30 s, the last step."""

    def __init__(
        self, window: Window, every: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if every < 1:
            raise ValueError(f"a line every {every} steps cannot be; give 1 or more")
        self._window, self._every, self._clock = window, every, clock
        self._shown_at: float | None = None
        self._held = ""  # the line of the last step, while it is not shown

    def step(self, report: StepReport, rates: Rates) -> None:
        """Take a step's report."""
        numbers, now = self._window.add(report), self._clock()
        self._held = f"step {report.step:,}/{self._window.steps:,}: {numbers}"
        is_due = self._shown_at is None or now - self._shown_at >= _PLAIN_EVERY_S
        if is_due or report.step % self._every == 0 or report.step == self._window.steps:
            self._shown_at = now
            self._show_held()

    def event(self, kind: EventKind, step: int, fields: Mapping[str, Any]) -> None:
        """Take what happened between steps."""
        _print(_event_text(kind, step, fields))

    def close(self) -> None:
        """Finish."""
        self._show_held()

    def _show_held(self) -> None:
        if self._held:
            _print(self._held)
        self._held = ""


class Bar:
    """One line of a terminal that is written anew with every step."""

    def __init__(self, window: Window) -> None:
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

    def step(self, report: StepReport, rates: Rates) -> None:
        """Take a step's report."""
        numbers = self._window.add(report)
        self._bar.update(self._task, completed=report.step, description=numbers)

    def event(self, kind: EventKind, step: int, fields: Mapping[str, Any]) -> None:
        """Take what happened between steps."""
        self._bar.console.print(_event_text(kind, step, fields), markup=False, soft_wrap=True)

    def close(self) -> None:
        """Finish."""
        self._bar.stop()


def _event_text(kind: str, step: int, fields: Mapping[str, Any]) -> str:
    parts = [f"{name} {_short(value)}" for name, value in fields.items() if name != "settings"]
    return f"step {step:,}: {', '.join([kind, *parts])}"


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
