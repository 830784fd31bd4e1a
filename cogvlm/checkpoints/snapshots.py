"""Snapshots of a run: model, optimiser, averages and position, to go on from exactly.

    OUTPUT/snapshots/step-00001000/   PyTorch's distributed checkpoint format
    OUTPUT/snapshots/step-00001000/done.json   written last: without it there is no snapshot

A snapshot of any number of ranks is read by any other number. There is no random state in it:
dropout and all choices follow from the seed, the step and the rank. Writing goes on in the
background from a copy, while the run trains; the newest `keep` and the best stay.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

FOLDER = "snapshots"
DONE = "done.json"

State = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Snapshot:
    """A finished snapshot."""

    folder: Path
    step: int  # steps done
    facts: dict[str, Any]  # content of done.json


def snapshots_of(run: Path) -> list[Snapshot]:
    """Return the finished snapshots of a run, oldest first.

    Raises:
        ValueError: A marker cannot be read.
    """
    snapshots = []
    for marker in sorted((run / FOLDER).glob(f"step-*/{DONE}")):
        try:
            facts = json.loads(marker.read_text(encoding="utf-8"))
            snapshots.append(Snapshot(marker.parent, int(facts["step"]), facts))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{marker} is damaged ({error}); remove its folder") from error
    return snapshots


def latest(run: Path) -> Snapshot | None:
    """Return the newest finished snapshot."""
    return max(snapshots_of(run), key=lambda snapshot: snapshot.step, default=None)


def read(snapshot: Snapshot, state: State, *, alone: bool = False) -> None:
    """Fill tensors, sharded in whichever way, from a snapshot.

    Args:
        snapshot: Which one.
        state: Kind ("model", "exp_avg", …) and name to the tensor to fill.
        alone: Without other ranks.

    Raises:
        ValueError: It lacks a tensor or has another shape, or a file is damaged.
    """
    nested = {kind: dict(tensors) for kind, tensors in state.items() if tensors}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(nested, checkpoint_id=snapshot.folder, no_dist=alone)
    except (RuntimeError, ValueError, OSError, CheckpointException) as error:
        raise ValueError(
            f"{snapshot.folder} cannot be read: {_cause(error)}. It may be of another model; "
            "or remove this folder to resume from the one before"
        ) from error


class Writer:
    """Writes the snapshots of a run, one at a time."""

    def __init__(self, run: Path, *, keep: int, is_main: bool) -> None:
        """Prepare; `run` must be a folder that all ranks see."""
        self._run, self._keep, self._is_main = run, keep, is_main
        self._group = dist.new_group(backend="gloo")  # its own: training goes on meanwhile
        self._writing: tuple[Future[Any], Path, dict[str, Any]] | None = None

    def write(self, step: int, state: State, facts: dict[str, Any]) -> None:
        """Begin to write a snapshot, after the one before has ended.

        Args:
            step: Steps done.
            state: As `read` takes it; copied before this returns.
            facts: What done.json says besides the step.

        Raises:
            ValueError: The snapshot before could not be written.
        """
        self.wait()
        folder = self._run / FOLDER / f"step-{step:08d}"
        if self._is_main:
            shutil.rmtree(folder, ignore_errors=True)  # half-written, or to be replaced
            folder.mkdir(parents=True)
        dist.barrier(self._group)
        copy = {
            kind: {name: _to_keep(tensor) for name, tensor in tensors.items()}
            for kind, tensors in state.items()
            if tensors
        }
        future: Any = async_save(copy, checkpoint_id=folder, process_group=self._group)
        self._writing = future, folder, {"step": step, **facts}

    def poll(self) -> Path | None:
        """Finish the snapshot that is being written if all ranks have written their parts.

        The main rank's part ends when everybody's has, so it alone may ask. Raises as `wait`.
        """
        ready = self._is_main and self._writing is not None and self._writing[0].done()
        return self.wait() if ready else None

    def wait(self) -> Path | None:
        """Wait until the snapshot that is being written is there; returns its folder.

        Raises:
            ValueError: It could not be written; finished ones are untouched.
        """
        if self._writing is None:
            return None
        (future, folder, facts), self._writing = self._writing, None
        try:
            future.result()
            if self._is_main:
                _write_whole(folder / DONE, json.dumps(facts, indent=2).encode())
                self._tidy()
        except (OSError, RuntimeError, CheckpointException) as error:
            if self._is_main:
                shutil.rmtree(folder, ignore_errors=True)
            raise ValueError(_failed(folder, error, latest(self._run))) from error
        return folder

    def _tidy(self) -> None:
        """Remove what is older than the newest `keep`, but for the best, and what is unfinished."""
        finished = snapshots_of(self._run)
        stay = {snapshot.folder for snapshot in finished[-self._keep :]}
        scored = [snapshot for snapshot in finished if snapshot.facts.get("validation") is not None]
        stay |= {snapshot.folder for snapshot in sorted(scored, key=_score)[:1]}
        for folder in (self._run / FOLDER).glob("step-*"):
            if folder not in stay:
                (folder / DONE).unlink(missing_ok=True)  # first: a half-removed one is none
                shutil.rmtree(folder, ignore_errors=True)


def _to_keep(tensor: Tensor) -> Tensor:
    """Return what training does not change: PyTorch copies from a GPU, but not what is on a CPU."""
    return tensor.detach() if tensor.is_cuda else tensor.detach().clone()


def _score(snapshot: Snapshot) -> tuple[float, int]:
    return snapshot.facts["validation"], -snapshot.step


def _write_whole(path: Path, data: bytes) -> None:
    attempt = path.with_name(f".{path.name}")
    with attempt.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    attempt.replace(path)


def _failed(folder: Path, error: BaseException, last: Snapshot | None) -> str:
    kept = f"{last.folder} is intact" if last else "there was none before it"
    is_full = "No space left" in str(error) or getattr(error, "errno", 0) == errno.ENOSPC
    advice = "free some space" if is_full else "mend this"
    return (
        f"the snapshot {folder} could not be written: {_cause(error)}; {kept}. "
        f"{advice[:1].upper()}{advice[1:]} and run the same command again"
    )


def _cause(error: BaseException) -> str:
    """Return one line of an error, of the first rank's where several ranks failed."""
    failures = getattr(error, "failures", None)
    if failures:
        first = next(iter(failures.values()))
        error = first[0] if isinstance(first, tuple) else first
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip() if lines else ''}"
