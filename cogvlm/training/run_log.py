"""`log.jsonl`: what happened in a training run, a JSON object a line, for programs to read."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cogvlm.training.step_report import EventKind, Rates, StepReport

_LOG = "log.jsonl"
_NOT_FINITE = {"nan", "inf", "-inf"}


class Log:
    """One JSON object a line, there for readers as soon as it is written."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / _LOG).open("ab+")
        self._cut_torn_line()

    def step(self, report: StepReport, rates: Rates) -> None:
        """Take a step's report."""
        self._write("step", report.step, {**asdict(report), "mfu": rates.mfu})

    def event(self, kind: EventKind, step: int, fields: Mapping[str, Any]) -> None:
        """Take what happened between steps."""
        self._write(kind, step, fields)

    def close(self) -> None:
        """Finish."""
        self._file.close()

    def _write(self, kind: str, step: int, fields: Mapping[str, Any]) -> None:
        line = {"kind": kind, "step": step, "time": time.time(), **strict(fields)}
        text = json.dumps(line, allow_nan=False, default=os.fspath)
        self._file.write(f"{text}\n".encode())
        self._file.flush()

    def _cut_torn_line(self) -> None:
        """Remove what a kill left behind the last whole line: the next would continue it."""
        self._file.seek(0)
        self._file.truncate(self._file.read().rfind(b"\n") + 1)


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


def strict(value: Any) -> Any:
    """Make a number that is not finite a word: JSON has none of them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): strict(each) for name, each in value.items()}
    return [strict(each) for each in value] if isinstance(value, list | tuple) else value


def _number(value: Any) -> Any:
    """Undo `strict` for a field of a step."""
    return float(value) if isinstance(value, str) and value in _NOT_FINITE else value
