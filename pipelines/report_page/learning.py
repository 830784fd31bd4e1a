"""What a model learnt: the loss curve of a training run, and results of evaluations.

Goes in: `log.jsonl` of a run's folder, and files of `cogvlm.evaluate --json`. They are read as
plain JSON: `pipelines` never imports the model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.report_page.charts import Point, curve
from pipelines.report_page.svg import Svg
from pipelines.report_page.words import shown
from shards.files.store import Store

_LOG = "log.jsonl"
_MOST_POINTS = 600
_SMOOTH_POINTS = 40
_ENDS = 5  # steps whose mean is the loss at the beginning and at the end

# Fields of an entry that are not metrics.
_APART = frozenset(("task", "data", "questions", "template", "shots")) | frozenset(
    ("skipped", "ambiguous", "unparsable", "unanswered")
)


@dataclass(frozen=True)
class Training:
    """A training run."""

    name: str
    steps: int
    first: float  # mean loss of the first steps, nats
    last: float
    loss: Svg
    validations: int


@dataclass(frozen=True)
class Evaluation:
    """One task on one shard set."""

    task: str
    model: str
    data: str
    questions: int
    metrics: tuple[tuple[str, str], ...]


def training(folder: str) -> Training:
    """Read the log of a training run.

    Raises:
        ValueError: There is none, a line in it is broken, or it has no step.
    """
    steps, held_out = _read_log(Store(folder))
    if not steps:
        raise ValueError(f"--training {folder}: its {_LOG} has no step yet")
    points = [*steps.items()]
    losses = [(step, loss) for step, loss in points if math.isfinite(loss)]
    thin = _thinned(losses, _MOST_POINTS)
    thick = _thinned(losses, min(_SMOOTH_POINTS, max(2, len(losses) // _ENDS)))
    return Training(
        name=shown(folder),
        steps=len(steps),
        first=_mean([loss for _, loss in points[:_ENDS]]),
        last=_mean([loss for _, loss in points[-_ENDS:]]),
        loss=curve("loss in nats over steps", thin, thick, held_out),
        validations=len(held_out),
    )


def _read_log(store: Store) -> tuple[dict[int, float], list[Point]]:
    """Return the loss of every step, and what was measured on held-out samples.

    A step that was repeated after a resume counts as it was the last time. What stands behind the
    last end of a line is being written, or was when the run was killed.
    """
    try:
        *whole, _ = store.read(_LOG).split(b"\n")
    except FileNotFoundError:
        raise ValueError(
            f"--training {store.root}: no {_LOG} there; give the folder of a training run"
        ) from None
    steps: dict[int, float] = {}
    held_out = {}
    for number, line in enumerate(whole, start=1):
        try:
            values = json.loads(line)
            if values["kind"] == "step":
                steps[values["step"]] = float(values["loss"])
            elif values["kind"] == "validation":
                held_out[values["step"]] = float(values["raw"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{store.url(_LOG)}, line {number}: not a line of a training log ({error})"
            ) from error
    dots = [point for point in sorted(held_out.items()) if math.isfinite(point[1])]
    return dict(sorted(steps.items())), dots


def _thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Return means of neighbours, so that no more than `most` points are left."""
    size = -(-len(points) // most) or 1
    groups = (points[start : start + size] for start in range(0, len(points), size))
    return [(_mean([x for x, _ in group]), _mean([y for _, y in group])) for group in groups]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def evaluations(path: str) -> list[Evaluation]:
    """Read a file of `cogvlm.evaluate --json`.

    Raises:
        ValueError: It is not such a file.
    """
    store, name = place(path)
    try:
        report = json.loads(store.read(name))
        model = (report["model"] or {}).get("described") or "no model"
        return [_evaluation(entry, str(model)) for entry in report["entries"]]
    except FileNotFoundError:
        raise ValueError(f"--evaluation {path}: there is no such file") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"--evaluation {path}: not a file of cogvlm.evaluate --json "
            f"({type(error).__name__}: {error})"
        ) from error


def _evaluation(entry: Mapping[str, Any], model: str) -> Evaluation:
    metrics = {name: value for name, value in entry.items() if name not in _APART}
    return Evaluation(
        task=shown(entry["task"]),
        model=shown(model),
        data=shown(entry["data"]["spec"]),
        questions=int(entry["questions"]),
        metrics=tuple(_flat(metrics)),
    )


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield shown(f"{prefix}{name}"), _told(value)


def _told(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, list):
        return " ".join(map(_told, value))
    return f"{value:.4g}" if isinstance(value, float) else shown(str(value))


def place(path: str) -> tuple[Store, str]:
    """Return the folder of a file as a store, and its name there."""
    folder, slash, name = path.rpartition("/")
    if not name or folder.endswith(":/"):
        raise ValueError(f"{path!r} names a folder; give a file")
    return Store(folder or slash or "."), name
