"""What `--data` says: shard sets with tasks and weights, opened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cogvlm.data.tasks import TASKS
from shards.dataset import Dataset, open_dataset
from shards.suggest import suggest

_ENTRY = re.compile(
    r"(?:(?P<task>[a-z_]+)\s*=)?\s*(?P<spec>.*?)\s*(?::\s*(?P<weight>[0-9.eE+-]+))?"
)


@dataclass(frozen=True)
class Component:
    """A shard set of a mixture."""

    dataset: Dataset
    task: str
    weight: float  # share of the draws, before they are brought to a sum of 1

    def identity(self) -> dict[str, Any]:
        """Return what decides which samples its draws are; where it lies does not."""
        return {
            "fingerprint": self.dataset.fingerprint,
            "task": self.task,
            "weight": self.weight,
        }


def open_mixture(text: str, default_task: str, *, option: str = "--data") -> list[Component]:
    """Open the shard sets of `[task=]OUT[@SELECTION][:weight],…`; those of weight 0 are left out.

    Raises:
        ValueError: A set cannot be opened, a task is unknown, a weight is not a number, or nothing
            is left.
    """
    if not text.strip():
        raise ValueError(f"{option} is missing; give {option} [task=]OUT[@SELECTION][:weight],…")
    entries = [_parse(entry.strip(), default_task, option) for entry in text.split(",")]
    used = [entry for entry in entries if entry[2] > 0]
    if not used:
        raise ValueError(f"{option} {text}: every weight is 0; nothing is left to train on")
    return [Component(open_dataset(spec), task, weight) for spec, task, weight in used]


def _parse(entry: str, default_task: str, option: str) -> tuple[str, str, float]:
    if not entry:
        raise ValueError(f"{option}: an entry is empty; separate shard sets by single commas")
    match = _ENTRY.fullmatch(entry)
    if not match or not match["spec"]:
        raise ValueError(f"{option} {entry}: no shard set; give [task=]OUT[@SELECTION][:weight]")
    task = match["task"] or default_task
    if task not in TASKS:
        raise ValueError(f"{option} {entry}: unknown task {task!r}; {suggest(task, TASKS)}")
    try:
        weight = float(match["weight"] or 1)
    except ValueError:
        raise ValueError(f"{option} {entry}: {match['weight']!r} is not a weight") from None
    if not 0 <= weight < float("inf"):
        raise ValueError(f"{option} {entry}: a weight is 0 or more")
    return match["spec"], task, weight
