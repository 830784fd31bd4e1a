"""How a training run is watched: a log for programs, TensorBoard, wandb, and a progress line.

The loop reports every step, and what happens between steps, to a `Watch` on the main rank and to
a `NoWatch` on the others, so that it never asks which it is. `log.jsonl` has the facts and
`read_log` reads them; all else is a view. What fails here fails the run: a log that silently ends
is worse than a run that stops.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, get_args

from cogvlm.training.run_log import Log, read_log, strict
from cogvlm.training.step_report import EventKind, Rates, StepReport, rates_of
from cogvlm.training.watch_views import Bar, Lines, TensorBoard, Wandb, Window

__all__ = ["EventKind", "NoWatch", "StepReport", "Watch", "read_log"]

_SHOWN_SKIPS = 20  # on the terminal


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
        plain: Lines instead of a bar; by default where stderr is not a terminal.
        every: Steps from one plain line to the next.
        clock: Returns seconds; a slow run has a plain line for every 30 of them.

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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        plain = not sys.stderr.isatty() if plain is None else plain
        self._peak, self._step, self._skips = peak_flops, 0, 0
        self._settings = json.loads(json.dumps(strict(settings), default=str))
        self._sinks: list[_Sink] = []
        if wandb is not None:  # first: it is the one that may be missing
            self._sinks.append(Wandb(folder, wandb, self._settings))
        self._sinks.append(Log(folder))
        self._sinks.append(TensorBoard(folder / "tensorboard", self._settings))
        window = Window(steps, peak_flops)
        self._sinks.append(Lines(window, every, clock) if plain else Bar(window))

    def step(self, report: StepReport) -> None:
        """Take the report of a step."""
        assert self._sinks, f"step {report.step} is reported to a closed watch"
        self._step = report.step
        rates = rates_of([report], self._peak)
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
        self._skips += kind == "skip"
        for sink in self._sinks:
            # A damaged tar has thousands: the log has them all, a person needs the first ones.
            if self._skips <= _SHOWN_SKIPS or kind != "skip" or not isinstance(sink, Lines | Bar):
                sink.event(kind, step, fields)

    def close(self) -> None:
        """Finish all places; one that fails keeps none of the others from it."""
        with ExitStack() as stack:
            while self._sinks:
                stack.callback(self._sinks.pop(0).close)


class _Sink(Protocol):
    """A place that reports go to."""

    def step(self, report: StepReport, rates: Rates) -> None: ...

    def event(self, kind: EventKind, step: int, fields: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...
